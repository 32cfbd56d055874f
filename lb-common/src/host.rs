//! The tables as plain collections: the packet path on the host.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use crate::abi::{
    Backend, Endpoint, Flow, FlowCount, FlowKey, Limit, LimitCount, ReplyKey, ReplyOwner, Service, Slot, SourceKey,
    Table, Traffic, VipKey,
};
use crate::gcra::Bucket;
use crate::tables::{Direction, FlowCell, FlowUse, Route, RouteQuery, Tables};
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
    /// Flows of slots that hand over; at most `max_flows`.
    pub flows: RefCell<BTreeMap<FlowKey, Flow>>,
    /// How many flows are remembered at most.
    pub max_flows: usize,
    /// When slots sent flows that are not remembered, by service id and slot.
    pub stamps: RefCell<BTreeMap<(u32, u32), u32>>,
    /// How the flow table was used.
    pub flow_counts: Cell<FlowCount>,
    /// Flows that were seen while a census was taken.
    pub census: RefCell<BTreeSet<FlowKey>>,
    /// Remembered replies. Not bounded here.
    pub replies: RefCell<BTreeMap<ReplyKey, ReplyOwner>>,
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

/// A remembered flow on the host.
#[derive(Debug)]
pub struct HostFlow<'a> {
    flows: &'a RefCell<BTreeMap<FlowKey, Flow>>,
    key: FlowKey,
}

impl HostFlow<'_> {
    fn change(&self, change: impl FnOnce(&mut Flow)) {
        if let Some(flow) = self.flows.borrow_mut().get_mut(&self.key) {
            change(flow);
        }
    }
}

impl FlowCell for HostFlow<'_> {
    fn read(&self) -> Flow {
        self.flows.borrow().get(&self.key).copied().unwrap_or_default()
    }

    fn note_client(&self, seen_s: u32, flags: u32, next: u32, expects: u32) {
        self.change(|flow| {
            *flow = Flow { seen_s, client: flags, client_next: next, client_expects: expects, ..*flow };
        });
    }

    fn note_server(&self, seen_s: u32, flags: u32) {
        self.change(|flow| *flow = Flow { seen_s, server: flags, ..*flow });
    }

    fn begin(&self, new: Flow) {
        self.change(|flow| *flow = new);
    }
}

/// An element of a `Vec` by a 32-bit index.
fn at<T>(all: &[T], index: u32) -> Option<&T> {
    all.get(usize::try_from(index).ok()?)
}

impl Tables for HostTables {
    type Bucket<'a> = HostBucket<'a>;
    type Flow<'a> = HostFlow<'a>;

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

    fn flow(&self, key: &FlowKey) -> Option<HostFlow<'_>> {
        let known = self.flows.borrow().contains_key(key);
        known.then_some(HostFlow { flows: &self.flows, key: *key })
    }

    fn remember_flow(&self, key: &FlowKey, flow: Flow) -> bool {
        let mut flows = self.flows.borrow_mut();
        let room = flows.len() < self.max_flows;
        if room {
            flows.insert(*key, flow);
        }
        room
    }

    fn stamp(&self, service: u32, _: Table, slot: u32, now_s: u32) {
        self.stamps.borrow_mut().insert((service, slot), now_s);
    }

    fn note_in_census(&self, key: &FlowKey) {
        self.census.borrow_mut().insert(*key);
    }

    fn reply_owner(&self, key: &ReplyKey) -> Option<ReplyOwner> {
        self.replies.borrow().get(key).copied()
    }

    fn remember_reply(&self, key: &ReplyKey, owner: ReplyOwner) {
        self.replies.borrow_mut().insert(*key, owner);
    }

    fn forget_reply(&self, key: &ReplyKey) {
        self.replies.borrow_mut().remove(key);
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

    #[expect(clippy::cast_possible_truncation, reason = "wraps after 136 years")]
    fn now_s(&self) -> u32 {
        (self.now_ns.get() / 1_000_000_000) as u32
    }

    fn count_flows(&self, used: FlowUse) {
        let mut counts = self.flow_counts.get();
        counts += match used {
            FlowUse::Lookup => FlowCount { lookups: 1, ..FlowCount::default() },
            FlowUse::Remembered => FlowCount { remembered: 1, ..FlowCount::default() },
            FlowUse::Refused => FlowCount { refused: 1, ..FlowCount::default() },
        };
        self.flow_counts.set(counts);
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
