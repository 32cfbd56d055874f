//! What the data plane holds, as far as the controller knows: changed only after a write succeeded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::abi::{Backend, Endpoint, FLOW_LIMIT, Limit, MAX_LIMITS, Service, Slot, Table, VipKey};

use super::ids::Ids;
use crate::dataplane::{Capacity, Op};
use crate::desired::Desired;
use crate::vip::Vip;

/// The books of the data plane.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// By VIP.
    pub services: BTreeMap<Vip, ServiceState>,
    /// Where backends listen.
    pub endpoints: BTreeMap<VipKey, Endpoint>,
    /// `DeviceFlags` by device index.
    pub devices: BTreeMap<u32, u32>,
    /// What new entries of the flow table are held to.
    pub flow_limit: Option<Limit>,
    /// Backends, by id, that remembered flows may go to though no slot names them: all that slots have named since the
    /// flow table was last read whole, and those that had flows then.
    pub unswept: BTreeSet<u32>,
    /// Slots that began to hand over and were not timed yet, by service.
    pub begun: BTreeMap<Vip, BTreeSet<u32>>,
    pub(super) service_ids: Ids,
    pub(super) backend_ids: Ids,
    pub(super) limit_ids: Ids,
    pub(super) table_ids: Ids,
    pub(super) table_size: u32,
}

/// A service in the data plane.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceState {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: u32,
    /// Its head.
    pub head: Service,
    /// Its limits, in the order in which packets meet them.
    pub limits: Vec<LimitState>,
    /// Its backends. The weight in a row is the one that the table was built with.
    pub backends: BTreeMap<SocketAddr, BackendState>,
    /// How many slots name each backend, by id.
    pub slots: BTreeMap<u32, SlotCount>,
    /// Whether packets find it.
    pub published: bool,
}

impl ServiceState {
    /// How many of its slots hand over.
    pub fn moving(&self) -> u32 {
        self.slots.values().map(|count| count.old).sum()
    }
}

/// A limit in the data plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitState {
    /// Its id.
    pub id: u32,
    /// What the map holds.
    pub limit: Limit,
}

/// How many slots name a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotCount {
    /// As the one that takes new flows.
    pub current: u32,
    /// As the one that they hand over from.
    pub old: u32,
}

impl SlotCount {
    /// The counts of all backends that slots name.
    pub fn of(slots: &[Slot]) -> BTreeMap<u32, Self> {
        let mut counts: BTreeMap<u32, Self> = BTreeMap::new();
        for slot in slots {
            if slot.current() != Slot::NOBODY {
                counts.entry(slot.current()).or_default().current += 1;
            }
            if let Some(old) = slot.old() {
                counts.entry(old).or_default().old += 1;
            }
        }
        counts
    }
}

/// A backend in the data plane.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendState {
    /// Its id.
    pub id: u32,
    /// What the registry calls it.
    pub name: String,
    /// What the map holds.
    pub row: Backend,
}

/// An operation, and what its success means for the books.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The write.
    pub op: Op,
    /// The entry it makes.
    pub(super) entry: Entry,
}

/// What a successful operation means for the books.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry {
    /// Nothing: what was written is nobody's until something else names it.
    Nothing,
    /// The service is there, without backends, and no packet finds it.
    Service(Vip, Box<ServiceState>),
    /// The service is gone.
    NoService(Vip),
    /// The backend is there, or changed.
    Backend(Vip, SocketAddr, BackendState),
    /// The backend is gone.
    NoBackend(Vip, SocketAddr),
    /// The service has another table, whose slots name these backends; some slots begin to hand over.
    Table { vip: Vip, table: Table, slots: BTreeMap<u32, SlotCount>, begun: Arc<[u32]> },
    /// Slots of its table were changed, which now name these backends.
    Slots { vip: Vip, slots: BTreeMap<u32, SlotCount> },
    /// The service has these limits.
    Limits(Vip, [u32; MAX_LIMITS], Vec<LimitState>),
    /// New entries of the flow table are held to this.
    FlowLimit(Limit),
    /// The service has other flags.
    Flags(Vip, u32),
    /// Packets find the service, or do not.
    Published(Vip, bool),
    /// Replies from here are recognised, or are not.
    Endpoint(VipKey, Option<Endpoint>),
    /// The device has these flags, or is gone.
    Device(u32, Option<u32>),
}

impl State {
    /// An empty data plane of this size.
    pub const fn new(capacity: Capacity) -> Self {
        Self {
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            devices: BTreeMap::new(),
            flow_limit: None,
            unswept: BTreeSet::new(),
            begun: BTreeMap::new(),
            service_ids: Ids::new(capacity.services),
            backend_ids: Ids::new(capacity.backends),
            // The first one is not for services.
            limit_ids: Ids::from(FLOW_LIMIT + 1, capacity.limits),
            table_ids: Ids::new(capacity.tables),
            table_size: capacity.table_size,
        }
    }

    /// Where the table with this id lies, when it has `len` slots.
    pub(super) const fn table(&self, id: u32, len: u32) -> Table {
        Table { base: id * self.table_size, len }
    }

    fn free_table(&mut self, word: u64) {
        let table = Table::unpack(word);
        if table.len != 0 {
            self.table_ids.free(table.base / self.table_size);
        }
    }

    /// Takes over what services and backends are called: the maps know no names.
    pub fn rename(&mut self, desired: &Desired) {
        for (vip, service) in &mut self.services {
            let Some(wanted) = desired.services.get(vip) else { continue };
            service.name.clone_from(&wanted.name);
            for (listens, backend) in &mut service.backends {
                if let Some(wanted) = wanted.backends.get(listens) {
                    backend.name.clone_from(&wanted.id);
                }
            }
        }
    }

    /// Enters into the books what a step did.
    pub fn record(&mut self, step: &Step) {
        match step.entry.clone() {
            Entry::Nothing => {}
            Entry::Service(vip, service) => {
                self.service_ids.hold(service.id);
                for limit in &service.limits {
                    self.limit_ids.hold(limit.id);
                }
                self.services.insert(vip, *service);
            }
            Entry::NoService(vip) => {
                if let Some(service) = self.services.remove(&vip) {
                    self.service_ids.free(service.id);
                    self.free_table(service.head.table);
                    for limit in service.limits {
                        self.limit_ids.free(limit.id);
                    }
                }
                self.begun.remove(&vip);
            }
            Entry::Backend(vip, key, backend) => {
                self.backend_ids.hold(backend.id);
                self.of(&vip, |service| service.backends.insert(key, backend));
            }
            Entry::NoBackend(vip, key) => {
                if let Some(Some(backend)) = self.of(&vip, |service| service.backends.remove(&key)) {
                    self.backend_ids.free(backend.id);
                    self.unswept.remove(&backend.id);
                }
            }
            Entry::Table { vip, table, slots, begun } => {
                self.named(&vip);
                self.begun.entry(vip).or_default().extend(begun.iter());
                if let Some(old) = self.of(&vip, |service| {
                    service.slots = slots;
                    std::mem::replace(&mut service.head.table, table.pack())
                }) {
                    self.free_table(old);
                }
                if table.len != 0 {
                    self.table_ids.hold(table.base / self.table_size);
                }
            }
            Entry::Slots { vip, slots } => {
                self.named(&vip);
                self.of(&vip, |service| service.slots = slots);
            }
            Entry::Limits(vip, words, limits) => {
                for limit in &limits {
                    self.limit_ids.hold(limit.id);
                }
                let before = self.of(&vip, |service| {
                    service.head.limits = words;
                    std::mem::replace(&mut service.limits, limits.clone())
                });
                for limit in before.unwrap_or_default() {
                    if !limits.iter().any(|kept| kept.id == limit.id) {
                        self.limit_ids.free(limit.id);
                    }
                }
            }
            Entry::FlowLimit(limit) => self.flow_limit = Some(limit),
            Entry::Flags(vip, flags) => {
                self.of(&vip, |service| service.head.flags = flags);
            }
            Entry::Published(vip, published) => {
                self.of(&vip, |service| service.published = published);
            }
            Entry::Endpoint(listens, Some(endpoint)) => {
                self.endpoints.insert(listens, endpoint);
            }
            Entry::Endpoint(listens, None) => {
                self.endpoints.remove(&listens);
            }
            Entry::Device(ifindex, Some(flags)) => {
                self.devices.insert(ifindex, flags);
            }
            Entry::Device(ifindex, None) => {
                self.devices.remove(&ifindex);
            }
        }
    }

    /// Notes whom a service's slots name, before they name others.
    fn named(&mut self, vip: &Vip) {
        if let Some(service) = self.services.get(vip) {
            self.unswept.extend(service.slots.keys());
        }
    }

    fn of<T>(&mut self, vip: &Vip, change: impl FnOnce(&mut ServiceState) -> T) -> Option<T> {
        self.services.get_mut(vip).map(change)
    }
}
