//! The tables as plain collections: the packet path on the host.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::abi::{
    Backend, Endpoint, FlowKey, FlowOwner, Limit, LimitCount, Service, Slot, SourceKey, Table, Traffic, VipKey,
};
use crate::gcra::Bucket;
use crate::tables::{Direction, Route, RouteQuery, Tables};
use crate::{Address, Refusal};

/// Everything the maps hold, without a kernel. The fields are the maps.
#[derive(Debug, Default)]
pub struct HostTables {
    /// VIP to service id.
    pub vips: BTreeMap<VipKey, u32>,
    /// Heads by service id.
    pub services: Vec<Service>,
    /// All tables.
    pub slots: Vec<Slot>,
    /// Backends by id.
    pub backends: Vec<Backend>,
    /// Where backends listen.
    pub endpoints: BTreeMap<VipKey, Endpoint>,
    /// Limits by id.
    pub limits: Vec<Limit>,
    /// Buckets of limits per service, by limit id.
    pub service_buckets: Vec<Cell<u64>>,
    /// Buckets of limits per source. Not bounded here.
    pub source_buckets: RefCell<BTreeMap<SourceKey, u64>>,
    /// Remembered flows. Not bounded here.
    pub flows: RefCell<BTreeMap<FlowKey, FlowOwner>>,
    /// Ways out by destination.
    pub routes: BTreeMap<Address, Route>,
    /// The clock in nanoseconds.
    pub now_ns: Cell<u64>,
    /// What services carried, by id.
    pub service_traffic: RefCell<BTreeMap<u32, Traffic>>,
    /// What backends carried, by id.
    pub backend_traffic: RefCell<BTreeMap<u32, Traffic>>,
    /// What limits said, by id.
    pub limit_counts: RefCell<BTreeMap<u32, LimitCount>>,
    /// Packets not forwarded.
    pub refusals: RefCell<BTreeMap<Refusal, u64>>,
}

/// A bucket on the host.
#[derive(Debug)]
pub enum HostBucket<'a> {
    /// A limit's one bucket.
    Service(&'a Cell<u64>),
    /// A source's, by its key.
    Source(&'a RefCell<BTreeMap<SourceKey, u64>>, SourceKey),
}

impl Bucket for HostBucket<'_> {
    fn load(&self) -> u64 {
        match self {
            Self::Service(cell) => cell.get(),
            Self::Source(buckets, key) => buckets.borrow().get(key).copied().unwrap_or(0),
        }
    }

    fn compare_exchange(&self, expected: u64, new: u64) -> u64 {
        let found = self.load();
        if found == expected {
            match self {
                Self::Service(cell) => cell.set(new),
                Self::Source(buckets, key) => {
                    buckets.borrow_mut().insert(*key, new);
                }
            }
        }
        found
    }
}

/// An element of a `Vec` by a 32-bit index.
fn at<T>(all: &[T], index: u32) -> Option<&T> {
    all.get(usize::try_from(index).ok()?)
}

impl Tables for HostTables {
    type Bucket<'a> = HostBucket<'a>;

    fn vip(&self, key: &VipKey) -> Option<u32> {
        self.vips.get(key).copied()
    }

    fn service(&self, id: u32) -> Option<&Service> {
        at(&self.services, id)
    }

    fn table(&self, service: &Service) -> Table {
        Table::unpack(service.table)
    }

    fn slot(&self, index: u32) -> Option<Slot> {
        at(&self.slots, index).copied()
    }

    fn backend(&self, id: u32) -> Option<Backend> {
        at(&self.backends, id).copied()
    }

    fn endpoint(&self, key: &VipKey) -> Option<Endpoint> {
        self.endpoints.get(key).copied()
    }

    fn flow(&self, key: &FlowKey) -> Option<FlowOwner> {
        self.flows.borrow().get(key).copied()
    }

    fn remember_flow(&self, key: &FlowKey, owner: FlowOwner) {
        self.flows.borrow_mut().insert(*key, owner);
    }

    fn forget_flow(&self, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
    }

    fn route(&self, query: &RouteQuery) -> Option<Route> {
        self.routes.get(&query.destination).copied()
    }

    fn limit(&self, id: u32) -> Option<&Limit> {
        at(&self.limits, id)
    }

    fn service_bucket(&self, limit: u32) -> Option<HostBucket<'_>> {
        at(&self.service_buckets, limit).map(HostBucket::Service)
    }

    fn source_bucket(&self, key: &SourceKey) -> Option<HostBucket<'_>> {
        Some(HostBucket::Source(&self.source_buckets, *key))
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn count_traffic(&self, service: u32, backend: u32, direction: Direction, bytes: u32) {
        let one = match direction {
            Direction::Request => Traffic { packets: 1, bytes: bytes.into(), ..Traffic::default() },
            Direction::Reply => Traffic { reply_packets: 1, reply_bytes: bytes.into(), ..Traffic::default() },
        };
        *self.service_traffic.borrow_mut().entry(service).or_default() += one;
        *self.backend_traffic.borrow_mut().entry(backend).or_default() += one;
    }

    fn count_limit(&self, limit: u32, admitted: bool) {
        *self.limit_counts.borrow_mut().entry(limit).or_default() +=
            LimitCount { admitted: admitted.into(), over: (!admitted).into() };
    }

    fn count_refusal(&self, refusal: Refusal) {
        *self.refusals.borrow_mut().entry(refusal).or_default() += 1;
    }
}
