//! What the maps hold while the tables run: written row by row, past the controller, so that what is tested is the packet
//! path alone.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::Address;
use lb_common::abi::{
    AddressFlags, Backend, Delivery, Device, DeviceFlags, ERROR_LIMIT, Endpoint, EndpointFlags, FLOW_LIMIT, Forward,
    Limit, PORT_WORDS, PathMtu, QuicIds, QuicKey, Service, ServiceFlags, Settings, SettingsFlags, Slot, Table, Tags,
    VipKey,
};
use lb_common::host::{HostFlows, HostTables};
use lb_common::tables::{Route, WayOut};
use weir_tests::frame::Tag;

use crate::tables::cast::{self, BACK_MAC, BACKEND_MAC, CLIENT_MAC, FRONT_MAC};

/// Where frames come in: the loopback device, as `BPF_PROG_TEST_RUN` has it.
pub(crate) const INGRESS: u32 = 1;

/// The device towards backends. Nothing is sent in these tests, so that it need not be there.
pub(crate) const BACK: u32 = 7;

/// How many slots a table has.
pub(crate) const SLOTS: u32 = 251;

/// How much there is room for.
pub(crate) const MAX_SERVICES: u32 = 256;
pub(crate) const MAX_BACKENDS: u32 = 512;
pub(crate) const MAX_POOLS: u32 = 128;
pub(crate) const MAX_FLOWS: u32 = 4_096;
pub(crate) const MAX_SNATS: u32 = 65_536;
pub(crate) const MAX_FRAGMENTS: u32 = 16_384;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// The rows of the maps.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub vips: BTreeMap<VipKey, u32>,
    pub services: Vec<Service>,
    /// What each service is called.
    pub names: Vec<String>,
    pub slots: Vec<Slot>,
    pub backends: Vec<Backend>,
    pub endpoints: BTreeMap<VipKey, Endpoint>,
    pub addresses: BTreeMap<Address, u32>,
    pub settings: Settings,
    pub paths: BTreeMap<Address, PathMtu>,
    pub quic_servers: BTreeMap<QuicKey, u32>,
    pub limits: BTreeMap<u32, Limit>,
    pub devices: BTreeMap<u32, Device>,
    /// How many pools of ports are in use.
    pub pools: u16,
}

pub(crate) fn address(text: &str) -> Address {
    text.parse::<IpAddr>().expect("an address").into()
}

/// What never refuses in a test's time.
fn generous() -> Limit {
    Limit { cost: 1, depth_ticks: 1 << 60, ..Limit::default() }
}

impl Stage {
    /// Without services.
    pub(crate) fn new(front: u32) -> Self {
        let mut settings = Settings {
            tunnel_v4: address(cast::TUNNEL),
            tunnel_v6: address(cast::TUNNEL6),
            gue_port: cast::GUE_PORT.to_be(),
            stride: 1,
            ..Settings::default()
        };
        settings.snat_v4[0] = address(cast::SNAT);
        settings.snat_v6[0] = address(cast::SNAT6);
        let device = |flags, link| Device { flags, link, ..Device::default() };
        let mut stage = Self { settings, ..Self::default() };
        stage.devices.insert(front, device(DeviceFlags::TRANSMIT, front));
        stage.devices.insert(INGRESS, device(DeviceFlags::ATTACHED, INGRESS));
        for (text, flag) in [
            (cast::SNAT, AddressFlags::SNAT),
            (cast::SNAT6, AddressFlags::SNAT),
            (cast::TUNNEL, AddressFlags::TUNNEL),
            (cast::TUNNEL6, AddressFlags::TUNNEL),
        ] {
            stage.addresses.insert(address(text), flag);
        }
        stage.limits.insert(FLOW_LIMIT, generous());
        stage.limits.insert(ERROR_LIMIT, generous());
        stage
    }

    /// With everything that the tables speak of.
    pub(crate) fn of_tables(front: u32) -> Self {
        let mut stage = Self::new(front);
        for service in cast::services() {
            stage.add(&service);
        }
        stage
    }

    /// The services of a VIP of the tables', each with its one backend.
    fn add(&mut self, of: &cast::Service) {
        let vip = address(of.vip);
        let flags = AddressFlags::VIP
            | if of.any_port { AddressFlags::ANY_PORT } else { 0 }
            | if of.echo { AddressFlags::ECHO } else { 0 }
            | if of.closed { AddressFlags::CLOSED } else { 0 };
        self.addresses.insert(vip, flags);
        let ports = if of.any_port {
            self.settings.flags |= SettingsFlags::ANY_PORT;
            vec![(0, TCP), (0, UDP), (0, SCTP)]
        } else {
            vec![(cast::WEB, TCP), (cast::DNS, UDP), (cast::SIGNAL, SCTP)]
        };
        for (port, protocol) in ports {
            if protocol == SCTP && !of.takes_sctp() {
                continue;
            }
            let row = self.backend(of, of.listens(port).1);
            let service = self.service(&format!("{}, {port}/{protocol}", of.name), vip, port, protocol);
            self.join(service, &[row], SLOTS);
        }
    }

    /// A backend's row as the tables have it.
    pub(crate) fn backend(&mut self, of: &cast::Service, port: u16) -> Backend {
        let forward = match of.forward {
            cast::Forward::Nat => Forward::NAT,
            cast::Forward::Snat => Forward::SNAT,
            cast::Forward::L2 => Forward::L2,
            cast::Forward::Ipip => Forward::IPIP,
            cast::Forward::Gue => Forward::GUE,
        };
        let delivery = if of.way == cast::Way::Device { Delivery::DEVICE } else { Delivery::STACK };
        Backend {
            address: address(of.backend),
            port: port.to_be(),
            delivery,
            ifindex: BACK,
            mtu: of.mtu,
            mac_destination: BACKEND_MAC,
            mac_source: BACK_MAC,
            weight: Backend::WEIGHT_ONE,
            tags: Self::tags(of.tags),
            forward,
            ..Backend::default()
        }
    }

    /// Tags as their bytes on the wire.
    pub(crate) fn tags(of: &[Tag]) -> Tags {
        let mut tags = Tags::NONE;
        for (word, Tag(identifier, information)) in tags.0.iter_mut().zip(of) {
            let ([a, b], [c, d]) = (identifier.to_be_bytes(), information.to_be_bytes());
            *word = u32::from_ne_bytes([a, b, c, d]);
        }
        tags
    }

    /// A service without backends; its id.
    pub(crate) fn service(&mut self, name: &str, vip: Address, port: u16, protocol: u8) -> u32 {
        let id = u32::try_from(self.services.len()).expect("few services");
        let vip = VipKey::new(vip, port.to_be_bytes(), protocol);
        self.services.push(Service { vip, seed: u64::from(id) * 77 + 42, quic: QuicIds::NONE, ..Service::default() });
        self.names.push(name.to_owned());
        self.vips.insert(vip, id);
        id
    }

    /// Gives a service its backends, in turn over a table of so many slots. Returns their ids.
    pub(crate) fn join(&mut self, service: u32, rows: &[Backend], slots: u32) -> Vec<u32> {
        let first = u32::try_from(self.backends.len()).expect("few backends");
        let ids: Vec<u32> = (first..).take(rows.len()).collect();
        let protocol = self.services[service as usize].vip.protocol;
        for (&id, row) in ids.iter().zip(rows) {
            let mut row = Backend { service, lane: row.lane_of(), ..*row };
            let flag = match row.forward {
                Forward::NAT => EndpointFlags::NAT,
                Forward::SNAT => EndpointFlags::SNAT,
                _ => 0,
            };
            if row.forward == Forward::SNAT {
                row.pool = self.pools;
                self.pools += 1;
                self.services[service as usize].flags |= ServiceFlags::SNAT;
            }
            if flag != 0 {
                let listens = VipKey { address: row.address, port: row.port, protocol, pad: 0 };
                let shared = self.endpoints.insert(listens, Endpoint { service, backend: id, flags: flag });
                if let Some(other) = shared {
                    for service in [service, other.service] {
                        self.services[service as usize].flags |= ServiceFlags::REMEMBER_REPLIES;
                    }
                }
            }
            if matches!(row.forward, Forward::IPIP | Forward::GUE) {
                self.paths.insert(row.address, PathMtu::default());
            }
            self.backends.push(row);
        }
        let base = u32::try_from(self.slots.len()).expect("few slots");
        self.slots.extend((0..slots).map(|slot| Slot::settled(ids[slot as usize % ids.len()])));
        self.services[service as usize].table = Table { base, len: slots }.pack();
        ids
    }

    /// The ways to clients.
    fn routes(front: u32) -> BTreeMap<Address, WayOut> {
        let route = Route {
            ifindex: front,
            mac_destination: CLIENT_MAC,
            mac_source: FRONT_MAC,
            delivery: Delivery::DEVICE,
            tags: Tags::NONE,
            scatter: false,
        };
        [cast::CLIENT, cast::CLIENT6].map(|client| (address(client), WayOut::Device(route))).into()
    }

    /// The same as the host's tables.
    pub(crate) fn host(&self, front: u32) -> HostTables {
        let limits = MAX_SERVICES as usize;
        let mut tables = HostTables {
            vips: self.vips.clone(),
            services: self.services.clone(),
            slots: self.slots.clone(),
            backends: self.backends.clone(),
            endpoints: self.endpoints.clone(),
            addresses: self.addresses.clone(),
            settings: self.settings,
            paths: self.paths.clone().into(),
            quic_servers: self.quic_servers.clone(),
            devices: self.devices.clone(),
            limits: vec![Limit::default(); limits],
            service_buckets: vec![Cell::new(0); limits],
            shares: vec![Default::default(); limits],
            flows: HostFlows::with_room(MAX_FLOWS),
            max_snats: MAX_SNATS as usize,
            max_connections: MAX_FLOWS as usize,
            max_fragments: MAX_FRAGMENTS as usize,
            ports: vec![Cell::new(0); (MAX_POOLS * PORT_WORDS) as usize],
            routes: Self::routes(front),
            ..HostTables::default()
        };
        tables.services.resize(MAX_SERVICES as usize, Service::default());
        tables.backends.resize(MAX_BACKENDS as usize, Backend::default());
        for (id, limit) in &self.limits {
            tables.limits[*id as usize] = *limit;
        }
        // Limits are in buckets that were never used: any time will do, if it is not the very first.
        tables.now_ns.set(1 << 40);
        tables
    }
}
