//! What the data plane holds, as far as the controller knows: changed only after a write succeeded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::Address;
use lb_common::abi::{Device, ERROR_LIMIT, Endpoint, Limit, MAX_LIMITS, QuicIds, QuicKey, Settings, Table, VipKey};

use super::held::{BackendState, LimitState, ServiceState, SlotCount};
use super::ids::Ids;
use crate::address::key;
use crate::dataplane::{Capacity, Op};
use crate::desired::{Desired, DesiredService};
use crate::plan::listening::Listening;
use crate::server_id::ServerId;
use crate::vip::Vip;

/// The books of the data plane.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// By VIP.
    pub services: BTreeMap<Vip, ServiceState>,
    /// Where backends listen.
    pub endpoints: BTreeMap<VipKey, Endpoint>,
    /// By index.
    pub devices: BTreeMap<u32, Device>,
    /// `AddressFlags` of addresses that are known whatever the port.
    pub addresses: BTreeMap<Address, u32>,
    /// What holds for all services.
    pub settings: Settings,
    /// Far ends of tunnels whose path MTU may be learnt.
    pub paths: BTreeSet<Address>,
    /// Backends, by id, that connection ids lead to.
    pub quic: BTreeMap<QuicKey, u32>,
    /// What new entries of the flow table are held to.
    pub flow_limit: Option<Limit>,
    /// What ICMP errors are held to.
    pub error_limit: Option<Limit>,
    /// Backends, by id, that remembered flows may go to though no slot names them: all that slots have named since the
    /// flow table was last read whole, and those that had flows then.
    pub unswept: BTreeSet<u32>,
    /// Backends, by id, that flows of snat may go to though no slot names them: as [`Self::unswept`], by the table of those.
    pub snat_unswept: BTreeSet<u32>,
    /// Addresses that such flows may still leave from, whether they are configured or not.
    pub snat_sources: BTreeSet<Address>,
    /// Slots that began to hand over and were not timed yet, by service.
    pub begun: BTreeMap<Vip, BTreeSet<u32>>,
    pub(super) service_ids: Ids,
    pub(super) backend_ids: Ids,
    pub(super) limit_ids: Ids,
    pub(super) table_ids: Ids,
    pub(super) pool_ids: Ids,
    pub(super) table_size: u32,
    pub(super) stride: u32,
    pub(super) listening: Listening,
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
    /// Backends of the service have these weights, by id and in the order of ids.
    Weights(Vip, Arc<[(u32, u32)]>),
    /// The backend is gone.
    NoBackend(Vip, SocketAddr),
    /// The service has another table, whose slots name these backends; some slots begin to hand over.
    Table { vip: Vip, table: Table, slots: BTreeMap<u32, SlotCount>, begun: Arc<[u32]> },
    /// Slots of its table were changed, which now name these backends.
    Slots { vip: Vip, slots: BTreeMap<u32, SlotCount> },
    /// The service has these limits.
    Limits(Vip, [u16; MAX_LIMITS], Vec<LimitState>),
    /// A limit of the service is another one.
    Limit(Vip, LimitState),
    /// New entries of the flow table are held to this.
    FlowLimit(Limit),
    /// ICMP errors are held to this.
    ErrorLimit(Limit),
    /// The service routes these connection ids.
    QuicIds(Vip, QuicIds),
    /// A server id leads to this backend, or to none.
    QuicServer(QuicKey, Option<u32>),
    /// What is known of an address, or that nothing is.
    Address(Address, Option<u32>),
    /// What holds for all services.
    Settings(Settings),
    /// The path MTU to there may be learnt, or not.
    Path(Address, bool),
    /// The service has other flags.
    Flags(Vip, u32),
    /// The service may be used from these networks.
    Networks(Vip, u32),
    /// Packets find the service, or do not.
    Published(Vip, bool),
    /// Replies from here are recognised, or are not.
    Endpoint(VipKey, Option<Endpoint>),
    /// Replies from all of these are.
    Endpoints(Arc<[(VipKey, Endpoint)]>),
    /// The device is like this, or is gone.
    Device(u32, Option<Device>),
}

impl Step {
    /// What was written, and what that means for the books.
    pub(crate) fn done(self, state: &mut State) {
        state.enter(self.entry);
    }

    /// The service that gets another table.
    pub(crate) const fn publishes(&self) -> Option<Vip> {
        match &self.entry {
            Entry::Table { vip, .. } => Some(*vip),
            _ => None,
        }
    }
}

impl State {
    /// An empty data plane of this size.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            devices: BTreeMap::new(),
            addresses: BTreeMap::new(),
            settings: Settings::default(),
            paths: BTreeSet::new(),
            quic: BTreeMap::new(),
            flow_limit: None,
            error_limit: None,
            unswept: BTreeSet::new(),
            snat_unswept: BTreeSet::new(),
            snat_sources: BTreeSet::new(),
            begun: BTreeMap::new(),
            service_ids: Ids::new(capacity.services),
            backend_ids: Ids::new(capacity.backends),
            // The first two are not for services.
            limit_ids: Ids::from(ERROR_LIMIT + 1, capacity.limits),
            table_ids: Ids::new(capacity.tables),
            pool_ids: Ids::new(capacity.snat_pools.min(super::held::NO_POOL.into())),
            table_size: capacity.table_size,
            stride: capacity.snat_stride,
            listening: Listening::new(),
        }
    }

    /// Server ids that lead to a service's backends, by the backends' ids.
    pub fn server_ids(&self, service: u32) -> BTreeMap<u32, ServerId> {
        let of =
            self.quic.range(QuicKey { service, ..QuicKey::default() }..).take_while(|(key, _)| key.service == service);
        of.filter_map(|(key, id)| Some((*id, ServerId::of_key(key)?))).collect()
    }

    /// Whether any backend has a pool of ports.
    pub const fn has_pools(&self) -> bool {
        self.pool_ids.used_count() > 0
    }

    /// Whether flows that are remembered may go to a backend.
    pub fn has_flows(&self, backend: u32) -> bool {
        self.unswept.contains(&backend) || self.snat_unswept.contains(&backend)
    }

    /// Whether a backend of a service has to stay though nobody lists it: slots name it, or flows may go to it.
    pub fn is_needed(&self, service: &ServiceState, backend: u32) -> bool {
        service.slots.contains_key(&backend) || self.has_flows(backend)
    }

    /// For how many addresses every pool of ports has room.
    pub const fn stride(&self) -> u32 {
        self.stride
    }

    /// How many pools of ports nobody has.
    pub fn free_pools(&self) -> usize {
        self.pool_ids.free_count()
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

    /// Makes the books of services small: entries that came one by one lie in nodes that are half empty.
    pub fn compact(&mut self, services: &BTreeSet<Vip>) {
        for vip in services {
            if let Some(service) = self.services.get_mut(vip) {
                service.backends = std::mem::take(&mut service.backends).into_iter().collect();
            }
        }
        self.endpoints = std::mem::take(&mut self.endpoints).into_iter().collect();
    }

    /// Takes over what services and backends are called: the maps know no names.
    pub fn rename(&mut self, desired: &Desired) {
        for (vip, wanted) in &desired.services {
            self.rename_one(vip, wanted);
        }
    }

    /// The same for one service.
    pub fn rename_one(&mut self, vip: &Vip, wanted: &DesiredService) {
        let Some(service) = self.services.get_mut(vip) else { return };
        service.name.clone_from(&wanted.name);
        for (listens, backend) in &mut service.backends {
            if let Some(wanted) = wanted.backends.get(listens) {
                backend.name.clone_from(&wanted.id);
            }
        }
    }

    /// Enters into the books what a step did.
    pub fn record(&mut self, step: &Step) {
        self.enter(step.entry.clone());
    }

    pub(super) fn enter(&mut self, entry: Entry) {
        match entry {
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
                if let Some(pool) = backend.pool() {
                    self.pool_ids.hold(pool.into());
                }
                if let Some((service, None)) = self.of(&vip, |of| (of.id, of.backends.insert(key, backend))) {
                    self.listening.add(listens(&vip, &key), service);
                }
            }
            Entry::Weights(vip, weights) => {
                let weigh = |backend: &mut BackendState| {
                    if let Ok(at) = weights.binary_search_by_key(&backend.id, |(id, _)| *id) {
                        backend.row.weight = weights[at].1;
                    }
                };
                self.of(&vip, |of| of.backends.values_mut().for_each(weigh));
            }
            Entry::NoBackend(vip, key) => {
                if let Some((service, Some(backend))) = self.of(&vip, |of| (of.id, of.backends.remove(&key))) {
                    self.listening.remove(&listens(&vip, &key), service);
                    self.backend_ids.free(backend.id);
                    if let Some(pool) = backend.pool() {
                        self.pool_ids.free(pool.into());
                    }
                    self.unswept.remove(&backend.id);
                    self.snat_unswept.remove(&backend.id);
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
            Entry::Limit(vip, changed) => {
                self.of(&vip, |service| {
                    service.limits.iter_mut().filter(|limit| limit.id == changed.id).for_each(|limit| *limit = changed);
                });
            }
            Entry::FlowLimit(limit) => self.flow_limit = Some(limit),
            Entry::ErrorLimit(limit) => self.error_limit = Some(limit),
            Entry::QuicIds(vip, quic) => {
                self.of(&vip, |service| service.head.quic = quic);
            }
            Entry::QuicServer(key, backend) => put(&mut self.quic, key, backend),
            Entry::Address(address, flags) => put(&mut self.addresses, address, flags),
            Entry::Settings(settings) => {
                // Flows go on from addresses that are taken away.
                let Settings { snat_v4, snat_v6, .. } = self.settings;
                let before = snat_v4.into_iter().chain(snat_v6).filter(|own| *own != Address::default());
                self.snat_sources.extend(before);
                self.settings = settings;
            }
            Entry::Path(address, true) => {
                self.paths.insert(address);
            }
            Entry::Path(address, false) => {
                self.paths.remove(&address);
            }
            Entry::Flags(vip, flags) => {
                self.of(&vip, |service| service.head.flags = flags);
            }
            Entry::Networks(vip, networks) => {
                self.of(&vip, |service| service.head.networks = networks);
            }
            Entry::Published(vip, published) => {
                self.of(&vip, |service| service.published = published);
            }
            Entry::Endpoint(listens, endpoint) => put(&mut self.endpoints, listens, endpoint),
            Entry::Endpoints(endpoints) => self.endpoints.extend(endpoints.iter().copied()),
            Entry::Device(ifindex, device) => put(&mut self.devices, ifindex, device),
        }
    }

    /// Notes whom a service's slots name, before they name others.
    fn named(&mut self, vip: &Vip) {
        if let Some(service) = self.services.get(vip) {
            self.unswept.extend(service.slots.keys());
            let pooled = service.backends.values().filter(|backend| backend.pool().is_some());
            self.snat_unswept.extend(pooled.map(|backend| backend.id));
        }
    }

    fn of<T>(&mut self, vip: &Vip, change: impl FnOnce(&mut ServiceState) -> T) -> Option<T> {
        self.services.get_mut(vip).map(change)
    }
}

/// Where a service's backend listens, as the maps have it.
pub(super) fn listens(vip: &Vip, at: &SocketAddr) -> VipKey {
    key(at.ip(), at.port(), vip.protocol)
}

/// Notes what is known of a key, or that nothing is.
fn put<K: Ord, V>(entries: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => entries.insert(key, value),
        None => entries.remove(&key),
    };
}
