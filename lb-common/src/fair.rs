//! Who presses on a limit that its sources share: those above their fair share.
//!
//! How much each source sends is counted in a count-min sketch (Cormode, Muthukrishnan, An Improved Data Stream Summary, 2005),
//! over a sliding window: it may take a source for a heavier one, where it meets others in every row, and never for a lighter one.
//! The share is found by trial, as AFD does (Pan, Breslau, Prabhakar, Shenker, Approximate Fairness through Differential Dropping,
//! 2003): it shrinks while the bucket is fuller than five eighths, and not running out already, and grows while it is less full. Sources
//! above it may fill the bucket to its half only, so that there is room for the others while those are within the limit together: where
//! they are, the bucket stays about there. A source that would fill half of it in one window is always above its share, so that the
//! first rush of one is not what fills it.

use crate::abi::{BucketKey, Limit, SketchCell};
use crate::gcra::{Bucket, TICKS_PER_NS, level};
use crate::hash::{GOLDEN, mix};
use crate::tables::Tables;

/// Counters of a row. Limits with windows of other lengths have others: what one of them left for 17 seconds would be taken for what
/// a source of another sent in one.
pub const COLUMNS: u32 = LENGTHS * OF_A_LENGTH;

/// How many lengths of windows there are at most, which are powers of two one after the other.
const LENGTHS: u32 = 16;

/// Counters of a row for windows of one length.
const OF_A_LENGTH: u32 = 1 << 12;

/// Rows.
pub const ROWS: u32 = 4;

/// By how much the share shrinks and grows at once, as powers of two, and how often it may in a window.
const SHRINK: u32 = 3;
const GROW: u32 = 4;
const STEPS_A_WINDOW: u32 = 3;

/// Counts what a source's packet of `cost` ticks adds to what it sent, and says whether it is above its share.
#[inline(always)]
pub fn presses<T: Tables + ?Sized>(
    tables: &T,
    limit: &Limit,
    key: &BucketKey,
    bucket: &impl Bucket,
    now_ns: u64,
    cost: u64,
) -> bool {
    let sent = count(tables, key, limit.window & 63, now_ns, nanoseconds(cost));
    let (Some(share), Some(adapted)) = (tables.share(key.limit), tables.share_adapted(key.limit)) else { return false };
    let Some(seen) = tables.share_seen(key.limit) else { return false };
    let whole = 1_u64 << (limit.window & 63);
    let most = most(limit.depth_ticks, whole);
    let held = share.load();
    let held = if held == 0 || held > most { most } else { held };
    let before = adapted.load();
    let due = now_ns.wrapping_sub(before) >= whole >> STEPS_A_WINDOW;
    if due && adapted.compare_exchange(before, now_ns) == before {
        let full = level(bucket.load(), now_ns.wrapping_mul(TICKS_PER_NS));
        let before = seen.load();
        seen.compare_exchange(before, full);
        share.compare_exchange(share.load(), adapted_share(held, most, full, before, limit.depth_ticks));
    }
    u64::from(sent) > held
}

/// The largest share, in nanoseconds: what fills half of the bucket, and no more than a window.
#[inline(always)]
const fn most(depth: u64, whole: u64) -> u64 {
    let half = depth / (2 * TICKS_PER_NS);
    let most = if half < whole { half } else { whole };
    if most == 0 { 1 } else { most }
}

/// The share after a look at how full the bucket is, and how full it was at the look before.
#[inline(always)]
const fn adapted_share(share: u64, most: u64, full: u64, before: u64, depth: u64) -> u64 {
    let sixteenth = depth >> 4;
    if full > sixteenth * 10 && full >= before {
        let less = share - (share >> SHRINK);
        if less == share { if less > 1 { less - 1 } else { 1 } } else { less }
    } else if full < sixteenth * 9 {
        let more = share + (share >> GROW) + 1;
        if more > most { most } else { more }
    } else {
        share
    }
}

/// What a cost is in nanoseconds, in 32 bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "limited before")]
const fn nanoseconds(cost: u64) -> u32 {
    let cost = cost / TICKS_PER_NS;
    if cost > u32::MAX as u64 { u32::MAX } else { cost as u32 }
}

/// Counts `cost` for a key; how much came for it in the last window.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "bits of a hash, and a number of windows")]
fn count<T: Tables + ?Sized>(tables: &T, key: &BucketKey, window: u32, now_ns: u64, cost: u32) -> u32 {
    let [high, low] = key.who.halves();
    let mut hash = tables.sketch_hash(high ^ u64::from(key.limit).wrapping_mul(GOLDEN), low);
    let number = (now_ns >> window) as u32;
    let first = (window & (LENGTHS - 1)) * OF_A_LENGTH;
    // What is left of this window is what counts of the last one, in 1,024ths.
    let left = 1024 - ((now_ns & ((1 << window) - 1)) >> window.saturating_sub(10)) as u32;
    let mut least = u32::MAX;
    let mut row = 0;
    while row < ROWS {
        let index = row * COLUMNS + first + (hash as u32 & (OF_A_LENGTH - 1));
        let cell = advanced(tables.sketch(index), number, cost);
        tables.put_sketch(index, cell);
        let sent = cell.now.saturating_add((cell.last >> 10).saturating_mul(left));
        if sent < least {
            least = sent;
        }
        hash = mix(hash);
        row += 1;
    }
    least
}

/// A counter with what came in the window `number`.
#[inline(always)]
const fn advanced(cell: SketchCell, number: u32, cost: u32) -> SketchCell {
    let (now, last) = match number.wrapping_sub(cell.window) {
        0 => (cell.now, cell.last),
        1 => (0, cell.now),
        _ => (0, 0),
    };
    SketchCell { window: number, now: now.saturating_add(cost), last, pad: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;
    use crate::host::HostTables;

    #[test]
    fn the_share_follows_the_level() {
        let most = 1 << 27;
        assert_eq!(adapted_share(most, most, 0, 0, 1600), most);
        assert_eq!(adapted_share(most, most, 1001, 1001, 1600), most - most / 8);
        assert_eq!(adapted_share(most, most, 1001, 1002, 1600), most, "it runs out already");
        assert_eq!(adapted_share(800, most, 950, 950, 1600), 800);
        assert_eq!(adapted_share(800, most, 899, 0, 1600), 851);
        assert_eq!(adapted_share(1, most, 1600, 0, 1600), 1);
        assert_eq!(adapted_share(7, most, 1600, 0, 1600), 6);
    }

    #[test]
    fn no_share_is_more_than_half_a_bucket() {
        assert_eq!(super::most(1000 * TICKS_PER_NS, 1 << 27), 500);
        assert_eq!(super::most(u64::MAX, 1 << 27), 1 << 27);
        assert_eq!(super::most(1, 1 << 27), 1);
    }

    #[test]
    fn a_counter_remembers_one_window() {
        let cell = advanced(advanced(SketchCell::default(), 7, 5), 7, 6);
        assert_eq!((cell.now, cell.last), (11, 0));
        let cell = advanced(cell, 8, 1);
        assert_eq!((cell.now, cell.last), (1, 11));
        let cell = advanced(cell, 10, 2);
        assert_eq!((cell.now, cell.last), (2, 0));
    }

    /// Two limits that count the same source at the same time, whatever their numbers hash to.
    #[test]
    fn windows_of_other_lengths_do_not_meet() {
        let tables = HostTables::default();
        let costs = |sent: u32| u64::from(sent) * TICKS_PER_NS;
        for number in 0..20_000_u32 {
            let key = |limit| BucketKey { who: Address::from_v4(number.to_be_bytes()), limit };
            count(&tables, &key(1), 34, 1 << 40, nanoseconds(costs(1 << 30)));
            count(&tables, &key(2), 19, 1 << 40, 1);
        }
        let key = BucketKey { who: Address::from_v4([198, 51, 100, 1]), limit: 3 };
        let sent = count(&tables, &key, 19, 1 << 40, 1);
        assert!(sent < 100, "{sent}: nothing of what the long window counts");
    }
}
