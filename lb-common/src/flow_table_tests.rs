//! The table against a map; its groups, filled; its lines, taken and given back by many at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;

use proptest::prelude::*;

use super::*;
use crate::Address;
use crate::abi::FlowKey;
use crate::host::{HostFlows, SharedFlows};
use crate::tables::FlowCell as _;

fn key(number: u32) -> FlowKey {
    let [a, b, c, d] = number.to_be_bytes();
    FlowKey::new(Address::from_v4([10, 0, a, b]), [c, d], 3)
}

/// A flow that says whose it is.
fn flow(number: u32, seen_s: u32) -> Flow {
    Flow { backend: number, seen_s, client: number, server: number, client_next: number, client_expects: number }
}

#[test]
fn a_table_that_is_full_has_room_for_nearly_all_that_it_is_for() {
    const ROOM: u32 = 1 << 16;
    let table = HostFlows::with_room(ROOM);
    let refused = |of: std::ops::Range<u32>| of.filter(|n| !table.shared().insert(&key(*n), flow(*n, 0), 0)).count();
    let (half, most, full) = (refused(0..ROOM / 2), refused(ROOM / 2..ROOM * 3 / 4), refused(ROOM * 3 / 4..ROOM));
    assert!(half <= 20 && most <= 200 && full <= 700, "{half}, {most}, {full} of {ROOM} found no room");
    assert_eq!(table.len(), ROOM as usize - half - most - full);
    // Four times as many fill it, and no more.
    refused(ROOM..ROOM * 8);
    assert_eq!(table.len(), 2 * ROOM as usize);
}

#[test]
fn flows_of_one_address_or_of_one_port_or_of_many_services_spread() {
    let hash = FlowHash::new(1 << 12, 7);
    let v6 = |a: u16, b: u16| {
        let ([a, b], [c, d]) = (a.to_be_bytes(), b.to_be_bytes());
        Address::from_v6([0x20, 1, 0xd, 0xb8, a, b, 0, 0, 0, 0, 0, 0, 0, 0, c, d])
    };
    let of = |n: u16, way: u8| match way {
        0 => FlowKey::new(Address::from_v4([10, 0, 0, 1]), n.to_be_bytes(), 3),
        1 => FlowKey::new(Address::from_v4([10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]), [4, 0], 3),
        2 => FlowKey::new(Address::from_v4([10, 0, 0, 1]), [4, 0], n.into()),
        3 => FlowKey { port: n, ..FlowKey::default() },
        4 => FlowKey::new(v6(n, 1), [4, 0], 3),
        5 => FlowKey::new(v6(1, n), [4, 0], 3),
        _ => FlowKey::new(v6(n, n), n.to_be_bytes(), n.into()),
    };
    for way in 0..7 {
        let mut groups = vec![0_u32; 1 << 12];
        let mut first = [0_u32; FlowGroup::LINES as usize];
        let mut marks = BTreeSet::new();
        for n in 0..1 << 14 {
            let spot = hash.spot(&of(n, way).to_words());
            groups[spot.group as usize] += 1;
            first[spot.first as usize] += 1;
            marks.insert(spot.mark);
        }
        // Four each on average: a Poisson distribution has more than twelve in one of 3,600.
        let crowded = groups.iter().filter(|count| **count > 12).count();
        assert!(crowded <= 6, "{crowded} groups have more than their share, way {way}");
        assert!(first.iter().all(|count| (1800..2300).contains(count)), "{first:?}, way {way}");
        assert!(marks.len() > (1 << 14) - 8, "{} marks, way {way}", marks.len());
    }
}

#[test]
fn another_seed_spreads_otherwise() {
    let [one, other] = [1, 2].map(|seed| FlowHash::new(1 << 12, seed));
    let together = |hash: &FlowHash| {
        let first = hash.spot(&key(0).to_words()).group;
        (1..1 << 18).filter(|n| hash.spot(&key(*n).to_words()).group == first).collect::<BTreeSet<u32>>()
    };
    let (one, other) = (together(&one), together(&other));
    assert!(one.len() > 30 && one.intersection(&other).count() < 4);
}

#[test]
fn a_line_that_was_given_back_rests() {
    let table = HostFlows::with_room(1);
    let shared = table.shared();
    (0..8).for_each(|n| assert!(shared.insert(&key(n), flow(n, 100), 100)));
    assert!(!shared.forget(&key(3), &flow(4, 100), 100), "it is not as it was read");
    assert!(shared.forget(&key(3), &flow(3, 100), 100) && !shared.forget(&key(3), &flow(3, 100), 100));
    assert_eq!(shared.get(&key(3)), None);
    for now_s in [99, 100, 101] {
        assert!(!shared.insert(&key(9), flow(9, now_s), now_s), "whoever found the other one may still be writing");
    }
    assert!(shared.insert(&key(9), flow(9, 102), 102));
    assert_eq!((shared.get(&key(9)), shared.get(&key(3))), (Some(flow(9, 102)), None));
    assert!(shared.insert(&key(9), flow(9, 103), 103) && !shared.insert(&key(9), flow(8, 103), 103));
    assert_eq!(table.len(), 8);
}

/// Whoever dies between taking a line and publishing it.
#[test]
fn a_line_that_a_dead_writer_left_is_given_back() {
    let words: Vec<AtomicU64> = (0..64).map(|_| AtomicU64::new(0)).collect();
    let hash = FlowHash::new(1, 7);
    let table = SharedFlows::new(&words, hash);
    let spot = hash.spot(&key(1).to_words());
    let left = spot.state(Use::Writing, 100);
    words[spot.first as usize * 8].store(left, Ordering::Relaxed);
    assert!(!table.insert(&key(1), flow(1, 100), 100) && table.get(&key(1)).is_none());
    table.reap(160);
    assert!(!table.insert(&key(1), flow(1, 160), 160), "it may be slow");
    table.reap(161);
    assert!(table.insert(&key(1), flow(1, 163), 163));
    assert_eq!(table.iter().collect::<Vec<_>>(), [(key(1), flow(1, 163))]);
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u32),
    Note(u32),
    Forget(u32),
    Pass,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = || 0..64_u32;
    let step = prop_oneof![
        4 => number().prop_map(Step::Insert),
        2 => number().prop_map(Step::Note),
        3 => number().prop_map(Step::Forget),
        1 => Just(Step::Pass),
    ];
    proptest::collection::vec(step, 0..300)
}

proptest! {
    /// Few groups, so that they are full at times: what is in the table is what the map has, and what it refuses it had no
    /// room for.
    #[test]
    fn it_is_a_map(steps in steps()) {
        let table = HostFlows::with_room(16);
        let shared = table.shared();
        let mut known = BTreeMap::new();
        let mut now_s = u32::MAX - 3;
        for step in steps {
            match step {
                Step::Insert(n) => {
                    let new = flow(n, now_s);
                    let before = known.get(&key(n)).copied();
                    let inserted = shared.insert(&key(n), new, now_s);
                    prop_assert!(inserted || before.is_none() && known.len() + 4 >= 8);
                    if inserted && before.is_none() {
                        known.insert(key(n), new);
                    }
                }
                Step::Note(n) => {
                    let line = shared.find(&key(n));
                    prop_assert_eq!(line.is_some(), known.contains_key(&key(n)));
                    if let Some(line) = line {
                        line.note_client(now_s, n + 1, n, n);
                        line.note_server(now_s, n + 2);
                        known.insert(key(n), Flow { client: n + 1, server: n + 2, ..flow(n, now_s) });
                    }
                }
                Step::Forget(n) => {
                    let read = known.get(&key(n)).copied();
                    let forgotten = shared.forget(&key(n), &read.unwrap_or_default(), now_s);
                    prop_assert_eq!(forgotten, known.remove(&key(n)).is_some());
                }
                Step::Pass => now_s = now_s.wrapping_add(1),
            }
            prop_assert_eq!(table.iter().collect::<BTreeMap<_, _>>(), known.clone());
        }
    }
}

/// Four writers and one who forgets, on few lines: nobody ever finds another one's flow, or half of one. Time goes on once
/// nobody is at work any more who began two seconds ago, which in the kernel takes no waiting.
#[test]
fn of_many_at_once_each_finds_its_own() {
    const FLOWS: u64 = 40;
    const IDLE: u32 = u32::MAX;
    let table = HostFlows::with_room(16);
    let clock = AtomicU32::new(100);
    let began = [const { AtomicU32::new(IDLE) }; 4];
    let (inserted, found, enough) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let mut wrong = None;
    let is_enough = || inserted.load(Ordering::Relaxed) > 1000 && found.load(Ordering::Relaxed) > 10_000;
    let write = &|began: &AtomicU32, writer: u64| {
        let table = table.shared();
        for round in (0..u64::MAX).take_while(|_| !enough.load(Ordering::Relaxed)) {
            let n = u32::try_from(mix(round << 8 | writer) % FLOWS).expect("few");
            let mut now_s = clock.load(Ordering::SeqCst);
            began.store(now_s, Ordering::SeqCst);
            while clock.load(Ordering::SeqCst) != now_s {
                now_s = clock.load(Ordering::SeqCst);
                began.store(now_s, Ordering::SeqCst);
            }
            if let Some(line) = table.find(&key(n)) {
                let read = line.read();
                assert_eq!(read, flow(n, read.seen_s));
                line.note_client(now_s, n, n, n);
                found.fetch_add(1, Ordering::Relaxed);
            } else if table.insert(&key(n), flow(n, now_s), now_s) {
                inserted.fetch_add(1, Ordering::Relaxed);
            }
            began.store(IDLE, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        let spawn = |(writer, began)| scope.spawn(move || write(began, writer));
        let writers: Vec<_> = (0..).zip(&began).map(spawn).collect();
        while !is_enough() && wrong.is_none() && !writers.iter().any(ScopedJoinHandle::is_finished) {
            let now_s = clock.load(Ordering::SeqCst);
            for (key, read) in table.iter() {
                if (key, read) != (self::key(read.backend), flow(read.backend, read.seen_s)) {
                    wrong = Some((key, read));
                }
                table.shared().forget(&key, &read, now_s);
            }
            if began.iter().all(|began| began.load(Ordering::SeqCst) >= now_s) {
                clock.store(now_s + 1, Ordering::SeqCst);
            }
            std::thread::yield_now();
        }
        enough.store(true, Ordering::Relaxed);
    });
    assert_eq!(wrong, None);
}
