//! What limits may be, wherever they are written.

use super::{Direction, Limit, Over, Per, Unit};
use crate::config::Forward;
use crate::vip::{Protocol, Vip};

/// The longest time a full bucket takes to empty, in seconds: a day, so that times in the kernel's ticks stay far from 2⁶³.
pub const MAX_BURST_S: u64 = 86_400;

/// For how long a packet waits at most, in milliseconds: what `fq` takes.
pub const DELAY_MAX_MS: u64 = 4_000;

/// The least burst of bytes: a packet of the usual MTU.
const MIN_BURST_BYTES: u64 = 1_500;

/// The longest that packets of local containers come merged: in bytes of layer 3 and in packets, those of an MTU of 1500 and
/// some more.
pub const MAX_MERGED_BYTES: u64 = 65_536;
/// See [`MAX_MERGED_BYTES`].
pub const MAX_MERGED_PACKETS: u64 = 64;

/// What is wrong with a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The key.
    pub key: &'static str,
    /// What was found and what was expected.
    pub text: String,
}

/// See [`Limit::check_fair`].
const REASON: &str = "sources are told apart by what they send while it lasts, half a millisecond at least, and those above their \
                      share have half of it, in which a packet must fit";

/// Refuses limits that cannot be together.
///
/// # Errors
/// Names the key.
pub fn check_together(limits: &[Limit]) -> Result<(), Wrong> {
    if limits.iter().filter(|limit| limit.over == Over::Delay).count() > 1 {
        return wrong(
            "over",
            "found delay a second time, expected one limit whose packets wait: they wait in one queue",
        );
    }
    Ok(())
}

fn wrong(key: &'static str, text: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong { key, text: text.into() })
}

impl Limit {
    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// Names the key.
    pub fn check(&self) -> Result<(), Wrong> {
        let (least, most) = self.unit.bounds();
        if !(least..=most).contains(&self.rate) {
            return wrong("rate", format!("found {}, expected an integer from {least} to {most}", self.rate));
        }
        self.check_unit()?;
        self.check_over()?;
        if self.fair {
            self.check_fair()?;
        }
        self.check_burst()
    }

    fn check_unit(&self) -> Result<(), Wrong> {
        let opening = matches!(self.unit, Unit::NewConnections | Unit::Connections);
        if opening && self.direction == Direction::Out {
            return wrong(
                "direction",
                format!("found out with {}, expected in: it is clients who open connections", self.unit.name()),
            );
        }
        Ok(())
    }

    fn check_over(&self) -> Result<(), Wrong> {
        match self.over {
            Over::Drop | Over::Count => Ok(()),
            Over::Mark if matches!(self.unit, Unit::NewConnections | Unit::Connections) => wrong(
                "over",
                format!(
                    "found mark with {}, expected drop or count: packets that open connections are never ECN-capable \
                     (RFC 3168 §6.1.1)",
                    self.unit.name()
                ),
            ),
            Over::Mark if self.burst.is_none() => wrong(
                "over",
                "found mark without a burst, expected one: those that are marked go on, and a strict limit has no room for \
                 them",
            ),
            Over::Mark => Ok(()),
            Over::Delay if self.direction == Direction::In => wrong(
                "over",
                "found delay with direction in, expected direction = \"out\": only what local containers send leaves by a \
                 queue",
            ),
            Over::Delay if self.per.is_source() => {
                wrong("over", format!("found delay per {}, expected per service or backend", self.per.name()))
            }
            Over::Delay => Ok(()),
        }
    }

    fn check_fair(&self) -> Result<(), Wrong> {
        let is_rate = self.unit.is_bytes() || self.unit == Unit::Packets;
        if self.per != Per::Service || self.direction != Direction::In {
            return wrong(
                "share",
                format!(
                    "found fair on a limit per {} of what {}, expected one per service of what comes in: it is sources \
                     that share",
                    self.per.name(),
                    match self.direction {
                        Direction::In => "comes in",
                        Direction::Out => "goes out",
                    }
                ),
            );
        }
        if !is_rate {
            let text = format!("found fair with {}, expected packets/s, bytes/s or bits/s", self.unit.name());
            return wrong("share", text);
        }
        if self.burst.is_none() {
            return wrong(
                "share",
                "found fair without a burst, expected one: how full the bucket is tells whether the service is over its \
                 limit",
            );
        }
        if self.over == Over::Mark {
            return wrong("over", "found mark with share = \"fair\", expected drop or count: two limits can do both");
        }
        // Whoever presses gets half of it.
        let half = if self.unit.is_bytes() { 2 * MIN_BURST_BYTES } else { 2 };
        let units_a_second = if self.unit == Unit::Bits { self.rate / 8 } else { self.rate };
        let least = half.max(units_a_second.div_ceil(2_000));
        if self.burst.is_some_and(|burst| burst < least) {
            return wrong(
                "burst",
                format!("found less than {least} with share = \"fair\", expected {least} or more: {REASON}"),
            );
        }
        Ok(())
    }

    /// The least and the largest burst.
    fn bursts(&self) -> (u64, u64) {
        let out = self.direction == Direction::Out;
        let least = match self.unit {
            Unit::Bytes | Unit::Bits if out => MAX_MERGED_BYTES,
            Unit::Bytes | Unit::Bits => MIN_BURST_BYTES,
            _ if out => MAX_MERGED_PACKETS,
            _ => 1,
        };
        let a_second = if self.unit == Unit::Bits { self.rate / 8 } else { self.rate };
        let most = match self.over {
            Over::Delay => a_second.saturating_mul(DELAY_MAX_MS) / 1_000,
            Over::Drop | Over::Mark | Over::Count => a_second.saturating_mul(MAX_BURST_S),
        };
        (least, most.max(least))
    }

    fn check_burst(&self) -> Result<(), Wrong> {
        let Some(burst) = self.burst else { return Ok(()) };
        if self.unit == Unit::Connections {
            return wrong(
                "burst",
                format!("found {burst} with connections, expected none: how many there may be at once is the rate"),
            );
        }
        let (least, most) = self.bursts();
        if (least..=most).contains(&burst) {
            return Ok(());
        }
        let of = self.unit.of_burst();
        let text = format!("found {burst}, expected an integer from {least} to {most}");
        let reason = match (burst < least, self.direction, self.over) {
            (true, Direction::Out, _) => {
                format!("what containers send comes merged, up to {least} {of} at once, which would never fit")
            }
            (true, ..) if self.unit.is_bytes() => {
                format!("a packet of the usual MTU has {least} bytes, and would never fit")
            }
            (false, _, Over::Delay) => format!("what waits longer than {} s is of no use", DELAY_MAX_MS / 1_000),
            _ => "a day's worth of the rate; without a burst the limit is strict".to_owned(),
        };
        wrong("burst", format!("{text} {of}: {reason}"))
    }

    /// Refuses what a service cannot have with this VIP, whose packets are forwarded this way.
    ///
    /// # Errors
    /// Names the key.
    pub fn check_for(&self, forward: Forward, vip: &Vip) -> Result<(), Wrong> {
        let v4 = vip.address.is_ipv4();
        if self.unit == Unit::NewConnections && vip.protocol == Protocol::Udp {
            return wrong(
                "unit",
                "found new-connections/s with protocol udp, expected tcp or sctp, or another unit: no packet of UDP opens a \
                 connection; `connections` counts its flows",
            );
        }
        if self.direction == Direction::Out && forward.is_direct() {
            return wrong(
                "direction",
                format!(
                    "found out with forward = {}, expected nat or snat: backends answer clients themselves, past Weir",
                    forward.name()
                ),
            );
        }
        if self.over == Over::Delay && forward != Forward::Nat {
            return wrong(
                "over",
                format!("found delay with forward = {}, expected nat, to containers of this host", forward.name()),
            );
        }
        match self.per {
            Per::SourcePrefix { v4: None, .. } if v4 => wrong(
                "prefix_v4",
                "found nothing, expected an integer from 1 to 32: how many first bits of a source's address say whose \
                 bucket it is",
            ),
            Per::SourcePrefix { v6: None, .. } if !v4 => wrong(
                "prefix_v6",
                "found nothing, expected an integer from 1 to 128: how many first bits of a source's address say whose \
                 bucket it is",
            ),
            _ => Ok(()),
        }
    }
}
