//! The operations a plan is made of.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::Address;
use lb_common::abi::{
    Backend, Device, Endpoint, Limit, MAX_LIMITS, Order, OrderKey, QuicIds, QuicKey, Service, Settings, Slot, Table,
    VipKey,
};

use crate::address::show;
use crate::server_id::ServerId;

/// One write to the data plane. Each is whole in itself: no packet sees half of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// A limit, with empty buckets and counters at zero.
    PutLimit {
        /// Its id.
        id: u32,
        /// The limit.
        limit: Limit,
    },
    /// Another rate, burst or outcome for a limit that packets meet. Its buckets go on with as many units as they hold. A packet
    /// that comes at the same moment may see parts of both: its bucket is no fuller then than either would have it.
    ChangeLimit {
        /// Its id.
        id: u32,
        /// The limit as it shall be.
        limit: Limit,
    },
    /// A new backend, with counters at zero.
    PutBackend {
        /// Its id.
        id: u32,
        /// The backend.
        backend: Backend,
    },
    /// Another way out, weight or way of forwarding for a backend that packets find.
    MoveBackend {
        /// Its id.
        id: u32,
        /// The backend as it shall be; its address, port and service are the same.
        backend: Backend,
    },
    /// Other weights for backends of a service, each by one store: packets do not look at them.
    WeighBackends {
        /// Weights by the backends' ids, in the order of these.
        weights: Arc<[(u32, u32)]>,
    },
    /// A backend that no table names any more.
    RemoveBackend {
        /// Its id.
        id: u32,
    },
    /// A Maglev table, at a place where no service looks yet.
    WriteTable {
        /// The place.
        table: Table,
        /// Its slots.
        slots: Arc<[Slot]>,
    },
    /// Single slots of a table that packets find, each by one store.
    WriteSlots {
        /// The table.
        table: Table,
        /// Slots by their number in it.
        slots: Arc<[(u32, Slot)]>,
    },
    /// A new service's head, with counters at zero.
    PutService {
        /// Its id.
        id: u32,
        /// The head.
        head: Service,
    },
    /// Another table for a service that packets find.
    Publish {
        /// Its id.
        service: u32,
        /// Where the table lies; of length 0 when there is none.
        table: Table,
    },
    /// Other flags for a service that packets find.
    SetFlags {
        /// Its id.
        service: u32,
        /// `ServiceFlags`.
        flags: u32,
    },
    /// Other networks from which a service may be used that packets find, by one store.
    SetNetworks {
        /// Its id.
        service: u32,
        /// `Service::networks`.
        networks: u32,
    },
    /// Other limits for a service that packets find, by a store for every four.
    SetLimits {
        /// Its id.
        service: u32,
        /// `Service::limits`.
        limits: [u16; MAX_LIMITS],
    },
    /// A service that no packet finds any more.
    RemoveService {
        /// Its id.
        id: u32,
    },
    /// From now on packets find a service at its VIP.
    PutVip {
        /// The VIP.
        vip: VipKey,
        /// The service's id.
        service: u32,
    },
    /// From now on they do not.
    RemoveVip {
        /// The VIP.
        vip: VipKey,
    },
    /// From now on replies from here are recognised.
    PutEndpoint {
        /// Where the backend listens.
        listens: VipKey,
        /// Whose it is.
        endpoint: Endpoint,
    },
    /// The same for many, where none was known.
    PutEndpoints {
        /// Whose they are, by where the backends listen.
        endpoints: Arc<[(VipKey, Endpoint)]>,
    },
    /// From now on they are not.
    RemoveEndpoint {
        /// Where the backend listened.
        listens: VipKey,
    },
    /// What is known of a network device.
    PutDevice {
        /// Its index.
        ifindex: u32,
        /// What is known.
        device: Device,
    },
    /// A network device that is gone.
    RemoveDevice {
        /// Its index.
        ifindex: u32,
    },
    /// Other QUIC connection ids for a service that packets find, by one store.
    SetQuicIds {
        /// Its id.
        service: u32,
        /// Which it routes.
        quic: QuicIds,
    },
    /// From now on connection ids with this server id lead to a backend.
    PutQuicServer {
        /// The server id.
        key: QuicKey,
        /// The backend's id.
        backend: u32,
    },
    /// From now on they do not.
    RemoveQuicServer {
        /// The server id.
        key: QuicKey,
    },
    /// What an address is known for, whatever the port.
    PutAddress {
        /// The address.
        address: Address,
        /// `AddressFlags`.
        flags: u32,
    },
    /// An address that is a stranger's.
    RemoveAddress {
        /// The address.
        address: Address,
    },
    /// What holds for all services.
    PutSettings {
        /// All of it.
        settings: Box<Settings>,
    },
    /// From now on the path MTU of tunnels to there is learnt. One that was learnt already stays.
    PutPath {
        /// The tunnels' far end.
        address: Address,
    },
    /// From now on it is not.
    RemovePath {
        /// The tunnels' far end.
        address: Address,
    },
    /// What a person ordered of a backend.
    PutOrder {
        /// Which.
        key: OrderKey,
        /// What.
        order: Order,
    },
    /// An order that is void.
    RemoveOrder {
        /// Whose.
        key: OrderKey,
    },
}

impl fmt::Display for Op {
    /// One line for a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutLimit { id, .. } => write!(f, "put limit {id}"),
            Self::ChangeLimit { id, .. } => write!(f, "change limit {id}"),
            Self::PutBackend { id, backend } => {
                write!(f, "put backend {id} at {}", show(backend.address, backend.port.to_ne_bytes()))
            }
            Self::MoveBackend { id, backend } => {
                let Backend { ifindex, delivery, weight, forward, .. } = backend;
                write!(
                    f,
                    "change backend {id}: forward {forward}, device {ifindex}, delivery {delivery}, weight {weight}/{}",
                    Backend::WEIGHT_ONE
                )
            }
            Self::WeighBackends { weights } => write!(f, "weigh {} backends", weights.len()),
            Self::RemoveBackend { id } => write!(f, "remove backend {id}"),
            Self::WriteTable { table, slots } => write!(f, "write {} slots from slot {}", slots.len(), table.base),
            Self::WriteSlots { table, slots } => {
                write!(f, "change {} slots of the table from slot {}", slots.len(), table.base)
            }
            Self::SetLimits { service, limits } => write!(f, "set limits {limits:?} for service {service}"),
            Self::PutService { id, .. } => write!(f, "put service {id}"),
            Self::Publish { service, table } => {
                write!(f, "publish the {} slots from slot {} for service {service}", table.len, table.base)
            }
            Self::SetFlags { service, flags } => write!(f, "set flags {flags:#x} for service {service}"),
            Self::SetNetworks { service, networks } => write!(f, "let networks {networks:#x} use service {service}"),
            Self::RemoveService { id } => write!(f, "remove service {id}"),
            Self::PutVip { vip, service } => {
                write!(f, "serve {} by service {service}", show(vip.address, vip.port_bytes()))
            }
            Self::RemoveVip { vip } => write!(f, "stop serving {}", show(vip.address, vip.port_bytes())),
            Self::PutEndpoint { listens, endpoint } => write!(
                f,
                "know {} for backend {} of service {}",
                show(listens.address, listens.port_bytes()),
                endpoint.backend,
                endpoint.service
            ),
            Self::PutEndpoints { endpoints } => write!(f, "know the endpoints of {} backends", endpoints.len()),
            Self::RemoveEndpoint { listens } => {
                write!(f, "forget {}", show(listens.address, listens.port_bytes()))
            }
            Self::PutDevice { ifindex, device } => {
                write!(f, "put device {ifindex} with flags {:#x} on device {}", device.flags, device.link)
            }
            Self::RemoveDevice { ifindex } => write!(f, "remove device {ifindex}"),
            Self::SetQuicIds { service, quic } => write!(f, "set connection ids {:#x} for service {service}", quic.0),
            Self::PutQuicServer { key, backend } => {
                write!(f, "lead server id {} of service {} to backend {backend}", server_id(key), key.service)
            }
            Self::RemoveQuicServer { key } => {
                write!(f, "forget server id {} of service {}", server_id(key), key.service)
            }
            Self::PutAddress { address, flags } => write!(f, "know {} with flags {flags:#x}", IpAddr::from(*address)),
            Self::RemoveAddress { address } => write!(f, "forget {}", IpAddr::from(*address)),
            Self::PutSettings { .. } => write!(f, "put the settings"),
            Self::PutPath { address } => write!(f, "learn the path to {}", IpAddr::from(*address)),
            Self::RemovePath { address } => write!(f, "forget the path to {}", IpAddr::from(*address)),
            Self::PutOrder { key, order } => {
                write!(f, "keep order {:#x} for {}", order.flags, show(key.listens.address, key.listens.port_bytes()))
            }
            Self::RemoveOrder { key } => {
                write!(f, "drop the order for {}", show(key.listens.address, key.listens.port_bytes()))
            }
        }
    }
}

fn server_id(key: &QuicKey) -> String {
    ServerId::of_key(key).map_or_else(|| "of no length".to_owned(), |id| id.to_string())
}
