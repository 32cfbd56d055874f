//! Groups of the table of buckets, which programs of several CPUs, and the controller, read and write at once.

use core::mem::offset_of;
use core::ptr::NonNull;

use lb_common::abi::{BUCKET_WAYS, BucketGroup, BucketLevel};
use lb_common::bucket_table::Group;
use lb_common::gcra::Bucket;
use lb_common::limits::OwnBucket;

use crate::cells::{KernelBucket, compare_exchange};
use crate::frame::opaque;

/// A group of buckets in the map.
pub struct KernelBuckets(pub(crate) NonNull<BucketGroup>);

impl KernelBuckets {
    /// A bucket.
    #[inline(always)]
    pub fn own(&self, way: u32) -> KernelOwn {
        self.own_at(masked(way))
    }

    /// A bucket, if it has this tag.
    #[inline(always)]
    pub fn known(&self, way: u32, tag: u64) -> Option<KernelOwn> {
        let at = masked(way);
        if self.tag_at(at) == tag { Some(self.own_at(at)) } else { None }
    }

    #[inline(always)]
    fn own_at(&self, at: usize) -> KernelOwn {
        // SAFETY: a place inside of the element.
        KernelOwn(unsafe { NonNull::new_unchecked(&raw mut (*self.0.as_ptr()).levels[at]) })
    }

    #[inline(always)]
    fn tag_at(&self, at: usize) -> u64 {
        // SAFETY: an aligned word inside of the element; volatile, because other CPUs write it.
        unsafe { (&raw const (*self.0.as_ptr()).tags[at]).read_volatile() }
    }
}

/// A bucket of a group.
pub struct KernelOwn(NonNull<BucketLevel>);

impl KernelOwn {
    #[inline(always)]
    fn word(&self) -> KernelBucket {
        const { assert!(offset_of!(BucketLevel, empty_at) == 0) };
        KernelBucket(self.0.cast())
    }
}

impl Bucket for KernelOwn {
    #[inline(always)]
    fn load(&self) -> u64 {
        self.word().load()
    }

    #[inline(always)]
    fn compare_exchange(&self, expected: u64, new: u64) -> u64 {
        self.word().compare_exchange(expected, new)
    }
}

impl OwnBucket for KernelOwn {
    /// Not atomic: what is counted is shown to people, and a packet is not to wait for that.
    #[inline(always)]
    fn note_asked(&self, over: bool) {
        // SAFETY: aligned words inside of the element; volatile, because other CPUs and the controller read them.
        unsafe {
            let level = self.0.as_ptr();
            let (asked, refused) = (&raw mut (*level).asked, &raw mut (*level).over);
            asked.write_volatile(asked.read_volatile().wrapping_add(1));
            if over {
                refused.write_volatile(refused.read_volatile().wrapping_add(1));
            }
        }
    }
}

/// A bucket's number, as the verifier sees too that it is one.
#[inline(always)]
fn masked(way: u32) -> usize {
    opaque(way as usize) & (BUCKET_WAYS - 1)
}

impl Group for KernelBuckets {
    type Bucket = KernelBucket;

    #[inline(always)]
    fn tag(&self, way: u32) -> u64 {
        self.tag_at(masked(way))
    }

    #[inline(always)]
    fn exchange_tag(&self, way: u32, expected: u64, new: u64) -> u64 {
        // SAFETY: a place inside of the element.
        compare_exchange(unsafe { &raw mut (*self.0.as_ptr()).tags[masked(way)] }, expected, new)
    }

    #[inline(always)]
    fn bucket(&self, way: u32) -> KernelBucket {
        self.own(way).word()
    }

    #[inline(always)]
    fn limit(&self, way: u32) -> u32 {
        // SAFETY: an aligned word inside of the element; volatile, because other CPUs write it.
        unsafe { (&raw const (*self.0.as_ptr()).limits[masked(way)]).read_volatile() }
    }

    #[inline(always)]
    fn describe(&self, way: u32, [high, low]: [u64; 2], limit: u32) {
        // SAFETY: aligned words inside of the element; volatile, because the controller reads them.
        unsafe {
            let who = (&raw mut (*self.0.as_ptr()).who[masked(way)]).cast::<u64>();
            who.write_volatile(high);
            who.add(1).write_volatile(low);
            (&raw mut (*self.0.as_ptr()).limits[masked(way)]).write_volatile(limit);
        }
    }

    #[inline(always)]
    fn opaque(&self, number: u32) -> u32 {
        opaque(number as usize) as u32
    }
}
