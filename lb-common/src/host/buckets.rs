//! The table of buckets in memory that this process shares: with threads, or with programs in the kernel.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Address;
use crate::abi::{BUCKET_WAYS, BucketGroup, BucketKey, BucketLevel, WAYS};
use crate::bucket_table::{BucketHash, Found, Group, Taken, find, first, groups};
use crate::gcra::Bucket;

/// Words of a group, and where in it the levels, the addresses and the limits begin.
const WORDS: usize = size_of::<BucketGroup>() / 8;
const LEVELS: usize = BUCKET_WAYS;
const WHO: usize = LEVELS + 2 * BUCKET_WAYS;
const LIMITS: usize = WHO + 2 * BUCKET_WAYS;

const RELAXED: Ordering = Ordering::Relaxed;

impl Bucket for &AtomicU64 {
    fn load(&self) -> u64 {
        AtomicU64::load(self, RELAXED)
    }

    fn compare_exchange(&self, expected: u64, new: u64) -> u64 {
        match AtomicU64::compare_exchange(self, expected, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(found) | Err(found) => found,
        }
    }
}

/// A group of buckets.
#[derive(Debug, Clone, Copy)]
struct SharedGroup<'a>(&'a [AtomicU64]);

impl SharedGroup<'_> {
    /// The bucket with this tag: of two, the one that packets find.
    fn known(&self, tag: u64) -> Option<u32> {
        std::iter::once(first(tag)).chain(0..WAYS).find(|way| self.tag(*way) == tag)
    }
}

impl<'a> Group for SharedGroup<'a> {
    type Bucket = &'a AtomicU64;

    fn tag(&self, way: u32) -> u64 {
        self.0[way as usize].load(RELAXED)
    }

    fn exchange_tag(&self, way: u32, expected: u64, new: u64) -> u64 {
        Bucket::compare_exchange(&&self.0[way as usize], expected, new)
    }

    fn bucket(&self, way: u32) -> &'a AtomicU64 {
        &self.0[LEVELS + 2 * way as usize]
    }

    fn limit(&self, way: u32) -> u32 {
        let (even, odd) = halves(self.0[LIMITS + way as usize / 2].load(RELAXED));
        if way.is_multiple_of(2) { even } else { odd }
    }

    fn describe(&self, way: u32, who: [u64; 2], limit: u32) {
        let way = way as usize;
        for (word, half) in who.into_iter().enumerate() {
            self.0[WHO + 2 * way + word].store(half, RELAXED);
        }
        let (word, shift) = (&self.0[LIMITS + way / 2], 32 * (way % 2));
        let others = word.load(RELAXED) & !(0xffff_ffff << shift);
        word.store(others | u64::from(limit) << shift, RELAXED);
    }
}

/// A bucket that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owned {
    /// Whose it is, as a hash: the same for as long as nobody else has it.
    pub tag: u64,
    /// Whose it is, under which limit.
    pub key: BucketKey,
    /// What is in it.
    pub level: BucketLevel,
}

/// A table of buckets that others change at the same time.
#[derive(Debug, Clone, Copy)]
pub struct SharedBuckets<'a> {
    words: &'a [AtomicU64],
    hash: BucketHash,
}

impl<'a> SharedBuckets<'a> {
    /// A table in memory that is [`BucketGroup`]s.
    pub const fn new(words: &'a [AtomicU64], hash: BucketHash) -> Self {
        Self { words, hash }
    }

    fn group(&self, number: u32) -> Option<SharedGroup<'a>> {
        let begin = number as usize * WORDS;
        self.words.get(begin..begin + WORDS).map(SharedGroup)
    }

    fn tag(&self, key: &BucketKey) -> u64 {
        self.hash.tag(key.who.halves(), key.limit)
    }

    /// The number of a key's bucket: its own, or one that becomes its own. See [`find`].
    pub fn find(&self, key: &BucketKey, now: u64, depth: u64) -> Option<(u32, Found)> {
        if let Some(number) = self.known_first(key) {
            return Some((number, Found { way: number % WAYS, taken: Taken::Known }));
        }
        let tag = self.tag(key);
        let number = self.hash.group(tag);
        let found = find(&self.group(number)?, tag, key.who.halves(), key.limit, now, depth)?;
        Some((number * WAYS + found.way, found))
    }

    /// A key's bucket, if it has one: of two, the one that packets find.
    pub fn known(&self, key: &BucketKey) -> Option<&'a AtomicU64> {
        let tag = self.tag(key);
        let group = self.group(self.hash.group(tag))?;
        group.known(tag).map(|way| group.bucket(way))
    }

    /// The bucket with a number.
    pub fn bucket(&self, index: u32) -> Option<&'a AtomicU64> {
        Some(self.group(index / WAYS)?.bucket(index % WAYS))
    }

    /// The number of a key's bucket, if it is where it is looked for first.
    pub fn known_first(&self, key: &BucketKey) -> Option<u32> {
        let tag = self.tag(key);
        let (number, way) = (self.hash.group(tag), first(tag));
        (self.group(number)?.tag(way) == tag).then_some(number * WAYS + way)
    }

    /// Notes that a bucket was asked.
    pub fn note_asked(&self, index: u32, over: bool) {
        let Some(group) = self.group(index / WAYS) else { return };
        let counts = &group.0[LEVELS + 2 * (index as usize % BUCKET_WAYS) + 1];
        let (asked, refused) = halves(counts.load(RELAXED));
        counts.store(word(asked.wrapping_add(1), refused.wrapping_add(over.into())), RELAXED);
    }

    /// Every bucket that somebody has; of two that are one key's, the one that is found.
    pub fn iter(self) -> impl Iterator<Item = Owned> + 'a {
        let groups = self.words.chunks_exact(WORDS).map(SharedGroup);
        let all = groups.flat_map(|group| {
            let is_found = move |way: &u32| group.known(group.tag(*way)) == Some(*way);
            (0..WAYS).filter(is_found).filter_map(move |way| owned(group.0, way as usize))
        });
        // Of one that two CPUs took at once, the name may be the other's.
        all.filter(move |owned| self.tag(&owned.key) == owned.tag)
    }

    /// Forgets every bucket of a limit.
    pub fn forget(&self, limit: u32) {
        for group in self.words.chunks_exact(WORDS) {
            for way in (0..BUCKET_WAYS).filter(|way| owned(group, *way).is_some_and(|owned| owned.key.limit == limit)) {
                group[way].store(0, RELAXED);
                group[LEVELS + 2 * way].store(0, RELAXED);
                group[LEVELS + 2 * way + 1].store(0, RELAXED);
            }
        }
    }
}

fn owned(group: &[AtomicU64], way: usize) -> Option<Owned> {
    let tag = group[way].load(RELAXED);
    if tag == 0 {
        return None;
    }
    let [high, low] = [0, 1].map(|word| group[WHO + 2 * way + word].load(RELAXED));
    let ((a, b), (c, d)) = (halves(high), halves(low));
    let who = Address::from_words(if cfg!(target_endian = "big") { [b, a, d, c] } else { [a, b, c, d] });
    let (even, odd) = halves(group[LIMITS + way / 2].load(RELAXED));
    let (asked, over) = halves(group[LEVELS + 2 * way + 1].load(RELAXED));
    let level = BucketLevel { empty_at: group[LEVELS + 2 * way].load(RELAXED), asked, over };
    Some(Owned { tag, key: BucketKey { who, limit: if way.is_multiple_of(2) { even } else { odd } }, level })
}

/// The lower half of a word, and the upper one.
#[expect(clippy::cast_possible_truncation, reason = "halves of a word")]
const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// The inverse of [`halves`].
const fn word(lower: u32, upper: u32) -> u64 {
    lower as u64 | (upper as u64) << 32
}

/// A table of this process's own.
#[derive(Debug)]
pub struct HostBuckets {
    words: Vec<AtomicU64>,
    hash: BucketHash,
}

impl HostBuckets {
    /// For so many buckets.
    pub fn seeded(buckets: u32, seed: u64) -> Self {
        let groups = groups(buckets);
        let words = (0..groups as usize * WORDS).map(|_| AtomicU64::new(0)).collect();
        Self { words, hash: BucketHash::new(groups, seed) }
    }

    /// As others see it.
    pub fn shared(&self) -> SharedBuckets<'_> {
        SharedBuckets::new(&self.words, self.hash)
    }
}

impl Default for HostBuckets {
    fn default() -> Self {
        Self::seeded(4096, 1)
    }
}

#[cfg(test)]
#[path = "buckets_tests.rs"]
mod tests;
