//! From limits as a person writes them to limits in the ticks of the kernel's clock.

use lb_common::abi::{self, LimitFlags, LimitOver, LimitScope, LimitUnit};
use lb_common::gauge;
use lb_common::gcra::{self, MAX_UNITS, TICKS_PER_NS};
use lb_common::limits::DEBT_TICKS;

use crate::config::{Direction, Limit, MAX_MERGED_BYTES, MAX_MERGED_PACKETS, Over, Per, Unit};

/// Ticks in a second.
const TICKS_PER_S: u128 = 1_000_000_000 * TICKS_PER_NS as u128;

/// The most that a shifted cost may be, so that a packet of [`MAX_UNITS`] does not overflow.
const MAX_COST: u128 = (1 << 63) / MAX_UNITS as u128;

/// The deepest that a bucket may be, in ticks: twice as much is still far from 2⁶³.
const MAX_DEPTH: u128 = 1 << 61;

/// What may wait unless a person says how much: so much time's worth, in milliseconds, or two frames as containers send them.
const DELAY_MS: u128 = 50;

/// How long fair limits measure at least and at most, in nanoseconds, as powers of two: an eighth of a second, 17 seconds.
const WINDOWS: (u32, u32) = (27, 34);
/// The same at least where the burst lasts less: half a millisecond.
const SHORTEST_WINDOW: u32 = 19;
/// How many packets are to come in a window, and how many bytes those have.
const WINDOW_PACKETS: u128 = 1_000;
const PACKET_BYTES: u128 = 1_000;

/// The limit as the packet path wants it: the cost of a unit with as many bits behind the point as fit.
pub fn compile(limit: &Limit) -> abi::Limit {
    let mut compiled = abi::Limit {
        unit: match limit.unit {
            Unit::Packets => LimitUnit::PACKETS,
            Unit::Bytes | Unit::Bits => LimitUnit::BYTES,
            Unit::NewConnections => LimitUnit::OPENINGS,
            Unit::Connections => LimitUnit::CONNECTIONS,
        },
        scope: match limit.per {
            Per::Service => LimitScope::SERVICE,
            Per::Source | Per::SourcePrefix { .. } => LimitScope::SOURCE,
            Per::Backend => LimitScope::BACKEND,
        },
        over: match limit.over {
            Over::Drop => LimitOver::DROP,
            Over::Mark => LimitOver::MARK,
            Over::Count => LimitOver::COUNT,
            Over::Delay => LimitOver::DELAY,
        },
        flags: flags(limit),
        ..abi::Limit::default()
    };
    // A fair limit tells its sources apart, too.
    if limit.per.is_source() || limit.fair {
        // A family that a limit says nothing of is none that its service has.
        let (v4, v6) = if let Per::SourcePrefix { v4, v6 } = limit.per { (v4, v6) } else { (None, None) };
        (compiled.prefix_v4, compiled.prefix_v6) = (v4.unwrap_or(32), v6.unwrap_or(128));
    }
    if limit.unit == Unit::Connections {
        return abi::Limit { cost: 1, depth_ticks: limit.rate, ..compiled };
    }
    let (ticks, rate) = exact(limit);
    let mut shift = 0;
    while shift < 40 && (ticks << (shift + 1)).div_ceil(rate) <= MAX_COST {
        shift += 1;
    }
    // Rounded up behind the point, since a packet's whole cost is rounded down: what is whole ticks stays so.
    let cost = (ticks << shift).div_ceil(rate).clamp(1, MAX_COST);
    let depth = waiting(limit).map_or(0, |burst| rounded(burst * ticks, rate).clamp(1, MAX_DEPTH));
    compiled.cost = u64::try_from(cost).unwrap_or(u64::MAX);
    compiled.depth_ticks = u64::try_from(depth).unwrap_or(u64::MAX >> 3);
    compiled.shift = shift;
    if limit.fair {
        compiled.window = window(limit, compiled.depth_ticks);
    }
    compiled
}

fn flags(limit: &Limit) -> u8 {
    let plain = limit.per != Per::Backend
        && (limit.unit.is_bytes() || limit.unit == Unit::Packets)
        && matches!(limit.over, Over::Drop | Over::Count)
        && limit.direction == Direction::In
        && !limit.fair;
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    flag(limit.direction == Direction::Out, LimitFlags::OUT)
        | flag(limit.fair, LimitFlags::FAIR)
        | flag(plain, LimitFlags::PLAIN)
}

/// What a unit costs, in ticks, as a fraction.
fn exact(limit: &Limit) -> (u128, u128) {
    let rate = u128::from(limit.rate.max(1));
    (if limit.unit == Unit::Bits { 8 * TICKS_PER_S } else { TICKS_PER_S }, rate)
}

/// How many units a bucket holds; `None` of a strict one.
fn waiting(limit: &Limit) -> Option<u128> {
    if limit.over != Over::Delay || limit.burst.is_some() {
        return limit.burst.map(u128::from);
    }
    let (least, rate) = match limit.unit {
        Unit::Bits => (2 * MAX_MERGED_BYTES, limit.rate / 8),
        Unit::Bytes => (2 * MAX_MERGED_BYTES, limit.rate),
        _ => (2 * MAX_MERGED_PACKETS, limit.rate),
    };
    Some((u128::from(rate) * DELAY_MS / 1_000).max(least.into()))
}

/// For how long a fair limit measures what sources send: as many packets as tell them apart, but no longer than the bucket takes to
/// fill at the rate. What fills half of a bucket in one window is above any share: in a longer window that would be nearly everybody.
fn window(limit: &Limit, depth_ticks: u64) -> u32 {
    let (ticks, rate) = exact(limit);
    let units = if limit.unit.is_bytes() { WINDOW_PACKETS * PACKET_BYTES } else { WINDOW_PACKETS };
    let needed = (units * ticks).div_ceil(rate * u128::from(TICKS_PER_NS));
    let (least, most) = WINDOWS;
    let window = (least..most).find(|window| needed <= 1 << window).unwrap_or(most);
    window.min((depth_ticks / TICKS_PER_NS).max(1).ilog2()).max(SHORTEST_WINDOW)
}

/// When a limit's bucket is to be empty at `now`, in ticks, now that it is another limit: it holds as many units as before, but no
/// more than it has room for.
pub fn carried_over(old: &abi::Limit, new: &abi::Limit, empty_at: u64, now: u64) -> u64 {
    let strict =
        if new.depth_ticks == 0 { gcra::cost(new, if new.unit == LimitUnit::BYTES { 1_500 } else { 1 }) } else { 0 };
    let most = if new.over == LimitOver::MARK { new.depth_ticks.saturating_mul(2) } else { new.depth_ticks };
    scaled(old, new, empty_at, now, most.max(strict))
}

/// The same of the second bucket of a limit per service that marks: who owed two seconds owes them.
pub fn debt_carried_over(old: &abi::Limit, new: &abi::Limit, empty_at: u64, now: u64) -> u64 {
    scaled(old, new, empty_at, now, new.depth_ticks.saturating_add(DEBT_TICKS))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a level of 61 bits, right to 53 of them"
)]
fn scaled(old: &abi::Limit, new: &abi::Limit, empty_at: u64, now: u64, most: u64) -> u64 {
    if gauge::is_gauge(empty_at) || new.unit == LimitUnit::CONNECTIONS {
        return empty_at;
    }
    let level = gcra::level(empty_at, now);
    let of = |limit: &abi::Limit| limit.cost as f64 / f64::from(limit.shift).exp2();
    let scaled = if (old.cost, old.shift) == (new.cost, new.shift) {
        level
    } else {
        (level as f64 * (of(new) / of(old))) as u64
    };
    now.wrapping_add(scaled.min(most))
}

/// Whether one compiled limit limits the same thing as another, so that it can become it and keep its buckets.
pub fn is_same(one: &abi::Limit, other: &abi::Limit) -> bool {
    let of = |limit: &abi::Limit| {
        // Sources share buckets by them alone; a fair limit only tells sources apart.
        let by_source = limit.scope == abi::LimitScope::SOURCE;
        let prefixes = by_source.then_some((limit.prefix_v4, limit.prefix_v6));
        (limit.scope, limit.unit, limit.flags & LimitFlags::OUT, prefixes)
    };
    of(one) == of(other)
}

/// The rate that a limit truly keeps with packets of one length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// In units of the limit a second.
    pub rate: f64,
    /// How much more that is than what was asked for, in percent.
    pub error_percent: f64,
}

/// The rate that a compiled limit truly keeps with packets of `bytes` bytes: what a packet costs is whole ticks.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub fn kept(limit: &Limit, bytes: u32) -> Kept {
    let compiled = compile(limit);
    let units = if limit.unit.is_bytes() { bytes } else { 1 };
    let (ticks, rate) = exact(limit);
    let cost = u128::from(gcra::cost(&compiled, units).max(1));
    // Of integers of 128 bits, so that what is exact is shown to be.
    let (wanted, found) = (u128::from(units) * ticks, cost * rate);
    let error = (wanted as f64 - found as f64) / found as f64;
    let error = if wanted == found { 0.0 } else { error };
    Kept { rate: rate as f64 * (1.0 + error), error_percent: error * 100.0 }
}

/// The limits in the order in which packets are to meet them: a packet that its source may not send must not cost
/// the others; and a backend is known last.
pub fn in_order(limits: &[Limit]) -> Vec<Limit> {
    let mut limits = limits.to_vec();
    limits.sort_by_key(|limit| match limit.per {
        Per::Source => 0,
        Per::SourcePrefix { .. } => 1,
        Per::Service => 2,
        Per::Backend => 3,
    });
    limits
}

const fn rounded(numerator: u128, denominator: u128) -> u128 {
    (numerator + denominator / 2) / denominator
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
