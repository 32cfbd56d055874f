//! The leaky bucket, kept as one number: the time at which it will be empty.
//!
//! This is the generic cell rate algorithm in its virtual-scheduling form (ITU-T I.371 Annex A): the leaky bucket as a
//! meter and, with a depth, the token bucket. Exact, without timer and without lock: the number is advanced by
//! compare-and-swap.

use crate::abi::{Limit, LimitUnit};

/// Ticks of the limiters' clock in a nanosecond. Finer than the kernel's clock, so that the time between two packets
/// at ten million a second is still right to a tenth of a percent; coarse enough that a bucket that was never filled (0)
/// counts as empty for 18 years of uptime, which is half of 64 bits.
pub const TICKS_PER_NS: u64 = 16;

/// How often a bucket is tried again after another CPU was faster.
pub const MAX_TRIES: u32 = 16;

/// One bucket, shared by every CPU.
pub trait Bucket {
    /// When it will be empty, in ticks.
    fn load(&self) -> u64;

    /// Stores `new` if the bucket still holds `expected`, in one step; returns what it held.
    fn compare_exchange(&self, expected: u64, new: u64) -> u64;
}

/// What a bucket says to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// There is room; the bucket has been filled by the packet. How full it was before, in ticks.
    Admitted(u64),
    /// Over the limit; the bucket is as it was.
    Over,
    /// Other CPUs were faster as often as it was tried.
    Contended,
}

/// The time in ticks.
///
/// Wraps after 36 years of uptime; saturating would cost a 128-bit product, which BPF does not have.
#[inline(always)]
pub const fn ticks(now_ns: u64) -> u64 {
    now_ns.wrapping_mul(TICKS_PER_NS)
}

/// Whether a packet of `bytes` bytes is within `limit` at `now_ns`, and if it is, fills the bucket by its cost.
#[inline(always)]
pub fn admit(limit: &Limit, bucket: &impl Bucket, now_ns: u64, bytes: u32) -> Admission {
    admit_within(MAX_TRIES, limit, bucket, now_ns, bytes)
}

/// [`admit`] with fewer tries, for those to whom a refusal does no harm: the verifier follows every one of them.
#[inline(always)]
pub fn admit_within(max_tries: u32, limit: &Limit, bucket: &impl Bucket, now_ns: u64, bytes: u32) -> Admission {
    let cost = cost(limit, if limit.unit == LimitUnit::BYTES { bytes } else { 1 });
    pour(max_tries, Room::of(limit.depth_ticks, cost), bucket, ticks(now_ns))
}

/// Fills a bucket by what there is to be room for.
#[inline(always)]
pub fn pour(max_tries: u32, room: Room, bucket: &impl Bucket, now: u64) -> Admission {
    let mut empty_at = bucket.load();
    let mut tries = 0;
    while tries < max_tries {
        let level = level(empty_at, now);
        let Some(filled) = room.fill(level, now) else { return Admission::Over };
        let found = bucket.compare_exchange(empty_at, filled);
        if found == empty_at {
            return Admission::Admitted(level);
        }
        empty_at = found;
        tries += 1;
    }
    Admission::Contended
}

/// How full a bucket is that will be empty at `empty_at`, in ticks.
///
/// Without a branch: the verifier follows every path through the loop around this.
#[inline(always)]
pub const fn level(empty_at: u64, now: u64) -> u64 {
    let ahead = empty_at.wrapping_sub(now).cast_signed();
    // Below zero it is empty since long: all ones or all zeroes, and zero is left.
    (ahead & !(ahead >> 63)).cast_unsigned()
}

/// The most units that one packet can be: more than any length that fits an IP header's field.
pub const MAX_UNITS: u32 = 1 << 17;

/// What `units` units cost, in ticks, at most [`MAX_UNITS`].
///
/// Whoever makes a [`Limit`] sees to it that the product of `cost` and [`MAX_UNITS`] fits.
#[inline(always)]
pub const fn cost(limit: &Limit, units: u32) -> u64 {
    scaled(limit.cost, limit.shift, units)
}

/// The same of a limit's [`Limit::cost`] and [`Limit::shift`].
#[inline(always)]
pub const fn scaled(cost: u64, shift: u32, units: u32) -> u64 {
    let units = if units > MAX_UNITS { MAX_UNITS } else { units };
    (units as u64).wrapping_mul(cost) >> (shift & 63)
}

/// What one packet asks of a bucket. All in ticks, and less than half of what 64 bits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What the packet fills.
    cost: u64,
    /// How full the bucket may be with it.
    most: u64,
}

impl Room {
    /// For a packet of `cost` in a bucket of `depth`. Depth 0 is the strict bucket, which admits any packet, but only
    /// when it is empty.
    #[inline(always)]
    pub const fn of(depth: u64, cost: u64) -> Self {
        Self { cost, most: if depth == 0 { cost } else { depth } }
    }

    /// When a bucket with this level will be empty once the packet is in it; `None` when it does not fit.
    #[inline(always)]
    pub const fn fill(self, level: u64, now: u64) -> Option<u64> {
        let filled = level.wrapping_add(self.cost);
        if filled > self.most { None } else { Some(now.wrapping_add(filled)) }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    impl Bucket for Cell<u64> {
        fn load(&self) -> u64 {
            self.get()
        }

        fn compare_exchange(&self, expected: u64, new: u64) -> u64 {
            let found = self.get();
            if found == expected {
                self.set(new);
            }
            found
        }
    }

    fn is_admitted(admission: Admission) -> bool {
        matches!(admission, Admission::Admitted(_))
    }

    fn packets(per_second: u64, burst: u64) -> Limit {
        let cost = 1_000_000_000 * TICKS_PER_NS / per_second;
        Limit { cost, depth_ticks: cost * burst, ..Limit::default() }
    }

    #[test]
    fn strict_bucket_spaces_packets_evenly() {
        let (limit, bucket) = (packets(1000, 0), Cell::new(0));
        let admitted: Vec<u64> =
            (0..10_000_u64).map(|i| i * 200_000).filter(|&t| is_admitted(admit(&limit, &bucket, t, 60))).collect();
        assert_eq!(admitted.len(), 2000);
        assert!(admitted.windows(2).all(|w| w[1] - w[0] == 1_000_000));
    }

    #[test]
    fn burst_is_admitted_at_once_and_then_the_rate() {
        let (limit, bucket) = (packets(1000, 50), Cell::new(0));
        let start = 7_000_000_000;
        let at_once = (0..200).filter(|_| is_admitted(admit(&limit, &bucket, start, 60))).count();
        assert_eq!(at_once, 50);
        // Five times the rate for ten seconds more: the rate is what comes through.
        let later = (1..=50_000_u64).filter(|i| is_admitted(admit(&limit, &bucket, start + i * 200_000, 60))).count();
        assert_eq!(later, 10_000);
    }

    #[test]
    fn a_bucket_that_others_keep_changing_refuses_in_bounded_time() {
        struct Busy(Cell<u64>);
        impl Bucket for Busy {
            fn load(&self) -> u64 {
                self.0.get()
            }
            fn compare_exchange(&self, _: u64, _: u64) -> u64 {
                self.0.set(self.0.get() + 1);
                self.0.get()
            }
        }
        assert_eq!(admit(&packets(1000, 50), &Busy(Cell::new(0)), 1 << 40, 60), Admission::Contended);
    }

    /// The bucket as everybody draws it: a level that leaks, in exact fractions (levels times `rate`, in u128).
    struct Model {
        level: u128,
        at_ns: u64,
    }

    proptest! {
        /// Against the leaking level, for rates that divide a second exactly, so that both are exact.
        #[test]
        fn equals_the_leaking_level(
            rate in prop::sample::select(vec![1_u64, 2, 5, 8, 10, 1000, 40_000, 1_000_000, 10_000_000]),
            burst in 1_u64..200,
            gaps in proptest::collection::vec(prop_oneof![Just(0_u64), 0..1000_u64, 0..2_000_000_000_u64], 1..300),
        ) {
            let (limit, bucket) = (packets(rate, burst), Cell::new(0));
            // One packet is 10^9 units of the level; `rate` units leak each nanosecond.
            let mut model = Model { level: 0, at_ns: 1 };
            let mut now = 1;
            for gap in gaps {
                now += gap;
                model.level = model.level.saturating_sub(u128::from(now - model.at_ns) * u128::from(rate));
                model.at_ns = now;
                let fits = model.level + 1_000_000_000 <= u128::from(burst) * 1_000_000_000;
                if fits {
                    model.level += 1_000_000_000;
                }
                prop_assert_eq!(is_admitted(admit(&limit, &bucket, now, 60)), fits);
            }
        }

        /// For every time within half the clock's range: the level never goes back, and never above the depth.
        #[test]
        fn extremes_neither_overflow_nor_admit_too_much(
            empty_at in 0..1_u64 << 62, now in 0..1_u64 << 62, cost in 0..1_u64 << 62, depth in 0..1_u64 << 62,
        ) {
            let level = level(empty_at, now);
            prop_assert_eq!(level, empty_at.saturating_sub(now));
            let filled = Room::of(depth, cost).fill(level, now);
            let expected = if depth == 0 { level == 0 } else { level + cost <= depth };
            prop_assert_eq!(filled, expected.then_some(now + level + cost));
        }
    }
}
