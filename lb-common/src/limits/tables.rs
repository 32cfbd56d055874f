//! What limits look things up in.

use crate::Refusal;
use crate::abi::{Connection, FlowKey, Limit, PlainLimit, SketchCell};
use crate::bucket_table::Taken;
use crate::connections;
use crate::gcra::Bucket;
use crate::headers::Headers;
use crate::limits;
use crate::tables::Tables;

use super::{Asker, Said};

/// A bucket of a source's or a backend's own.
pub trait OwnBucket: Bucket {
    /// Notes that it was asked, and whether it was too full.
    fn note_asked(&self, over: bool);
}

/// Limits, their buckets, and what else they remember.
///
/// Buckets and what counts connections are words that are changed by compare-and-swap; counters are per CPU.
pub trait LimitTables {
    /// A word that is changed by compare-and-swap.
    type Bucket<'a>: Bucket
    where
        Self: 'a;
    /// The bucket of a source or a backend.
    type Own<'a>: OwnBucket
    where
        Self: 'a;

    /// A limit.
    fn limit(&self, id: u32) -> Option<&Limit>;
    /// The one bucket of a limit per service.
    fn service_bucket(&self, limit: u32) -> Option<Self::Bucket<'_>>;
    /// The same of one that the fast way asks, and what it asks.
    fn plain_bucket(&self, limit: u32) -> Option<(Self::Bucket<'_>, PlainLimit)>;
    /// The bucket that `who`, the halves of a [key](crate::abi::BucketKey)'s, has under a limit, and how it came to be its own; none
    /// when there is none to be had. `now` and `depth`, which is how full it can be, in ticks.
    fn find_bucket(&self, who: [u64; 2], limit: u32, now: u64, depth: u64) -> Option<(Self::Own<'_>, Taken)>;
    /// The same of one that has its bucket where it is looked for first; cheaper, and to be asked before.
    fn known_bucket(&self, who: [u64; 2], limit: u32) -> Option<Self::Own<'_>>;
    /// Asks one limit: see [`limits::ask`].
    #[inline(always)]
    fn ask_limit(&self, headers: &Headers, asker: &Asker, id: u32) -> u64
    where
        Self: Tables + Sized,
    {
        limits::ask(self, headers, asker, id)
    }
    /// Asks the limits of a service that has only plain ones: see [`limits::all_plain`].
    #[inline(always)]
    fn ask_plain(&self, service: u32, who: [u64; 2], bytes: u32) -> Result<(), Refusal>
    where
        Self: Tables + Sized,
    {
        limits::all_plain(self, service, who, bytes)
    }
    /// Asks a plain limit: see [`limits::one_plain`].
    #[inline(always)]
    fn ask_one_plain(&self, id: u32, who: [u64; 2], bytes: u32) -> Result<(), Refusal>
    where
        Self: Tables + Sized,
    {
        limits::one_plain(self, id, who, bytes)
    }
    /// Asks the bucket of an address under a plain limit: see [`limits::source_plain`].
    #[inline(always)]
    fn ask_source(&self, id: u32, who: [u64; 2], cost: u64, depth: u64) -> Result<(), Refusal>
    where
        Self: Tables + Sized,
    {
        limits::source_plain(self, id, who, cost, depth)
    }
    /// The word of a connection that is counted, see [`Connection::word`], and its backend.
    fn connection(&self, key: &FlowKey) -> Option<(Self::Bucket<'_>, u32)>;
    /// Remembers one, unless it is there; false when it is, or there is no room.
    fn remember_connection(&self, key: &FlowKey, connection: &Connection) -> bool;
    /// Forgets one.
    fn forget_connection(&self, key: &FlowKey);
    /// Changes how many connections a limit has: see [`connections::change`].
    #[inline(always)]
    fn change_gauge(&self, headers: &Headers, asker: &Asker, id: u32, change: u32) -> Result<(), Refusal>
    where
        Self: Tables + Sized,
    {
        connections::change(self, headers, asker, id, change)
    }
    /// The share of a source in a fair limit: [`BucketCell::share`](crate::abi::BucketCell::share).
    fn share(&self, limit: u32) -> Option<Self::Bucket<'_>>;
    /// When it was looked at.
    fn share_adapted(&self, limit: u32) -> Option<Self::Bucket<'_>>;
    /// How full its bucket was then.
    fn share_seen(&self, limit: u32) -> Option<Self::Bucket<'_>>;
    /// The bucket that packets fill which a limit per service marked: [`BucketCell::debt`](crate::abi::BucketCell::debt).
    fn debt(&self, limit: u32) -> Option<Self::Bucket<'_>>;
    /// When such a limit marks again: [`BucketCell::seen_or_due`](crate::abi::BucketCell::seen_or_due).
    fn mark_due(&self, limit: u32) -> Option<Self::Bucket<'_>>;
    /// A hash of two words, with a seed that strangers do not know.
    fn sketch_hash(&self, high: u64, low: u64) -> u64;
    /// A counter of the sketch.
    fn sketch(&self, index: u32) -> SketchCell;
    /// Writes it.
    fn put_sketch(&self, index: u32, cell: SketchCell);
    /// Counts what a limit said.
    fn count_limit(&self, limit: u32, said: Said);
    /// Counts a bucket that became another's, and whether there was anything in it.
    fn count_eviction(&self, limit: u32, busy: bool);
}
