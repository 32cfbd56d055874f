//! Limits on the host.

use crate::Address;
use crate::abi::{BucketKey, Connection, FlowKey, Limit, LimitCount, PlainLimit, SketchCell};
use crate::bucket_table::Taken;
use crate::hash::mix;
use crate::limits::{LimitTables, Said};

use super::{HostBucket, HostOwn, HostTables, at, remember};

impl LimitTables for HostTables {
    type Bucket<'a> = HostBucket<'a>;
    type Own<'a> = HostOwn<'a>;

    fn limit(&self, id: u32) -> Option<&Limit> {
        at(&self.limits, id)
    }

    fn service_bucket(&self, limit: u32) -> Option<HostBucket<'_>> {
        at(&self.service_buckets, limit).map(HostBucket::Service)
    }

    fn plain_bucket(&self, limit: u32) -> Option<(HostBucket<'_>, PlainLimit)> {
        let plain = PlainLimit::of(self.limit(limit)?);
        if plain.cost == 0 { None } else { Some((self.service_bucket(limit)?, plain)) }
    }

    fn find_bucket(&self, who: [u64; 2], limit: u32, now: u64, depth: u64) -> Option<(HostOwn<'_>, Taken)> {
        let shared = self.buckets.shared();
        let (number, found) = shared.find(&BucketKey { who: Address::from_halves(who), limit }, now, depth)?;
        Some((HostOwn::of(shared, number)?, found.taken))
    }

    fn known_bucket(&self, who: [u64; 2], limit: u32) -> Option<HostOwn<'_>> {
        let shared = self.buckets.shared();
        HostOwn::of(shared, shared.known_first(&BucketKey { who: Address::from_halves(who), limit })?)
    }

    fn connection(&self, key: &FlowKey) -> Option<(HostBucket<'_>, u32)> {
        let backend = self.connections.borrow().get(key)?.backend;
        Some((HostBucket::Counted(&self.connections, *key), backend))
    }

    fn remember_connection(&self, key: &FlowKey, connection: &Connection) -> bool {
        remember(&self.connections, self.max_connections, key, connection)
    }

    fn forget_connection(&self, key: &FlowKey) {
        self.connections.borrow_mut().remove(key);
    }

    fn share(&self, limit: u32) -> Option<HostBucket<'_>> {
        at(&self.shares, limit).map(|[share, ..]| HostBucket::Service(share))
    }

    fn share_adapted(&self, limit: u32) -> Option<HostBucket<'_>> {
        at(&self.shares, limit).map(|[_, adapted, ..]| HostBucket::Service(adapted))
    }

    fn share_seen(&self, limit: u32) -> Option<HostBucket<'_>> {
        at(&self.shares, limit).map(|[_, _, seen, _]| HostBucket::Service(seen))
    }

    fn mark_due(&self, limit: u32) -> Option<HostBucket<'_>> {
        self.share_seen(limit)
    }

    fn debt(&self, limit: u32) -> Option<HostBucket<'_>> {
        at(&self.shares, limit).map(|[.., debt]| HostBucket::Service(debt))
    }

    fn sketch_hash(&self, high: u64, low: u64) -> u64 {
        mix(mix(high) ^ low)
    }

    fn sketch(&self, index: u32) -> SketchCell {
        self.sketch.borrow().get(&index).copied().unwrap_or_default()
    }

    fn put_sketch(&self, index: u32, cell: SketchCell) {
        self.sketch.borrow_mut().insert(index, cell);
    }

    fn count_limit(&self, limit: u32, said: Said) {
        let one = LimitCount::default();
        *self.limit_counts.borrow_mut().entry(limit).or_default() += match said {
            Said::Admitted => LimitCount { admitted: 1, ..one },
            Said::Over => LimitCount { over: 1, ..one },
            Said::Marked => LimitCount { marked: 1, ..one },
            Said::WouldDrop => LimitCount { would_drop: 1, ..one },
            Said::Delayed => LimitCount { delayed: 1, ..one },
        };
    }

    fn count_eviction(&self, limit: u32, busy: bool) {
        let one = LimitCount::default();
        *self.limit_counts.borrow_mut().entry(limit).or_default() +=
            if busy { LimitCount { evicted_busy: 1, ..one } } else { LimitCount { evicted_idle: 1, ..one } };
    }
}
