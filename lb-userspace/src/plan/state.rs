//! What the data plane holds, as far as the controller knows: changed only after a write succeeded.

use std::collections::BTreeMap;

use lb_common::abi::{Backend, Endpoint, Service, Table, VipKey};

use super::ids::Ids;
use crate::dataplane::{Capacity, Op};
use crate::desired::BackendKey;
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
    /// The ids of its limits, in the order in which packets meet them.
    pub limits: Vec<u32>,
    /// Its backends.
    pub backends: BTreeMap<BackendKey, BackendState>,
    /// The weights that its table was built for, by backend id.
    pub built: BTreeMap<u32, u16>,
    /// How many slots each backend has, by id.
    pub slots: BTreeMap<u32, u32>,
    /// Whether packets find it.
    pub published: bool,
}

/// A backend in the data plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackendState {
    /// Its id.
    pub id: u32,
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
    Backend(Vip, BackendKey, BackendState),
    /// The backend is gone.
    NoBackend(Vip, BackendKey),
    /// The service has another table, built for these weights and giving these slots, by backend id.
    Table { vip: Vip, table: Table, built: BTreeMap<u32, u16>, slots: BTreeMap<u32, u32> },
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
            service_ids: Ids::new(capacity.services),
            backend_ids: Ids::new(capacity.backends),
            limit_ids: Ids::new(capacity.limits),
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

    /// Enters into the books what a step did.
    pub fn record(&mut self, step: &Step) {
        match step.entry.clone() {
            Entry::Nothing => {}
            Entry::Service(vip, service) => {
                self.service_ids.hold(service.id);
                for &limit in &service.limits {
                    self.limit_ids.hold(limit);
                }
                self.services.insert(vip, *service);
            }
            Entry::NoService(vip) => {
                if let Some(service) = self.services.remove(&vip) {
                    self.service_ids.free(service.id);
                    self.free_table(service.head.table);
                    for limit in service.limits {
                        self.limit_ids.free(limit);
                    }
                }
            }
            Entry::Backend(vip, key, backend) => {
                self.backend_ids.hold(backend.id);
                self.of(&vip, |service| service.backends.insert(key, backend));
            }
            Entry::NoBackend(vip, key) => {
                if let Some(Some(backend)) = self.of(&vip, |service| service.backends.remove(&key)) {
                    self.backend_ids.free(backend.id);
                }
            }
            Entry::Table { vip, table, built, slots } => {
                if let Some(old) = self.of(&vip, |service| {
                    service.built = built;
                    service.slots = slots;
                    std::mem::replace(&mut service.head.table, table.pack())
                }) {
                    self.free_table(old);
                }
                if table.len != 0 {
                    self.table_ids.hold(table.base / self.table_size);
                }
            }
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

    fn of<T>(&mut self, vip: &Vip, change: impl FnOnce(&mut ServiceState) -> T) -> Option<T> {
        self.services.get_mut(vip).map(change)
    }
}
