//! The buckets of limits, as programs have them: of services, and of sources and backends.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use lb_common::abi::{BucketCell, BucketGroup, Limit, LimitOver, PlainLimit, map};
use lb_common::bucket_table::{self, BucketHash};
use lb_common::gauge::{self, is_gauge};
use lb_common::host::SharedBuckets;

use super::clock::now_ticks;
use super::mapped::Mapped;
use super::{Capacity, Object};
use crate::dataplane::Gauge;
use crate::limiter;

const RELAXED: Ordering = Ordering::Relaxed;

/// How often a bucket is tried again after a program was faster.
const MAX_TRIES: usize = 64;

/// The buckets, mapped into memory, and where those of sources and backends are.
#[derive(Debug)]
pub struct Buckets {
    services: Mapped<BucketCell>,
    groups: Mapped<BucketGroup>,
    hash: BucketHash,
}

impl Buckets {
    /// The buckets of a loaded object.
    ///
    /// # Errors
    /// When they are not there, or cannot be mapped into memory.
    pub fn new(object: &Object, capacity: Capacity) -> Result<Self> {
        let services = Mapped::new(object.array_fd(map::SERVICE_BUCKETS)?, capacity.limits)?;
        let groups = Mapped::new(object.array_fd(map::BUCKETS)?, bucket_table::groups(capacity.sources))?;
        Ok(Self::of(services, groups, object.flow_seed()))
    }

    /// The same, of arrays whose lengths say how large they are.
    pub(super) fn of(services: Mapped<BucketCell>, groups: Mapped<BucketGroup>, seed: u64) -> Self {
        let hash = BucketHash::new(groups.len(), seed);
        Self { services, groups, hash }
    }

    /// Those of sources and backends, for as long as they are mapped.
    pub fn shared(&self) -> SharedBuckets<'_> {
        SharedBuckets::new(self.groups.words(), self.hash)
    }

    /// One connection less.
    pub(super) fn give_back(&self, gauge: &Gauge) -> Result<()> {
        if let Some(bucket) = self.gauge(gauge)? {
            gauge::give_back(&bucket);
        }
        Ok(())
    }

    /// How many connections limits count: these for services, and all for sources and backends.
    pub(super) fn gauges(&self, limits: &[u32]) -> Result<Vec<(Gauge, u64)>> {
        let of_services = limits.iter().map(|limit| Ok((Gauge::Service(*limit), self.service(*limit)?.load(RELAXED))));
        let mut words = of_services.collect::<Result<Vec<_>>>()?;
        words.extend(self.shared().iter().map(|owned| (Gauge::Own(owned.key), owned.level.empty_at)));
        Ok(words
            .into_iter()
            .filter(|(_, word)| is_gauge(*word))
            .map(|(gauge, word)| (gauge, gauge::count(word)))
            .collect())
    }

    /// Has a gauge say `to` if it says `from`.
    pub(super) fn correct(&self, gauge: &Gauge, from: u64, to: u64) -> Result<()> {
        if let Some(bucket) = self.gauge(gauge)? {
            gauge::correct(&bucket, from, to);
        }
        Ok(())
    }

    fn gauge(&self, gauge: &Gauge) -> Result<Option<&AtomicU64>> {
        match gauge {
            Gauge::Service(limit) => self.service(*limit).map(Some),
            Gauge::Own(key) => Ok(self.shared().known(key)),
        }
    }

    /// The level of a limit's own bucket.
    fn service(&self, limit: u32) -> Result<&AtomicU64> {
        self.service_word(limit, offset_of!(BucketCell, empty_at))
    }

    fn service_word(&self, limit: u32, at: usize) -> Result<&AtomicU64> {
        let word = limit as usize * (size_of::<BucketCell>() / size_of::<u64>()) + at / size_of::<u64>();
        self.services.words().get(word).context("a limit without a bucket")
    }

    /// Has what the fast way asks be what limits say: whoever changed one before may have ended in the midst of that, or not have
    /// known of this.
    pub(super) fn describe_again(&mut self, limits: impl Iterator<Item = Result<Limit>>) -> Result<()> {
        for (id, limit) in (0..).zip(limits) {
            let limit = limit?;
            if self.services.read(id)?.plain != PlainLimit::of(&limit) {
                self.describe(id, &limit)?;
            }
        }
        Ok(())
    }

    /// Writes what the fast way asks of a limit beside its bucket.
    pub(super) fn describe(&mut self, id: u32, limit: &Limit) -> Result<()> {
        const AT: usize = offset_of!(BucketCell, plain);
        let PlainLimit { cost, depth_ticks, shift, flags } = PlainLimit::of(limit);
        // Nobody asks it meanwhile.
        self.services.store_u64(id, AT + offset_of!(PlainLimit, cost), 0)?;
        self.services.store_u32(id, AT + offset_of!(PlainLimit, shift), shift)?;
        self.services.store_u32(id, AT + offset_of!(PlainLimit, flags), flags)?;
        self.services.store_u64(id, AT + offset_of!(PlainLimit, depth_ticks), depth_ticks)?;
        self.services.store_u64(id, AT + offset_of!(PlainLimit, cost), cost)
    }

    /// Empties all of a limit's.
    pub(super) fn forget(&mut self, limit: u32) -> Result<()> {
        self.services.write(limit, BucketCell::default())?;
        self.shared().forget(limit);
        Ok(())
    }

    /// Has all of a limit's hold as many units as before, now that it is another: see [`limiter::carried_over`].
    pub(super) fn carry_over(&self, id: u32, old: &Limit, new: &Limit) -> Result<()> {
        let now = now_ticks();
        carry_over(self.service(id)?, |empty_at| limiter::carried_over(old, new, empty_at, now));
        let debt = self.service_word(id, offset_of!(BucketCell, debt))?;
        carry_over(debt, |empty_at| limiter::debt_carried_over(old, new, empty_at, now));
        let shared = self.shared();
        for owned in shared.iter().filter(|owned| owned.key.limit == id) {
            if let Some(bucket) = shared.known(&owned.key) {
                carry_over(bucket, |empty_at| limiter::carried_over(old, new, empty_at, now));
            }
        }
        // They say something else of a limit that marks than of one that is fair.
        if (old.over == LimitOver::MARK) != (new.over == LimitOver::MARK) {
            for at in
                [offset_of!(BucketCell, share), offset_of!(BucketCell, adapted_ns), offset_of!(BucketCell, seen_or_due)]
            {
                self.service_word(id, at)?.store(0, RELAXED);
            }
        }
        Ok(())
    }
}

fn carry_over(bucket: &AtomicU64, carried: impl Fn(u64) -> u64) {
    let mut empty_at = bucket.load(Ordering::Relaxed);
    for _ in 0..MAX_TRIES {
        match bucket.compare_exchange(empty_at, carried(empty_at), Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return,
            Err(found) => empty_at = found,
        }
    }
}
