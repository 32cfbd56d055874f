//! Limits.

use core::mem::offset_of;
use core::ptr::NonNull;

use aya_ebpf::bindings::BPF_NOEXIST;
use lb_common::abi::{BucketCell, Connection, FlowKey, Limit, PlainLimit, SketchCell, WAYS};
use lb_common::bucket_table::{self, BucketHash, Found, Taken};
use lb_common::hash::mix;
use lb_common::limits::{Asker, LimitTables, Said};
use lb_common::{Headers, Refusal};

use crate::buckets::{KernelBuckets, KernelOwn};
use crate::cells::KernelBucket;
use crate::steps;

use super::maps::{BUCKET_HASH, BUCKETS, CONNECTIONS, LIMIT_COUNTS, LIMITS, SERVICE_BUCKETS, SKETCH};
use super::{Maps, bump, constants};

#[inline(always)]
fn bucket_words() -> [u64; 4] {
    constants(&raw const BUCKET_HASH)
}

#[inline(always)]
fn bucket_hash() -> BucketHash {
    BucketHash::from_words(bucket_words())
}

#[inline(always)]
fn bucket_group(number: u32) -> Option<KernelBuckets> {
    NonNull::new(BUCKETS.get_ptr_mut(number)?).map(KernelBuckets)
}

/// The number of a bucket, and how it came to be its owner's; see [`LimitTables::find_bucket`].
#[inline(always)]
pub fn own_bucket(who: [u64; 2], limit: u32, now: u64, depth: u64) -> Option<(u32, Taken)> {
    let hash = bucket_hash();
    let tag = hash.tag(who, limit);
    let Found { way, taken } = bucket_table::find(&bucket_group(hash.group(tag))?, tag, who, limit, now, depth)?;
    // Once more, rather than to keep it meanwhile: there is little stack.
    Some((bucket_hash().group(tag) * WAYS + way, taken))
}

/// A word of a limit's own bucket.
#[inline(always)]
fn service_word<const AT: usize>(limit: u32) -> Option<KernelBucket> {
    let cell = SERVICE_BUCKETS.get_ptr_mut(limit)?;
    // SAFETY: a place inside of the element.
    NonNull::new(unsafe { cell.byte_add(AT).cast::<u64>() }).map(KernelBucket)
}

impl<const SKB: bool> LimitTables for Maps<SKB> {
    type Bucket<'a> = KernelBucket;
    type Own<'a> = KernelOwn;

    #[inline(always)]
    fn limit(&self, id: u32) -> Option<&Limit> {
        LIMITS.get(id)
    }

    #[inline(always)]
    fn service_bucket(&self, limit: u32) -> Option<KernelBucket> {
        service_word::<{ offset_of!(BucketCell, empty_at) }>(limit)
    }

    #[inline(always)]
    fn plain_bucket(&self, limit: u32) -> Option<(KernelBucket, PlainLimit)> {
        let cell = NonNull::new(SERVICE_BUCKETS.get_ptr_mut(limit)?)?;
        // SAFETY: a map's element, of integers. The controller may write a word of it meanwhile, and the next: see `PlainLimit`.
        let plain = unsafe { (&raw const (*cell.as_ptr()).plain).read() };
        const { assert!(offset_of!(BucketCell, empty_at) == 0) };
        if plain.cost == 0 { None } else { Some((KernelBucket(cell.cast()), plain)) }
    }

    #[inline(always)]
    fn find_bucket(&self, who: [u64; 2], limit: u32, now: u64, depth: u64) -> Option<(KernelOwn, Taken)> {
        let (number, taken) = steps::find_bucket(who, limit, now, depth)?;
        Some((bucket_group(number / WAYS)?.own(number % WAYS), taken))
    }

    #[inline(always)]
    fn known_bucket(&self, who: [u64; 2], limit: u32) -> Option<KernelOwn> {
        let hash = bucket_hash();
        let tag = hash.tag(who, limit);
        bucket_group(hash.group(tag))?.known(bucket_table::first(tag), tag)
    }

    #[inline(always)]
    fn ask_limit(&self, headers: &Headers, asker: &Asker, id: u32) -> u64 {
        steps::ask_limit(headers, asker, id)
    }

    #[inline(always)]
    fn ask_plain(&self, service: u32, who: [u64; 2], bytes: u32) -> Result<(), Refusal> {
        steps::ask_plain(service, who, bytes)
    }

    #[inline(always)]
    fn ask_one_plain(&self, id: u32, who: [u64; 2], bytes: u32) -> Result<(), Refusal> {
        steps::ask_one_plain(id, who, bytes)
    }

    #[inline(always)]
    fn ask_source(&self, id: u32, who: [u64; 2], cost: u64, depth: u64) -> Result<(), Refusal> {
        steps::ask_source(id, who, cost, depth)
    }

    #[inline(always)]
    fn connection(&self, key: &FlowKey) -> Option<(KernelBucket, u32)> {
        let at = CONNECTIONS.get_ptr_mut(key)?;
        // SAFETY: a map's element; its backend was written before it was found and does not change. The first two words of an
        // element, which is aligned as words are, are one.
        let backend = unsafe { (*at).backend };
        Some((NonNull::new(at.cast::<u64>()).map(KernelBucket)?, backend))
    }

    #[inline(always)]
    fn remember_connection(&self, key: &FlowKey, connection: &Connection) -> bool {
        CONNECTIONS.insert(key, connection, u64::from(BPF_NOEXIST)).is_ok()
    }

    #[inline(always)]
    fn forget_connection(&self, key: &FlowKey) {
        // An error means that it was not there any more.
        let _: Result<(), i32> = CONNECTIONS.remove(key);
    }

    #[inline(always)]
    fn change_gauge(&self, headers: &Headers, asker: &Asker, id: u32, change: u32) -> Result<(), Refusal> {
        steps::change_gauge(headers, asker, id, change)
    }

    #[inline(always)]
    fn share(&self, limit: u32) -> Option<KernelBucket> {
        service_word::<{ offset_of!(BucketCell, share) }>(limit)
    }

    #[inline(always)]
    fn share_adapted(&self, limit: u32) -> Option<KernelBucket> {
        service_word::<{ offset_of!(BucketCell, adapted_ns) }>(limit)
    }

    #[inline(always)]
    fn share_seen(&self, limit: u32) -> Option<KernelBucket> {
        service_word::<{ offset_of!(BucketCell, seen_or_due) }>(limit)
    }

    #[inline(always)]
    fn mark_due(&self, limit: u32) -> Option<KernelBucket> {
        self.share_seen(limit)
    }

    #[inline(always)]
    fn debt(&self, limit: u32) -> Option<KernelBucket> {
        service_word::<{ offset_of!(BucketCell, debt) }>(limit)
    }

    #[inline(always)]
    fn sketch_hash(&self, high: u64, low: u64) -> u64 {
        let [_, a, b, _] = bucket_words();
        mix(high.wrapping_mul(a).wrapping_add(low.wrapping_mul(b)))
    }

    #[inline(always)]
    fn sketch(&self, index: u32) -> SketchCell {
        SKETCH.get(index).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn put_sketch(&self, index: u32, cell: SketchCell) {
        if let Some(at) = SKETCH.get_ptr_mut(index) {
            // SAFETY: a map's element, of integers. Other CPUs may write it at once: then one of both packets is not counted.
            unsafe { at.write(cell) };
        }
    }

    #[inline(always)]
    fn count_limit(&self, limit: u32, said: Said) {
        #[cfg(feature = "record")]
        crate::record::answered(limit, said);
        bump(&LIMIT_COUNTS, limit, |count| match said {
            Said::Admitted => count.admitted += 1,
            Said::Over => count.over += 1,
            Said::Marked => count.marked += 1,
            Said::WouldDrop => count.would_drop += 1,
            Said::Delayed => count.delayed += 1,
        });
    }

    #[inline(always)]
    fn count_eviction(&self, limit: u32, busy: bool) {
        bump(&LIMIT_COUNTS, limit, |count| if busy { count.evicted_busy += 1 } else { count.evicted_idle += 1 });
    }
}
