//! How many there are at once, in a bucket's word: connections have no rate at which they run out.
//!
//! The word is a time in the far future, plus their number: so a bucket that is looked for among others is one that will not be
//! empty for long, and is nobody else's for as long as there is one. None is 0, an empty bucket.

use crate::gcra::{Admission, Bucket, MAX_TRIES};

/// Later than any clock shows, in ticks: nine years of uptime.
const FAR: u64 = 1 << 62;

/// Whether a bucket's word says how many there are.
#[inline(always)]
pub const fn is_gauge(word: u64) -> bool {
    word >= FAR
}

/// 1 of a bucket's word that says how many there are, 0 of others.
#[inline(always)]
pub const fn gauge_bit(word: u64) -> u32 {
    let upper = (word >> 62) as u32;
    upper & 1
}

/// How many there are.
#[inline(always)]
pub const fn count(word: u64) -> u64 {
    word.saturating_sub(FAR)
}

/// One more, if there are fewer than `most`; says how many there were.
#[inline(always)]
pub fn take(bucket: &impl Bucket, most: u64) -> Admission {
    change(bucket, |count| if count < most { Some(count + 1) } else { None })
}

/// One less; of none, none.
#[inline(always)]
pub fn give_back(bucket: &impl Bucket) -> Admission {
    change(bucket, |count| Some(count.saturating_sub(1)))
}

/// Has it be `to` if it is `from`.
pub fn correct(bucket: &impl Bucket, from: u64, to: u64) {
    let word = |count: u64| if count == 0 { 0 } else { FAR + count };
    bucket.compare_exchange(word(from), word(to));
}

#[inline(always)]
fn change(bucket: &impl Bucket, next: impl Fn(u64) -> Option<u64>) -> Admission {
    let mut word = bucket.load();
    let mut tries = 0;
    while tries < MAX_TRIES {
        let Some(new) = next(count(word)) else { return Admission::Over };
        let found = bucket.compare_exchange(word, if new == 0 { 0 } else { FAR + new });
        if found == word {
            return Admission::Admitted(count(word));
        }
        word = found;
        tries += 1;
    }
    Admission::Contended
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn as_many_as_are_taken_come_back() {
        let bucket = Cell::new(0);
        for number in 1..=3 {
            assert_eq!(take(&bucket, 3), Admission::Admitted(number - 1));
            assert!(is_gauge(bucket.get()) && count(bucket.get()) == number);
        }
        assert_eq!(take(&bucket, 3), Admission::Over);
        for number in [3, 2, 1, 0, 0] {
            assert_eq!(give_back(&bucket), Admission::Admitted(number));
        }
        assert_eq!(bucket.get(), 0);
    }
}
