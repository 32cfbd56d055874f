//! From limits as a person writes them to limits in the ticks of the kernel's clock.

use lb_common::abi;
use lb_common::gcra::{self, MAX_UNITS, TICKS_PER_NS};

use crate::config::{Limit, Per, Unit};

/// Ticks in a second.
const TICKS_PER_S: u128 = 1_000_000_000 * TICKS_PER_NS as u128;

/// The most that a shifted cost may be, so that a packet of [`MAX_UNITS`] does not overflow.
const MAX_COST: u128 = (1 << 63) / MAX_UNITS as u128;

/// The limit as the packet path wants it: the cost of a unit with as many bits behind the point as fit.
pub fn compile(limit: &Limit) -> abi::Limit {
    let rate = u128::from(limit.rate.max(1));
    let mut shift = 0;
    while shift < 40 && rounded(TICKS_PER_S << (shift + 1), rate) <= MAX_COST {
        shift += 1;
    }
    let cost = rounded(TICKS_PER_S << shift, rate).clamp(1, MAX_COST);
    let depth = limit.burst.map_or(0, |burst| rounded(u128::from(burst) * TICKS_PER_S, rate).max(1));
    abi::Limit {
        cost: u64::try_from(cost).unwrap_or(u64::MAX),
        // The configuration bounds a burst to a day's worth of the rate, which is far below.
        depth_ticks: u64::try_from(depth).unwrap_or(u64::MAX >> 2),
        shift,
        unit: match limit.unit {
            Unit::Packets => abi::LimitUnit::PACKETS,
            Unit::Bytes => abi::LimitUnit::BYTES,
        },
        scope: match limit.per {
            Per::Service => abi::LimitScope::SERVICE,
            Per::Source => abi::LimitScope::SOURCE,
        },
    }
}

/// The rate that a compiled limit truly keeps, in units a second: a tick is not divided.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub fn true_rate(limit: &Limit) -> f64 {
    let compiled = compile(limit);
    let cost = match limit.unit {
        // A packet is one unit, so its cost is rounded down to whole ticks.
        Unit::Packets => gcra::cost(&compiled, 1) as f64,
        Unit::Bytes => compiled.cost as f64 / (compiled.shift as f64).exp2(),
    };
    1e9 * TICKS_PER_NS as f64 / cost
}

/// The limits in the order in which packets are to meet them: a packet that its source may not send must not cost
/// the others.
pub fn in_order(limits: &[Limit]) -> Vec<Limit> {
    let mut limits = limits.to_vec();
    limits.sort_by_key(|limit| match limit.per {
        Per::Source => 0,
        Per::Service => 1,
    });
    limits
}

const fn rounded(numerator: u128, denominator: u128) -> u128 {
    (numerator + denominator / 2) / denominator
}

#[cfg(test)]
mod tests {
    use lb_common::gcra::cost;
    use proptest::prelude::*;

    use super::*;
    use crate::config::MAX_RATE;

    fn limit(rate: u64, unit: Unit, burst: Option<u64>) -> Limit {
        Limit { per: Per::Service, rate, unit, burst }
    }

    #[test]
    fn a_thousand_packets_a_second_cost_a_millisecond_each() {
        let compiled = compile(&limit(1000, Unit::Packets, Some(50)));
        assert_eq!(cost(&compiled, 1), 1_000_000 * TICKS_PER_NS);
        assert_eq!(compiled.depth_ticks, 50 * 1_000_000 * TICKS_PER_NS);
    }

    #[test]
    fn a_full_burst_of_equal_packets_fits() {
        for rate in [3, 7, 999, 1_000_003, 9_999_991] {
            let compiled = compile(&limit(rate, Unit::Packets, Some(50)));
            assert!(50 * cost(&compiled, 1) <= compiled.depth_ticks, "{rate}");
        }
    }

    proptest! {
        #[test]
        fn the_true_rate_is_the_one_asked_for(rate in 1..=MAX_RATE, bytes in 64_u32..65_535) {
            let compiled = compile(&limit(rate, Unit::Bytes, None));
            let exact = f64::from(bytes) * 16e9 / rate as f64;
            let found = cost(&compiled, bytes) as f64;
            // A tick of rounding, and the bits behind the point.
            prop_assert!((found - exact).abs() <= 1.0 + exact * 1e-6, "{} instead of {}", found, exact);
        }

        #[test]
        fn nothing_overflows(rate in 1..=MAX_RATE, packets: bool) {
            let compiled = compile(&limit(rate, if packets { Unit::Packets } else { Unit::Bytes }, None));
            prop_assert!(compiled.cost.checked_mul(u64::from(MAX_UNITS)).is_some());
        }
    }
}
