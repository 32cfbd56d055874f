//! Limits on the host.

use std::cell::Cell;

use super::*;
use crate::gcra::TICKS_PER_NS;
use crate::host::HostTables;

#[test]
fn an_answer_is_what_was_packed() {
    for mark in [false, true] {
        for class in [0, 1, u16::MAX] {
            for delay_ns in [0, 1, u32::MAX] {
                let answer = Ok(Admitted { mark, class, delay_ns });
                assert_eq!(Admitted::unpack(Admitted::pack(answer)), answer);
            }
        }
    }
    for &refusal in Refusal::ALL {
        assert_eq!(Admitted::unpack(Admitted::pack(Err(refusal))), Err(refusal));
    }
}

#[test]
fn who_waits_for_two_waits_for_the_longer_and_is_marked_by_either() {
    let one = Admitted::pack(Ok(Admitted { mark: true, class: 0, delay_ns: 5 }));
    let other = Admitted::pack(Ok(Admitted { mark: false, class: 3, delay_ns: 9 }));
    let both = Ok(Admitted { mark: true, class: 3, delay_ns: 9 });
    assert_eq!(Admitted::unpack(Admitted::and(one, other)), both);
    assert_eq!(Admitted::unpack(Admitted::and(other, one)), both);
}

/// A limit per service of 1,000 packets a second with a burst of 100, and a packet that understands marks or does not.
fn marking(tos: u8) -> (HostTables, Headers) {
    let cost = 1_000_000 * TICKS_PER_NS;
    let limit = Limit { cost, depth_ticks: 100 * cost, over: LimitOver::MARK, ..Limit::default() };
    let tables = HostTables {
        limits: vec![limit],
        service_buckets: vec![Cell::new(0)],
        shares: vec![Default::default()],
        ..HostTables::default()
    };
    (tables, Headers { tos, v4: true, ..Headers::default() })
}

/// How many of so many packets a second go on, marked or not, in ten seconds; and how many are marked.
fn flood(tos: u8, per_second: u64) -> (u64, u64) {
    let (tables, headers) = marking(tos);
    let asker = Asker { packets: 1, ..Asker::default() };
    for number in 0..10 * per_second {
        tables.now_ns.set(1_000_000_000_000 + number * 1_000_000_000 / per_second);
        ask(&tables, &headers, &asker, 0);
    }
    let counts = tables.limit_counts.borrow()[&0];
    (counts.admitted + counts.marked, counts.marked)
}

#[test]
fn who_ignores_marks_gets_no_more_than_the_rate() {
    // Two seconds of the rate more than the burst, once.
    let (went_on, marked) = flood(0b10, 20_000);
    assert!((12_000..=12_101).contains(&went_on), "{went_on}");
    assert!(marked > 0);
    // Who does not understand is dropped over the burst.
    assert_eq!(flood(0, 20_000), (10_099, 0));
    // Who keeps to the rate is never marked.
    assert_eq!(flood(0b01, 1_000), (10_000, 0));
}

/// Packets that understand marks and such that do not, by turns, of each as many as the rate, at any phase of the two buckets.
#[test]
fn both_together_get_the_rate_whatever_their_order() {
    const MS: u64 = 1_000_000;
    for phase in 0..8 {
        let (mut tables, capable) = marking(0b10);
        let other = Headers { tos: 0, ..capable };
        let asker = Asker { packets: 1, ..Asker::default() };
        let mut goes_on = |headers: &Headers, now_ns: u64| {
            *tables.now_ns.get_mut() = now_ns;
            Admitted::unpack(ask(&tables, headers, &asker, 0)).is_ok()
        };
        // Until the first bucket runs out before the second, and fills again at another phase.
        let start = 1_000_000_000_000;
        for _ in 0..300 {
            goes_on(&capable, start);
        }
        let begin = start + 150 * MS + phase * MS / 8;
        let mut went_on = 0;
        for number in 0..20_000 {
            went_on += u64::from(goes_on(&other, begin + number * MS));
            went_on += u64::from(goes_on(&capable, begin + number * MS + MS / 2));
        }
        // The rate, and what was left of the burst and of two seconds.
        assert!((20_000..=22_101).contains(&went_on), "{went_on} at phase {phase}");
    }
}

#[test]
fn what_was_merged_and_is_more_than_the_burst_goes_into_an_empty_bucket() {
    for tos in [0, 0b10] {
        let (tables, headers) = marking(tos);
        let asker = Asker { packets: 200, ..Asker::default() };
        for second in [100_000, 100_001, 100_002] {
            tables.now_ns.set(second * 1_000_000_000);
            assert!(Admitted::unpack(ask(&tables, &headers, &asker, 0)).is_ok(), "{tos}, {second}");
        }
    }
}

#[test]
fn a_little_too_much_is_marked_now_and_then() {
    // A tenth too much: 900 packets are over the bucket. All go on: a second of them would have to be owed before all are marked.
    let (went_on, marked) = flood(0b10, 1_100);
    assert_eq!(went_on, 11_000);
    assert!((90..=400).contains(&marked), "{marked}: at least ten a second, at most forty");
}

#[test]
fn who_speeds_up_is_told_before_the_bucket_is_full() {
    let (tables, headers) = marking(0b10);
    let asker = Asker { packets: 1, ..Asker::default() };
    let first = (0..400).find(|number| {
        tables.now_ns.set(1_000_000_000_000 + number * 1_000_000_000 / 4_000);
        let answer = Admitted::unpack(ask(&tables, &headers, &asker, 0));
        answer.is_ok_and(|admitted| admitted.mark)
    });
    // Four times the rate: the bucket is full after 133.
    assert!(first.is_some_and(|first| (33..70).contains(&first)), "{first:?}");
}
