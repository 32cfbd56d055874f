//! Limits at their extremes.

use std::cell::Cell;

use lb_common::abi::{PlainFlags, PlainLimit};
use lb_common::gcra::cost;
use lb_common::host::HostTables;
use lb_common::limits::{self, Admitted, Asker};
use lb_common::{Address, Headers};
use proptest::prelude::*;

use super::*;
use crate::config::MAX_BURST_S;

/// Every limit that the rules let through, at the bounds as often as between them.
fn any_limit() -> impl Strategy<Value = Limit> {
    let units = [Unit::Packets, Unit::Bytes, Unit::Bits, Unit::NewConnections, Unit::Connections];
    let pers = [Per::Service, Per::Source, Per::SourcePrefix { v4: Some(24), v6: Some(56) }, Per::Backend];
    let overs = [Over::Drop, Over::Mark, Over::Count, Over::Delay];
    let any = (
        prop::sample::select(units.to_vec()),
        prop::sample::select(pers.to_vec()),
        prop::sample::select(overs.to_vec()),
        prop::sample::select(vec![Direction::In, Direction::Out]),
        any::<bool>(),
        (0_u8..4, any::<u64>()),
        (0_u8..4, any::<u64>()),
    );
    let limit = any.prop_map(|(unit, per, over, direction, fair, rate, burst)| {
        let (least, most) = unit.bounds();
        let between = |(at, word): (u8, u64), least: u64, most: u64| match at {
            0 => least,
            1 => most,
            // As many of every magnitude.
            2 => (most >> (word % 64)).max(least),
            _ => least + word % (most - least + 1),
        };
        let rate = between(rate, least, most);
        let a_second = if unit == Unit::Bits { rate / 8 } else { rate };
        let burst = (burst.1 % 3 != 0).then(|| between(burst, 1, a_second * MAX_BURST_S));
        Limit { per, rate, unit, burst, direction, over, fair }
    });
    limit.prop_filter("not a limit", |limit| limit.check().is_ok())
}

#[test]
fn a_thousand_packets_a_second_cost_a_millisecond_each() {
    let compiled = compile(&Limit::strict(Per::Service, 1000, Unit::Packets).with_burst(50));
    assert_eq!(cost(&compiled, 1), 1_000_000 * TICKS_PER_NS);
    assert_eq!(compiled.depth_ticks, 50 * 1_000_000 * TICKS_PER_NS);
}

#[test]
fn bits_are_bytes() {
    let bits = compile(&Limit::strict(Per::Service, 50_000_000, Unit::Bits).with_burst(15_000));
    let bytes = compile(&Limit::strict(Per::Service, 6_250_000, Unit::Bytes).with_burst(15_000));
    assert_eq!(bits, bytes);
}

#[test]
fn a_full_burst_of_equal_packets_fits() {
    for rate in [3, 7, 999, 1_000_003, 9_999_991] {
        let compiled = compile(&Limit::strict(Per::Service, rate, Unit::Packets).with_burst(50));
        assert!(50 * cost(&compiled, 1) <= compiled.depth_ticks, "{rate}");
    }
}

#[test]
fn the_fast_way_asks_plain_limits_alone() {
    let plain = Limit::strict(Per::Service, 1000, Unit::Packets).with_burst(2_000);
    let is_plain = |limit: Limit| compile(&limit).flags & LimitFlags::PLAIN != 0;
    assert!(is_plain(plain) && is_plain(Limit { unit: Unit::Bits, over: Over::Count, ..plain }));
    assert!(is_plain(Limit { per: Per::Source, ..plain }));
    // What a source's costs is beside its limit's bucket only where nothing is to be cut off its address.
    let beside = |limit: Limit| PlainLimit::of(&compile(&limit));
    assert_eq!(beside(plain).flags, 0);
    assert_eq!(
        beside(Limit { per: Per::Source, unit: Unit::Bytes, ..plain }).flags,
        PlainFlags::SOURCE | PlainFlags::BYTES
    );
    for (v4, v6) in [(24, 128), (32, 64)] {
        let prefix = Limit { per: Per::SourcePrefix { v4: Some(v4), v6: Some(v6) }, ..plain };
        assert!(is_plain(prefix) && beside(prefix) == PlainLimit::default(), "{v4} {v6}");
    }
    for other in [
        Limit { per: Per::Backend, ..plain },
        Limit { unit: Unit::NewConnections, ..plain },
        Limit { over: Over::Mark, ..plain },
        Limit { direction: Direction::Out, ..plain },
        Limit { fair: true, ..plain },
    ] {
        assert!(!is_plain(other), "{other}");
    }
}

#[test]
fn a_window_is_long_enough_for_a_thousand_packets_and_no_longer_than_the_burst() {
    let window = |rate: &str, burst: u64| {
        let rate: crate::config::Rate = rate.parse().expect("a rate");
        let limit = Limit::strict(Per::Service, rate.value, rate.unit).with_burst(burst);
        compile(&Limit { fair: true, ..limit }).window
    };
    // 2²⁷ ns are 134 ms: enough for 7,451 packets a second and more.
    assert_eq!([window("7450 packets/s", 7_450), window("7451 packets/s", 7_451)], [28, 27]);
    assert_eq!([window("1 packets/s", 100_000), window("8 Mbit/s", 10_000_000)], [34, 30]);
    // 200 packets at 1,000 a second are 200 ms, 10,000 bytes at 8 Mbit/s are ten.
    assert_eq!([window("1000 packets/s", 200), window("8 Mbit/s", 10_000)], [27, 23]);
    assert_eq!([window("10000000 packets/s", 2_000), window("100 Gbit/s", 2_000)], [19, 19]);
}

/// What each of some sources loses, in hundredths, that send so much a second under a fair limit of 1,000 packets a second; the first
/// two seconds do not count.
fn losses(burst: u64, per_s: &[u64]) -> Vec<f64> {
    let limit = Limit { fair: true, ..Limit::strict(Per::Service, 1_000, Unit::Packets).with_burst(burst) };
    let tables = HostTables {
        limits: vec![compile(&limit)],
        service_buckets: vec![Cell::new(0)],
        shares: vec![Default::default()],
        ..HostTables::default()
    };
    let (begin, settled, end) = (1_u64 << 40, 2_000_000_000, 12_000_000_000_u64);
    let mut packets: Vec<(u64, usize)> = vec![];
    for (source, rate) in per_s.iter().enumerate() {
        let first = 7_919 * source as u64;
        packets.extend((0..12 * rate).map(|number| (first + number * 1_000_000_000 / rate, source)));
    }
    packets.sort_unstable();
    let (mut sent, mut lost) = (vec![0_u32; per_s.len()], vec![0_u32; per_s.len()]);
    let headers = Headers { v4: true, ..Headers::default() };
    for (at, source) in packets.into_iter().filter(|(at, _)| *at < end) {
        tables.now_ns.set(begin + at);
        let who = Address::from_v4([198, 51, 100, u8::try_from(source).unwrap()]);
        let answer = limits::ask(&tables, &headers, &Asker { who, packets: 1, ..Asker::default() }, 0);
        if at >= settled {
            sent[source] += 1;
            lost[source] += u32::from(Admitted::unpack(answer).is_err());
        }
    }
    sent.into_iter().zip(lost).map(|(sent, lost)| 100.0 * f64::from(lost) / f64::from(sent)).collect()
}

#[test]
fn a_fair_share_needs_no_large_burst() {
    for burst in [20, 50, 100, 200, 300, 500, 1_000, 5_000] {
        let lost = losses(burst, &[5_000, 200]);
        println!("burst {burst}: {lost:.2?}");
        assert!(lost[1] < 1.0 && lost[0] > 80.0, "burst {burst}: {lost:.2?}");
        // Ten at a tenth of their limit each, all of them together less than it, and one that has the rest.
        let mut many = vec![50; 10];
        many.push(4_000);
        let lost = losses(burst, &many);
        println!("burst {burst}: {lost:.2?}");
        assert!(lost[..10].iter().sum::<f64>() / 10.0 < 1.0, "burst {burst}: {lost:.2?}");
    }
}

#[test]
fn what_may_wait_is_fifty_milliseconds_worth_or_two_frames() {
    let limit =
        |rate, unit| Limit { direction: Direction::Out, over: Over::Delay, ..Limit::strict(Per::Service, rate, unit) };
    let depth = |limit: &Limit| compile(limit).depth_ticks / TICKS_PER_NS;
    assert_eq!(depth(&limit(1_000_000_000, Unit::Bits)), 50_000_000);
    assert_eq!(depth(&limit(8_000, Unit::Bits)), 131_072_000_000);
    assert_eq!(depth(&limit(1_000_000, Unit::Packets)), 50_000_000);
    assert_eq!(depth(&limit(1, Unit::Packets)), 128_000_000_000);
}

#[test]
fn rates_from_end_to_end_are_kept() {
    let error = |text: &str, bytes| {
        let rate: crate::config::Rate = text.parse().expect("a rate");
        kept(&Limit::strict(Per::Service, rate.value, rate.unit), bytes).error_percent
    };
    for rate in ["1 packets/s", "1000 packets/s", "10000000 packets/s", "1000000 packets/s"] {
        assert_eq!(error(rate, 1_500), 0.0, "{rate}");
    }
    for rate in ["8 kbit/s", "50 Mbit/s", "1 Gbit/s", "10 Gbit/s", "100 Gbit/s"] {
        assert_eq!(error(rate, 1_500), 0.0, "{rate}");
    }
    assert!((error("3000000 packets/s", 64) - 0.00625).abs() < 1e-5);
    assert!((error("100 Gbit/s", 64) - 1.1358).abs() < 1e-3);
}

#[test]
fn another_rate_keeps_what_is_in_a_bucket() {
    let limit = |rate| compile(&Limit::strict(Per::Service, rate, Unit::Packets).with_burst(100));
    let now = 1 << 50;
    // Sixty packets, at a thousand a second and then at ten.
    let (old, new) = (limit(1_000), limit(10));
    let sixty = |of: &abi::Limit| now + 60 * cost(of, 1);
    assert_eq!(carried_over(&old, &new, sixty(&old), now), sixty(&new));
    assert_eq!(carried_over(&new, &old, sixty(&new), now), sixty(&old));
    assert_eq!(carried_over(&old, &new, 0, now), now);
    // Of a smaller one no more than it holds; of a strict one no more than a packet.
    let smaller = compile(&Limit::strict(Per::Service, 1_000, Unit::Packets).with_burst(10));
    assert_eq!(carried_over(&old, &smaller, sixty(&old), now), now + smaller.depth_ticks);
    let strict = compile(&Limit::strict(Per::Service, 1_000, Unit::Packets));
    assert_eq!(carried_over(&old, &strict, sixty(&old), now), now + cost(&strict, 1));
}

#[test]
fn who_ignored_marks_owes_as_much_as_before_under_another_rate() {
    let marking =
        |rate| compile(&Limit { over: Over::Mark, ..Limit::strict(Per::Service, rate, Unit::Packets).with_burst(100) });
    let (old, new, now) = (marking(1_000), marking(2_000), 1 << 40);
    // 2,100 packets: the burst, and two seconds.
    let owed = |limit: &abi::Limit, packets: u32| now + u64::from(packets) * cost(limit, 1);
    assert_eq!(debt_carried_over(&old, &new, owed(&old, 2_100), now), owed(&new, 2_100));
    // Of half of the rate two seconds and the burst are 1,100.
    assert_eq!(debt_carried_over(&new, &marking(500), owed(&new, 2_100), now), owed(&marking(500), 1_100));
}

#[test]
fn a_limit_that_limits_the_same_is_known_again() {
    let limit = Limit::strict(Per::Source, 1_000, Unit::Bytes).with_burst(2_000);
    let same = |other: Limit| {
        assert_eq!(limit.is_same(&other), is_same(&compile(&limit), &compile(&other)));
        limit.is_same(&other)
    };
    assert!(same(Limit { rate: 7, burst: None, over: Over::Count, ..limit }));
    assert!(same(Limit { unit: Unit::Bits, ..limit }));
    assert!(!same(Limit { unit: Unit::Packets, ..limit }));
    assert!(!same(Limit { per: Per::Service, ..limit }));
    assert!(!same(Limit { per: Per::SourcePrefix { v4: Some(24), v6: None }, ..limit }));
    assert!(!same(Limit { direction: Direction::Out, ..limit }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    /// A tick of rounding, and the bits behind the point.
    #[test]
    fn the_rate_that_is_kept_is_the_one_asked_for(limit in any_limit(), bytes in 64_u32..65_536) {
        if limit.unit == Unit::Connections {
            return Ok(());
        }
        let compiled = compile(&limit);
        let units = if limit.unit.is_bytes() { bytes } else { 1 };
        let (ticks, rate) = exact(&limit);
        let wanted = ticks as f64 * f64::from(units) / rate as f64;
        let found = cost(&compiled, units) as f64;
        prop_assert!((found - wanted).abs() <= 1.0 + wanted * 1e-6, "{} instead of {}", found, wanted);
        let error = kept(&limit, bytes).error_percent;
        prop_assert!(error.abs() <= 100.0 * (1.0 / found + 2e-6), "{} % of {}", error, limit);
    }

    /// Whatever the rate, the burst, the packet and the time: no product wraps, and no bucket comes near to half of the clock.
    #[test]
    fn nothing_overflows(limit in any_limit(), units in any::<u32>(), now_ns in 0_u64..1 << 58, level in any::<u64>()) {
        let compiled = compile(&limit);
        prop_assert!(compiled.cost.checked_mul(u64::from(MAX_UNITS)).is_some_and(|product| product <= 1 << 63));
        prop_assert!(compiled.shift < 64);
        let cost = cost(&compiled, units);
        prop_assert!(cost <= 1 << 52, "a packet of {} takes {} ticks", limit, cost);
        // Twice as deep where senders are marked.
        prop_assert!(compiled.depth_ticks <= 1 << 61);
        let now = gcra::ticks(now_ns);
        let fullest = compiled.depth_ticks * 2 + cost;
        prop_assert!(now.checked_add(fullest).is_some() && fullest < 1 << 63);
        let level = level % (fullest + 1);
        prop_assert_eq!(gcra::level(now.wrapping_add(level), now), level);
        let carried = carried_over(&compiled, &compiled, now.wrapping_add(level), now);
        prop_assert!(gcra::level(carried, now) <= level);
    }

    /// A full burst is let through, and one more is not.
    #[test]
    fn a_burst_is_as_many_as_it_says(limit in any_limit()) {
        let Some(burst) = limit.burst else { return Ok(()) };
        let compiled = compile(&limit);
        let one = u128::from(cost(&compiled, 1));
        // Of bytes a unit may be less than a tick.
        if limit.unit.is_bytes() {
            return Ok(());
        }
        prop_assert!(u128::from(burst) * one <= u128::from(compiled.depth_ticks));
        prop_assert!((u128::from(burst) + 1) * (one + 1) > u128::from(compiled.depth_ticks));
    }

    #[test]
    fn no_other_limit_makes_a_bucket_fuller_than_it_holds(old in any_limit(), new in any_limit(), level in 0_u64..1 << 61) {
        if old.unit == Unit::Connections || compile(&old).unit != compile(&new).unit {
            return Ok(());
        }
        let (old, new, now) = (compile(&old), compile(&new), 1_u64 << 60);
        let carried = gcra::level(carried_over(&old, &new, now + level, now), now);
        let strict = cost(&new, 1_500);
        prop_assert!(carried <= (new.depth_ticks * 2).max(strict));
    }
}
