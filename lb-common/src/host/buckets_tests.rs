//! The table of buckets that this process shares.

use super::*;
use crate::bucket_table::{GAUGE, LOOKUP, Taken};

fn key(number: u32) -> BucketKey {
    BucketKey { who: Address::from_v4(number.to_be_bytes()), limit: 3 }
}

fn one_group() -> HostBuckets {
    HostBuckets::seeded(8, 7)
}

fn fill(buckets: &HostBuckets, number: u32, now: u64, empty_at: u64) -> Taken {
    let (index, found) = buckets.shared().find(&key(number), now, 1000).expect("there is room");
    buckets.shared().bucket(index).expect("found").store(empty_at, RELAXED);
    found.taken
}

/// 65,536 sources that count up, in one network or each in one of its own, over 8,192 groups.
#[test]
fn neighbours_are_spread_over_groups_and_ways() {
    fn v4(number: u16) -> Address {
        Address::from_v4([10, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]])
    }
    fn v6(network: u16, host: u16) -> Address {
        let ([a, b], [c, d]) = (network.to_be_bytes(), host.to_be_bytes());
        Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, a, b, 0, 0, 0, 0, 0, 0, c, d])
    }
    let hash = BucketHash::new(1 << 13, 7);
    for who in [v4, |number| v6(0, number), |number| v6(number, 0), |number| v6(number, number)] as [fn(u16) -> _; 4] {
        let (mut groups, mut ways) = (vec![0; 1 << 13], [0; BUCKET_WAYS]);
        for number in 0..=u16::MAX {
            let tag = hash.tag(who(number).halves(), 3);
            groups[hash.group(tag) as usize] += 1;
            ways[first(tag) as usize] += 1;
        }
        // Poisson's: 8 of each on average, of which one group in 10^8 has 32 or more.
        assert!(groups.iter().all(|count| *count < 32), "{:?}", groups.iter().max());
        assert!(ways.iter().all(|count| (7_700..8_700).contains(count)), "{ways:?}");
    }
}

#[test]
fn whoever_has_a_bucket_keeps_it() {
    let buckets = one_group();
    for number in 0..8 {
        assert_eq!(fill(&buckets, number, 100, 200), Taken::Fresh);
    }
    for number in 0..8 {
        assert_eq!(fill(&buckets, number, 100, 200), Taken::Known);
    }
    assert_eq!(buckets.shared().iter().count(), 8);
    assert!(buckets.shared().iter().all(|owned| owned.key.limit == 3 && owned.key.who.is_v4()));
}

#[test]
fn empty_ones_go_first_and_a_flood_never_frees_the_heaviest() {
    let buckets = one_group();
    for number in 0..8 {
        fill(&buckets, number, 100, if number == 5 { 90 } else { 900 + u64::from(number) });
    }
    assert_eq!(fill(&buckets, 100, 100, 500), Taken::Idle);
    for number in 101..10_000 {
        let (index, found) = buckets.shared().find(&key(number), 100, 1000).expect("there is room");
        assert_eq!(found.taken, Taken::Busy);
        let bucket = buckets.shared().bucket(index).expect("found");
        // Whoever comes begins with what was in it.
        assert!(bucket.load(RELAXED) >= 500);
    }
    let heaviest = buckets.shared().known(&key(7)).expect("it stays");
    assert_eq!(heaviest.load(RELAXED), 907);
}

#[test]
fn what_another_limits_bucket_held_is_poured_out() {
    let buckets = one_group();
    for number in 0..8 {
        fill(&buckets, number, 100, 1_000_000);
    }
    let other = BucketKey { limit: 4, ..key(9) };
    let (index, _) = buckets.shared().find(&other, 100, 50).expect("there is room");
    assert_eq!(buckets.shared().bucket(index).expect("found").load(RELAXED), 0);
}

/// As two CPUs leave it that made a bucket for one key at the same moment.
#[test]
fn of_two_buckets_of_one_key_all_mean_the_same() {
    let buckets = one_group();
    let shared = buckets.shared();
    let of = |number| first(shared.tag(&key(number)));
    // The second one is before the first by its number.
    let key = key((0..100).find(|number| of(*number) == WAYS - 1).expect("one in eight"));
    let (tag, group) = (shared.tag(&key), shared.group(0).expect("one group"));
    for (way, empty_at) in [(WAYS - 1, 500), (0, 600)] {
        group.exchange_tag(way, 0, tag);
        group.describe(way, key.who.halves(), key.limit);
        group.bucket(way).store(empty_at, RELAXED);
    }
    let (index, found) = shared.find(&key, 100, 1000).expect("known");
    assert_eq!((index, found.taken), (WAYS - 1, Taken::Known));
    assert_eq!(shared.known(&key).map(|bucket| bucket.load(RELAXED)), Some(500));
    let all: Vec<u64> = shared.iter().map(|owned| owned.level.empty_at).collect();
    assert_eq!(all, [500]);
}

#[test]
fn what_says_how_many_there_are_is_nobody_elses() {
    let buckets = one_group();
    assert_eq!(buckets.shared().find(&key(0), 100, LOOKUP), None);
    for number in 0..4 {
        let (index, _) = buckets.shared().find(&key(number), 100, GAUGE).expect("there is room");
        crate::gauge::take(&buckets.shared().bucket(index).expect("found"), 9);
    }
    assert_eq!(buckets.shared().find(&key(4), 100, GAUGE), None, "half of a group at most");
    for number in 4..100 {
        fill(&buckets, number, 100, 900);
    }
    for number in 0..4 {
        let known = buckets.shared().known(&key(number)).expect("it stays");
        assert_eq!(crate::gauge::count(known.load(RELAXED)), 1);
    }
    buckets.shared().forget(3);
    assert_eq!(buckets.shared().iter().count(), 0);
}
