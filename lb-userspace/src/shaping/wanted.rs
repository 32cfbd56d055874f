//! Which classes there are to be, from the books of the data plane.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::{Class, Limit, LimitOver, LimitScope, LimitUnit};
use lb_common::gcra::TICKS_PER_NS;

use crate::plan::State;

/// Ticks in a second.
const TICKS_PER_S: u128 = 1_000_000_000 * TICKS_PER_NS as u128;

/// What an Ethernet header adds to a packet, in bytes: `htb` counts it, limits do not.
pub(super) const HEADER: u32 = 14;

/// The largest frame that a container's stack hands over in one piece, in bytes, with the headers of the packets in it.
const MERGED: u64 = 70_000;

/// A rate, and how much may wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In bytes per second.
    pub bytes_per_s: u64,
    /// In bytes.
    pub queue: u64,
}

impl Rate {
    /// What a compiled limit of bytes allows, in bytes of layer 3.
    fn of(limit: &Limit) -> Self {
        let per_s = bounded((TICKS_PER_S << limit.shift) / u128::from(limit.cost.max(1)));
        let queue = u128::from(limit.depth_ticks) * u128::from(per_s) / TICKS_PER_S;
        Self { bytes_per_s: per_s.max(1), queue: bounded(queue) }
    }

    /// The same in bytes of frames, for a device with this MTU: for the largest frames the rate is the limit's, for smaller ones
    /// less, never more. The queue takes at least one frame that the stack has merged: it would lose every one of them else.
    pub(super) fn on_wire(self, mtu: u32) -> Self {
        let mtu = u128::from(mtu.max(1));
        let scaled = |bytes: u64| bounded(u128::from(bytes) * (mtu + u128::from(HEADER)) / mtu);
        let queue = scaled(self.queue).clamp(MERGED, u64::from(u32::MAX));
        Self { bytes_per_s: scaled(self.bytes_per_s), queue }
    }
}

fn bounded(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// What is to wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether any limit has packets wait, by classes or otherwise.
    pub any: bool,
    /// The classes, in bytes of layer 3, by number.
    pub classes: BTreeMap<u16, Rate>,
    /// The VIPs of services with a limit that no class can hold, which is one of packets: only `fq` has those wait.
    pub timed: BTreeSet<String>,
}

impl Wanted {
    /// What the limits in the data plane want, of backends that `is_local` says are on this host, by the device that they are
    /// reached by.
    pub fn of(state: &State, is_local: impl Fn(u32) -> bool) -> Self {
        let mut wanted = Self::default();
        for (vip, service) in &state.services {
            for known in service.limits.iter().filter(|known| known.limit.over == LimitOver::DELAY) {
                let local = service.backends.values().filter(|backend| is_local(backend.row.ifindex));
                if known.limit.unit != LimitUnit::BYTES {
                    wanted.timed.insert(vip.to_string());
                }
                match known.limit.scope {
                    LimitScope::BACKEND => local.for_each(|backend| wanted.want(&known.limit, known.id, backend.id)),
                    _ => wanted.want(&known.limit, known.id, 0),
                }
                wanted.any = true;
            }
        }
        wanted
    }

    fn want(&mut self, limit: &Limit, id: u32, backend: u32) {
        let class = Class::of(limit, id, backend);
        if class != 0 {
            self.classes.insert(class, Rate::of(limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 50 Mbit/s, with 50 ms of it.
    fn limit(shift: u32) -> Limit {
        Limit { cost: (16_000_000_000 << shift) / 6_250_000, depth_ticks: 800_000_000, shift, ..Limit::default() }
    }

    #[test]
    fn a_rate_is_what_was_compiled() {
        for shift in [0, 4, 20] {
            assert_eq!(Rate::of(&limit(shift)), Rate { bytes_per_s: 6_250_000, queue: 312_500 });
        }
        let fastest = Limit { cost: 1, shift: 40, depth_ticks: u64::MAX, ..Limit::default() };
        assert_eq!(Rate::of(&fastest).bytes_per_s, u64::MAX, "not more than can be said");
        assert_eq!(Rate::of(&Limit { cost: u64::MAX, ..Limit::default() }).bytes_per_s, 1, "a class has a rate");
    }

    #[test]
    fn full_packets_get_the_limits_rate_and_no_others_more() {
        let Rate { bytes_per_s, .. } = Rate { bytes_per_s: 6_250_000, queue: 312_500 }.on_wire(1500);
        for length in [40_u64, 576, 1500] {
            let layer3 = bytes_per_s * length / (length + 14);
            assert!(layer3 <= 6_250_000 && (length < 1500 || layer3 >= 6_249_998), "{length}: {layer3}");
        }
    }

    #[test]
    fn the_queue_takes_what_the_stack_has_merged() {
        assert_eq!(Rate { bytes_per_s: 1000, queue: 15_000 }.on_wire(1500).queue, MERGED);
        assert_eq!(Rate { bytes_per_s: 1000, queue: u64::MAX }.on_wire(1500).queue, u64::from(u32::MAX));
    }
}
