//! The table of buckets that sources and backends have: as many as there are, in fixed memory.
//!
//! It is an array of groups of eight. A key's hash says in which group its bucket is; a bucket is known by the hash alone, of 63
//! bits and keyed, so that to become somebody else's is one compare-and-swap and nobody ever waits.
//!
//! **Who has no bucket yet takes the emptiest of its group.** An empty one says nothing of whoever had it: nothing is lost. When
//! none is empty, whoever comes begins with what was in it (as Space-Saving does: Metwally, Agrawal, El Abbadi, Efficient
//! Computation of Frequent and Top-k Elements in Data Streams, 2005). So a flood of new sources takes from each other, a heavy
//! sender's is the last to be taken, and nobody is better off by being forgotten: what a group admits is bounded by what its eight
//! buckets admit. What another limit's bucket holds says nothing, and is poured out. Buckets that say how many there are
//! ([`gauge`](crate::gauge)) are not taken at all, and are half of a group's at most.

use crate::abi::WAYS;
use crate::gauge::{gauge_bit, is_gauge};
use crate::gcra::{Bucket, level};
use crate::hash::{GOLDEN, Keyed, mix, slot};

/// Of how full a bucket can be, that it is to say how many there are.
pub const GAUGE: u64 = u64::MAX;

/// The same, that nobody is to get a bucket who has none.
pub const LOOKUP: u64 = u64::MAX - 1;

/// How many of a group's buckets may say how many there are: they are nobody else's for as long as there is one, and others have to
/// have some, too.
const MAX_GAUGES: u32 = WAYS / 2;

/// How many groups a table of so many buckets has.
pub const fn groups(buckets: u32) -> u32 {
    let groups = buckets.div_ceil(WAYS);
    if groups == 0 { 1 } else { groups }
}

/// What places are computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketHash(Keyed);

/// Buckets of a group, by their number below [`WAYS`]; shared by every CPU.
pub trait Group {
    /// A bucket.
    type Bucket: Bucket;
    /// Whose it is.
    fn tag(&self, way: u32) -> u64;
    /// It becomes `new`'s if it is `expected`'s; returns whose it was. Atomic.
    fn exchange_tag(&self, way: u32, expected: u64, new: u64) -> u64;
    /// What is in it.
    fn bucket(&self, way: u32) -> Self::Bucket;
    /// Under which limit.
    fn limit(&self, way: u32) -> u32;
    /// Writes whose it is, for people.
    fn describe(&self, way: u32, who: [u64; 2], limit: u32);
    /// The same number: for a compiler that is not to write a loop out.
    #[inline(always)]
    fn opaque(&self, number: u32) -> u32 {
        number
    }
}

/// A bucket that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its number in its group.
    pub way: u32,
    /// How it came to be the key's.
    pub taken: Taken,
}

/// How a bucket came to be a key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was.
    Known,
    /// It was nobody's.
    Fresh,
    /// It was somebody else's, and empty.
    Idle,
    /// It was somebody else's, and is as full as it was.
    Busy,
}

impl BucketHash {
    /// For a table of so many groups, with a seed that strangers do not know.
    pub const fn new(groups: u32, seed: u64) -> Self {
        let (a, b, c) = (mix(seed ^ GOLDEN), mix(seed.wrapping_mul(GOLDEN)), mix(!seed));
        Self(Keyed::new(groups, [a, b, c]))
    }

    /// From [`Keyed::to_words`].
    #[inline(always)]
    pub const fn from_words(words: [u64; 4]) -> Self {
        Self(Keyed::from_words(words))
    }

    /// As words, for the programs.
    pub const fn to_words(&self) -> [u64; 4] {
        self.0.to_words()
    }

    /// The tag of the bucket that `who`, the halves of a [key](crate::abi::BucketKey)'s, has under a limit. Never 0: it is odd.
    #[inline(always)]
    pub const fn tag(&self, [high, low]: [u64; 2], limit: u32) -> u64 {
        self.0.hash([high, low ^ (low >> 32), limit as u64]) | 1
    }

    /// The number of the group that a bucket with this tag is in.
    #[inline(always)]
    pub const fn group(&self, tag: u64) -> u32 {
        slot(tag, self.0.groups)
    }
}

/// The bucket of a group at which a tag is looked for first.
#[inline(always)]
pub const fn first(tag: u64) -> u32 {
    // Of the better half, whose upper bits said which group.
    (tag >> 32) as u32 & (WAYS - 1)
}

/// Which bucket goes first: one that nobody ever had, then who is empty, then who is the least full; of connections, none.
#[inline(always)]
fn fullness(group: &impl Group, way: u32, empty_at: u64, now: u64) -> u64 {
    if is_gauge(empty_at) {
        u64::MAX
    } else if group.tag(way) == 0 {
        0
    } else {
        level(empty_at, now) + 1
    }
}

/// The bucket with this tag, of `who` under `limit`; or one that becomes it, with no more in it than `depth`, which may also be
/// [`GAUGE`] or [`LOOKUP`]. Nothing when there is none to be had. Callers have looked at the [`first`] themselves: to do it here
/// costs the kernel's programs stack that they do not have.
#[inline(always)]
pub fn find(group: &impl Group, tag: u64, who: [u64; 2], limit: u32, now: u64, depth: u64) -> Option<Found> {
    let mut way = 0;
    while way < WAYS {
        if group.tag(way) == tag {
            return Some(Found { way, taken: Taken::Known });
        }
        way = group.opaque(way + 1);
    }
    if depth == LOOKUP {
        return None;
    }
    let (mut emptiest, mut least, mut gauges) = (0, u64::MAX, 0);
    let mut way = 0;
    while way < WAYS {
        let empty_at = group.bucket(way).load();
        // Without a branch: the verifier follows every one of them through every round.
        gauges += gauge_bit(empty_at);
        let full = fullness(group, way, empty_at, now);
        if full < least {
            (emptiest, least) = (way, full);
        }
        way = group.opaque(way + 1);
    }
    // Of several the one that is looked at first.
    let first = first(tag);
    if fullness(group, first, group.bucket(first).load(), now) == least {
        emptiest = first;
    }
    if least == u64::MAX || depth == GAUGE && gauges >= MAX_GAUGES {
        return None;
    }
    let had = group.tag(emptiest);
    let found = group.exchange_tag(emptiest, had, tag);
    if found == tag {
        return Some(Found { way: emptiest, taken: Taken::Known });
    }
    if found != had {
        // Another CPU took it for somebody else. The next packet looks again.
        return None;
    }
    let other = group.limit(emptiest) != limit;
    group.describe(emptiest, who, limit);
    let bucket = group.bucket(emptiest);
    let empty_at = bucket.load();
    if level(empty_at, now) != 0 && (other || depth == GAUGE) {
        bucket.compare_exchange(empty_at, 0);
    }
    let taken = match least {
        0 => Taken::Fresh,
        1 => Taken::Idle,
        _ => Taken::Busy,
    };
    Some(Found { way: emptiest, taken })
}
