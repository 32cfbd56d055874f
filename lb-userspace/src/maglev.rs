//! Weighted Maglev tables (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! §3.4), for any set of backends the same, in whatever order they are named.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

use lb_common::hash::mix;

/// A backend's part in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What fills its slots; not `u32::MAX`.
    pub id: u32,
    /// Where it listens, which decides its order of preference. Unique.
    pub listens: (IpAddr, u16),
    /// Its share relative to the others', below 2^31; 0 takes no slot.
    pub weight: u32,
}

/// A backend's way through the slots: from `next` on by `skip`, which visits every slot since the number of slots is
/// prime.
struct Preference {
    id: u32,
    next: u32,
    skip: u32,
    weight: u32,
    /// What it has saved up towards its next turn.
    credit: u32,
    /// How many steps lead one slot on, as a share of the circle in units of 2^-64; 0 until somebody asks.
    steps_a_slot: u64,
}

/// The table of `size` slots, which must be prime; empty when no entry has a weight.
///
/// Every round each backend saves its weight, and takes its next preferred free slot for every `heaviest weight` it
/// has saved: the heaviest has a turn every round, one with half its weight every other round.
///
/// # Panics
/// When `size` is 0.
pub fn build(entries: &[Entry], size: u32) -> Vec<u32> {
    let mut entries: Vec<&Entry> = entries.iter().filter(|entry| entry.weight > 0).collect();
    entries.sort_unstable_by_key(|entry| entry.listens);
    let Some(heaviest) = entries.iter().map(|entry| entry.weight).max() else { return Vec::new() };
    let total: u64 = entries.iter().map(|entry| u64::from(entry.weight)).sum();
    let mut preferences: Vec<Preference> = entries.iter().map(|entry| preference(entry, size)).collect();
    let filling = Filling::new(size);
    // Where most have a turn in few of the rounds, nobody is asked but those who have one.
    if u64::from(heaviest) * preferences.len() as u64 > total * SPARSE {
        by_turns(&mut preferences, heaviest, filling)
    } else {
        by_rounds(&mut preferences, heaviest, filling)
    }
}

/// From how many rounds a turn, for the average backend, turns are kept in a queue: what that costs more than asking.
const SPARSE: u64 = 8;

/// Asks every backend in every round.
fn by_rounds(preferences: &mut [Preference], heaviest: u32, mut filling: Filling) -> Vec<u32> {
    loop {
        for preference in &mut *preferences {
            preference.credit += preference.weight;
            if preference.credit < heaviest {
                continue;
            }
            preference.credit -= heaviest;
            if filling.take(preference) {
                return filling.slots;
            }
        }
    }
}

/// The same turns in the same order, from a queue: a backend's n-th turn is in the round in which it has saved `n` times
/// the heaviest weight.
fn by_turns(preferences: &mut [Preference], heaviest: u32, mut filling: Filling) -> Vec<u32> {
    let round = |turn: u64, weight: u32| (turn * u64::from(heaviest)).div_ceil(weight.into());
    let mut queue: BinaryHeap<Reverse<(u64, usize, u64)>> =
        preferences.iter().enumerate().map(|(at, one)| Reverse((round(1, one.weight), at, 1))).collect();
    while let Some(mut first) = queue.peek_mut() {
        let Reverse((_, at, turn)) = *first;
        let preference = &mut preferences[at];
        *first = Reverse((round(turn + 1, preference.weight), at, turn + 1));
        if filling.take(preference) {
            break;
        }
    }
    filling.slots
}

/// In place of an id: nobody's yet.
const FREE: u32 = u32::MAX;

/// A table that is being filled.
struct Filling {
    size: u32,
    /// Ids, or [`FREE`].
    slots: Vec<u32>,
    free: u32,
    /// How many are few.
    few: u32,
    /// The free slots, from when they are few.
    rest: Vec<u32>,
}

impl Filling {
    fn new(size: u32) -> Self {
        Self {
            size,
            slots: vec![FREE; size as usize],
            free: size,
            // The walk to one of them takes `size / free` steps; to go through a list of them is half as dear a slot.
            few: (size * 2).isqrt(),
            rest: Vec::new(),
        }
    }

    /// Gives a backend its next preferred free slot, and says whether that was the last one.
    #[inline]
    fn take(&mut self, preference: &mut Preference) -> bool {
        let slot = if self.free > self.few { self.walk(preference) } else { self.nearest(preference) };
        preference.next = advance(slot, preference.skip, self.size);
        self.slots[slot as usize] = preference.id;
        self.free -= 1;
        self.free == 0
    }

    /// The next free slot, step by step. There is one, and a prime number of slots has every step reach every slot.
    #[inline]
    fn walk(&self, preference: &Preference) -> u32 {
        let mut slot = preference.next;
        while self.slots[slot as usize] != FREE {
            slot = advance(slot, preference.skip, self.size);
        }
        slot
    }

    /// The same slot, as the one of [`Self::rest`] that the fewest steps lead to; it is taken out of the list.
    #[inline(never)]
    fn nearest(&mut self, preference: &mut Preference) -> u32 {
        if self.rest.is_empty() {
            self.rest = (0..self.size).filter(|slot| self.slots[*slot as usize] == FREE).collect();
        }
        if preference.steps_a_slot == 0 {
            preference.steps_a_slot = steps_a_slot(preference.skip, self.size);
        }
        let (from, steps_a_slot) = (u64::from(preference.next), preference.steps_a_slot);
        // A share of the circle, so that whole turns fall out by themselves. Rounding adds up to less than 2^22 units, and
        // two slots are at least 2^44 apart, since a table has fewer than 2^20.
        let steps = |slot: u32| u64::from(slot).wrapping_sub(from).wrapping_mul(steps_a_slot);
        let (mut nearest, mut fewest) = (0, u64::MAX);
        for (at, &slot) in self.rest.iter().enumerate() {
            let steps = steps(slot);
            if steps < fewest {
                (nearest, fewest) = (at, steps);
            }
        }
        self.rest.swap_remove(nearest)
    }
}

/// How many steps of `skip` lead one slot on: the inverse of `skip` modulo the prime `size` (Fermat: its power of `size` -
/// 2), as a share of the circle in units of 2^-64.
#[expect(clippy::cast_possible_truncation, reason = "a share below 1")]
const fn steps_a_slot(skip: u32, size: u32) -> u64 {
    let (mut power, mut left, size) = (skip as u64, size.saturating_sub(2), size as u64);
    let mut inverse = 1;
    while left > 0 {
        if left & 1 == 1 {
            inverse = inverse * power % size;
        }
        power = power * power % size;
        left >>= 1;
    }
    (((inverse as u128) << 64) / size as u128) as u64
}

/// One step of `skip` in a circle of `size`; both below `size`.
const fn advance(slot: u32, skip: u32, size: u32) -> u32 {
    let left = size - slot;
    if skip >= left { skip - left } else { slot + skip }
}

#[expect(clippy::cast_possible_truncation, reason = "remainders of a 32-bit number")]
fn preference(entry: &Entry, size: u32) -> Preference {
    let (address, port) = entry.listens;
    let (family, bits) = match address {
        IpAddr::V4(v4) => (4, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (6, v6.to_bits()),
    };
    let hash = mix(mix(mix(u64::from(port) << 8 | family) ^ (bits >> 64) as u64) ^ bits as u64);
    let size = u64::from(size);
    Preference {
        id: entry.id,
        next: (hash % size) as u32,
        skip: if size > 1 { (mix(hash ^ SKIP) % (size - 1)) as u32 + 1 } else { 0 },
        weight: entry.weight,
        credit: 0,
        steps_a_slot: 0,
    }
}

/// Makes the second hash another one than the first.
const SKIP: u64 = 0x6d61_676c_6576_736b;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn entries(weights: &[u16]) -> Vec<Entry> {
        (0_u32..)
            .zip(weights)
            .map(|(id, &weight)| Entry {
                id,
                listens: (IpAddr::from((10 << 24 | id).to_be_bytes()), 8080),
                weight: weight.into(),
            })
            .collect()
    }

    /// The paper's loop and nothing else: every backend in every round, every walk step by step.
    fn walked(entries: &[Entry], size: u32) -> Vec<u32> {
        let mut entries: Vec<&Entry> = entries.iter().filter(|entry| entry.weight > 0).collect();
        entries.sort_by_key(|entry| entry.listens);
        let Some(heaviest) = entries.iter().map(|entry| entry.weight).max() else { return Vec::new() };
        let mut ways: Vec<Preference> = entries.iter().map(|entry| preference(entry, size)).collect();
        let (mut slots, mut free) = (vec![FREE; size as usize], size);
        loop {
            for way in &mut ways {
                way.credit += way.weight;
                if way.credit < heaviest {
                    continue;
                }
                way.credit -= heaviest;
                while slots[way.next as usize] != FREE {
                    way.next = advance(way.next, way.skip, size);
                }
                slots[way.next as usize] = way.id;
                free -= 1;
                if free == 0 {
                    return slots;
                }
            }
        }
    }

    fn counts(slots: &[u32]) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for &id in slots {
            *counts.entry(id).or_default() += 1;
        }
        counts
    }

    #[test]
    fn shares_follow_the_weights() {
        let slots = build(&entries(&[100, 200, 300, 400]), 65537);
        for (id, count) in counts(&slots) {
            let share = count as f64 / 65537.0;
            assert!((share - f64::from(id + 1) / 10.0).abs() < 0.001, "{id}: {share}");
        }
    }

    #[test]
    fn no_weight_takes_no_slot() {
        assert!(build(&entries(&[0, 0]), 251).is_empty());
        assert!(build(&[], 251).is_empty());
        assert_eq!(counts(&build(&entries(&[0, 7]), 251)), BTreeMap::from([(1, 251)]));
    }

    #[test]
    fn removing_one_of_ten_moves_few_flows_of_the_others() {
        let all = entries(&[100; 10]);
        let before = build(&all, 65537);
        for removed in 0..10 {
            let rest: Vec<Entry> = all.iter().filter(|entry| entry.id != removed).copied().collect();
            let after = build(&rest, 65537);
            let stayed = before.iter().filter(|&&id| id != removed).count();
            let moved = before.iter().zip(&after).filter(|&(&b, &a)| b != removed && a != b).count();
            assert!(moved * 100 <= stayed, "{moved} of {stayed} slots moved when {removed} was removed");
        }
    }

    proptest! {
        #[test]
        fn is_the_same_in_any_order(
            weights in proptest::collection::vec(0_u16..2000, 1..30),
            seed: u64,
        ) {
            let sorted = entries(&weights);
            let mut shuffled = sorted.clone();
            shuffled.sort_by_key(|entry| mix(seed ^ u64::from(entry.id)));
            prop_assert_eq!(build(&sorted, 1021), build(&shuffled, 1021));
        }

        #[test]
        fn is_the_table_of_the_plain_loop(
            weights in proptest::collection::vec(0_u16..50, 1..60),
            heavy in 1_u16..60_000,
            size in proptest::sample::select(&[2_u32, 3, 251, 1021, 4093]),
        ) {
            // Weights that are much alike, and one that is not: turns in every round, and in few of them.
            prop_assert_eq!(build(&entries(&weights), size), walked(&entries(&weights), size));
            let uneven: Vec<u16> = weights.into_iter().chain([heavy]).collect();
            prop_assert_eq!(build(&entries(&uneven), size), walked(&entries(&uneven), size));
        }

        #[test]
        fn has_no_holes_and_is_balanced(weights in proptest::collection::vec(1_u16..1000, 1..40)) {
            let slots = build(&entries(&weights), 8191);
            prop_assert_eq!(slots.len(), 8191);
            let counts = counts(&slots);
            let total: u32 = weights.iter().map(|&w| u32::from(w)).sum();
            for (id, &weight) in (0_u32..).zip(&weights) {
                // After any number of rounds nobody is a whole turn from the exact share of that many rounds; the
                // last rounds make up for the others' missing parts of a turn.
                let share = f64::from(weight) / f64::from(total);
                let bound = 1.0 + share * weights.len() as f64 + 1.0;
                let found = counts.get(&id).copied().unwrap_or(0) as f64;
                prop_assert!((found - 8191.0 * share).abs() <= bound, "{}: {} instead of {}", id, found, 8191.0 * share);
            }
        }

        #[test]
        fn ids_do_not_matter(weights in proptest::collection::vec(1_u16..1000, 1..20)) {
            let sorted = entries(&weights);
            let renamed: Vec<Entry> = sorted.iter().map(|entry| Entry { id: entry.id + 1000, ..*entry }).collect();
            let renamed: Vec<u32> = build(&renamed, 1021).into_iter().map(|id| id - 1000).collect();
            prop_assert_eq!(build(&sorted, 1021), renamed);
        }

        #[test]
        fn a_step_stays_in_the_circle(size in 2_u32.., slot: u32, skip: u32) {
            let (slot, skip) = (slot % size, skip % size);
            prop_assert_eq!(u64::from(advance(slot, skip, size)), (u64::from(slot) + u64::from(skip)) % u64::from(size));
        }
    }
}
