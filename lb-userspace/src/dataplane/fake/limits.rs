//! Limits, and the buckets and connections that they count.

use std::sync::atomic::Ordering;

use anyhow::Result;
use lb_common::Tables as _;
use lb_common::abi::Limit;
use lb_common::gcra::Bucket as _;
use lb_common::host::HostBucket;
use lb_common::limits::LimitTables as _;
use lb_common::{gauge, gcra};

use super::{Fake, at};
use crate::dataplane::{Gauge, Left};
use crate::limiter;

impl Fake {
    pub(super) fn put_limit(&mut self, id: u32, limit: Limit) -> Result<()> {
        let tables = &mut self.tables;
        *at(&mut tables.limits, id)? = limit;
        at(&mut tables.service_buckets, id)?.set(0);
        at(&mut tables.shares, id)?.iter().for_each(|word| word.set(0));
        tables.limit_counts.get_mut().remove(&id);
        tables.buckets.shared().forget(id);
        Ok(())
    }

    pub(super) fn change_limit(&mut self, id: u32, limit: &Limit) -> Result<()> {
        let tables = &mut self.tables;
        let old = std::mem::replace(at(&mut tables.limits, id)?, *limit);
        let now = gcra::ticks(tables.now_ns());
        let own = at(&mut tables.service_buckets, id)?;
        own.set(limiter::carried_over(&old, limit, own.get(), now));
        let [.., debt] = at(&mut tables.shares, id)?;
        debt.set(limiter::debt_carried_over(&old, limit, debt.get(), now));
        let shared = tables.buckets.shared();
        for owned in shared.iter().filter(|owned| owned.key.limit == id) {
            if let Some(bucket) = shared.known(&owned.key) {
                let empty_at = limiter::carried_over(&old, limit, owned.level.empty_at, now);
                bucket.store(empty_at, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Forgets a connection, if it is as it was read, and gives back what it counts as.
    pub(super) fn forget_connection(&mut self, Left { flow, connection, gauges }: &Left) {
        let all = self.tables.connections.get_mut();
        if all.get(flow) != Some(connection) {
            return;
        }
        all.remove(flow);
        for one in gauges {
            if let Some(bucket) = self.gauge(one) {
                gauge::give_back(&bucket);
            }
        }
    }

    /// How many connections limits count: these for services, and all for sources and backends.
    pub(super) fn counted(&self, limits: &[u32]) -> Vec<(Gauge, u64)> {
        let shared = self.tables.buckets.shared();
        let own = shared.iter().map(|owned| Gauge::Own(owned.key));
        let all = limits.iter().map(|limit| Gauge::Service(*limit)).chain(own);
        let words = all.filter_map(|gauge| Some((gauge, self.gauge(&gauge)?.load())));
        words.filter(|(_, word)| gauge::is_gauge(*word)).map(|(gauge, word)| (gauge, gauge::count(word))).collect()
    }

    /// Has a gauge say `to` if it says `from`.
    pub(super) fn correct(&self, gauge: &Gauge, from: u64, to: u64) {
        if let Some(bucket) = self.gauge(gauge) {
            gauge::correct(&bucket, from, to);
        }
    }

    fn gauge(&self, gauge: &Gauge) -> Option<HostBucket<'_>> {
        match gauge {
            Gauge::Service(limit) => self.tables.service_bucket(*limit),
            Gauge::Own(key) => self.tables.buckets.shared().known(key).map(HostBucket::Own),
        }
    }
}
