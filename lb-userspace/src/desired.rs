//! The desired state: what the registries, the configuration and the kernel's routes together ask for.

mod addresses;
mod doubts;
mod fitness;
mod ground;
mod roster;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use lb_common::abi;
use lb_common::{Address, hash};

pub use addresses::settings;
pub use ground::{Ground, Way};
pub use roster::Roster;

use crate::address::vip_key;
use crate::config::{Config, Forward, Service};
use crate::limiter;
use crate::orders::Orders;
use crate::plan::{ServiceState, State};
use crate::ramp;
use crate::server_id::ServerId;
use crate::source::Endpoint;
use crate::vip::Vip;

/// How many devices the data plane is told of. Those beyond are reached by the stack.
pub const MAX_DEVICES: usize = 65_536;

/// Everything the data plane shall hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// By VIP.
    pub services: BTreeMap<Vip, DesiredService>,
    /// By index.
    pub devices: BTreeMap<u32, abi::Device>,
    /// `AddressFlags` of the addresses of VIPs, and of Weir's own.
    pub addresses: BTreeMap<Address, u32>,
    /// What holds for all services, but for what depends on how large the maps are.
    pub settings: abi::Settings,
    /// What new entries of the flow table are held to.
    pub flow_limit: Option<abi::Limit>,
    /// What ICMP errors are held to.
    pub error_limit: Option<abi::Limit>,
}

/// A service as it shall be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DesiredService {
    /// Its name.
    pub name: String,
    /// What its flow hash starts from.
    pub seed: u64,
    /// Which QUIC connection ids it routes.
    pub quic: abi::QuicIds,
    /// Its limits, in the order in which packets meet them.
    pub limits: Vec<abi::Limit>,
    /// Its backends, by where they listen: that is what their connections are with.
    pub backends: BTreeMap<SocketAddr, DesiredBackend>,
    /// Backends whose connections are not kept: their slots are handed over at once.
    pub cut: BTreeSet<SocketAddr>,
    /// It is not in the configuration any more: it goes when its last connection has.
    pub retires: bool,
}

/// A backend as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredBackend {
    /// What the registry calls it.
    pub id: String,
    /// Its share of new flows as it is meant to be.
    pub weight: u16,
    /// Its share at this moment, in units of 1/[`Backend::WEIGHT_ONE`](abi::Backend::WEIGHT_ONE) of a weight.
    pub share: u32,
    /// Nobody lists it any more: it goes when its last connection has.
    pub lingers: bool,
    /// The failure domain it is in.
    pub zone: Option<String>,
    /// How packets reach it.
    pub forward: Forward,
    /// The server id that connection ids name it by, where the service routes such of its length.
    pub server_id: Option<ServerId>,
    /// The way out.
    pub way: Way,
}

/// Merges everything into the desired state, and says by service what had to be left out.
///
/// A service that no registry has spoken of yet is not there: its packets pass as a stranger's. What `state` holds and
/// nobody lists any more stays, without new flows, for as long as it is needed.
pub fn merge(
    config: &Config,
    rosters: &BTreeMap<String, Roster>,
    ground: &Ground,
    orders: &Orders,
    state: &State,
) -> (Desired, BTreeMap<String, Vec<String>>) {
    let mut desired = Desired { devices: ground.devices(), ..Desired::default() };
    let mut problems: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut left = config.weir.max_backends as usize;
    let mut pools = state.free_pools();
    for service in &config.services {
        let Some(roster) = rosters.get(&service.name) else { continue };
        let room = Room { backends: left, pools: &mut pools, held: state.services.get(&service.vip) };
        let (mut backends, mut said) = backends(config, service, roster, ground, room);
        left -= backends.len();
        if let (true, Some(held)) = (roster.remembered, state.services.get(&service.vip)) {
            stay_half_way(&mut backends, held);
        }
        let cut = orders.carry_out(&service.vip, &mut backends);
        said.extend(doubts::doubts(config, service, &backends, ground));
        if !said.is_empty() {
            problems.insert(service.name.clone(), said);
        }
        let key = vip_key(&service.vip);
        desired.services.insert(
            service.vip,
            DesiredService {
                name: service.name.clone(),
                seed: hash::seed(config.weir.hash_seed, key.address, key.port_bytes(), key.protocol),
                quic: service.quic.map_or(abi::QuicIds::NONE, |quic| quic.ids()),
                limits: limiter::in_order(&service.limits).iter().map(limiter::compile).collect(),
                backends,
                cut,
                retires: false,
            },
        );
    }
    linger(&mut desired, state, ground, orders);
    stay_on_their_way(&mut desired, state, ground);
    desired.addresses = addresses::addresses(config, &desired);
    desired.settings = settings(config, &desired, ground, state);
    desired.own_addresses();
    (desired, problems)
}

/// Leaves backends that are on their way up where they are: how far up it goes only their registry knows.
fn stay_half_way(backends: &mut BTreeMap<SocketAddr, DesiredBackend>, held: &ServiceState) {
    for (listens, backend) in backends {
        let share = held.backends.get(listens).map_or(0, |held| held.row.weight);
        if ramp::is_ramping(share) {
            backend.share = share;
        }
    }
}

/// Leaves the way out to a backend as the data plane has it until its address has been looked up: whoever adopts what is
/// there knows of no next hop yet, and the stack may not let pass what XDP sends.
fn stay_on_their_way(desired: &mut Desired, state: &State, ground: &Ground) {
    for (vip, held) in &state.services {
        let Some(service) = desired.services.get_mut(vip) else { continue };
        for (listens, backend) in &mut service.backends {
            let row = held.backends.get(listens).map(|held| &held.row);
            // Not for packets that were forwarded in another way.
            let same = |row: &&abi::Backend| row.ifindex != u32::MAX && row.forward == backend.forward.number();
            if let Some(row) = row.filter(same)
                && !ground.hops.hops.contains_key(&listens.ip())
            {
                backend.way = Way {
                    delivery: row.delivery,
                    ifindex: row.ifindex,
                    mtu: row.mtu,
                    mac_destination: row.mac_destination,
                    mac_source: row.mac_source,
                    tags: row.tags,
                };
            }
        }
    }
}

/// Adds what the data plane holds and nobody lists any more.
fn linger(desired: &mut Desired, state: &State, ground: &Ground, orders: &Orders) {
    let servers: BTreeMap<u32, ServerId> =
        state.quic.iter().filter_map(|(key, id)| Some((*id, ServerId::of_key(key)?))).collect();
    for (vip, held) in &state.services {
        let service = desired.services.entry(*vip).or_insert_with(|| DesiredService {
            name: held.name.clone(),
            seed: held.head.seed,
            quic: held.head.quic,
            limits: held.limits.iter().map(|limit| limit.limit).collect(),
            retires: true,
            ..DesiredService::default()
        });
        for (listens, backend) in &held.backends {
            if service.backends.contains_key(listens) || service.cut.contains(listens) {
                continue;
            }
            let forward = backend.forward();
            let lingering = DesiredBackend {
                id: backend.name.clone(),
                weight: 0,
                share: 0,
                lingers: true,
                zone: None,
                forward,
                server_id: servers.get(&backend.id).copied(),
                way: ground.way(listens.ip(), forward),
            };
            service.backends.insert(*listens, lingering);
        }
        // What was ordered holds to the end.
        let cut = orders.carry_out(vip, &mut service.backends);
        service.cut.extend(cut);
    }
}

/// What there is room for.
struct Room<'a> {
    /// Backends.
    backends: usize,
    /// Pools of ports that nobody has.
    pools: &'a mut usize,
    /// The service as the data plane has it.
    held: Option<&'a ServiceState>,
}

impl Room<'_> {
    /// Whether there are ports for a backend of snat: it has some, or takes some.
    fn has_ports(&mut self, listens: &SocketAddr) -> bool {
        let has = self.held.and_then(|held| held.backends.get(listens)).is_some_and(|held| held.pool().is_some());
        has || {
            let free = *self.pools > 0;
            *self.pools = self.pools.saturating_sub(1);
            free
        }
    }
}

fn backends(
    config: &Config,
    service: &Service,
    roster: &Roster,
    ground: &Ground,
    mut room: Room<'_>,
) -> (BTreeMap<SocketAddr, DesiredBackend>, Vec<String>) {
    let mut backends: BTreeMap<SocketAddr, DesiredBackend> = BTreeMap::new();
    let mut problems = Vec::new();
    problems.extend(roster.held.clone());
    if roster.endpoints.is_empty() {
        problems.push(format!(
            "the registry {} names no backend for {:?}: every packet is refused (no_backend)",
            service.registry,
            service.wanted().key()
        ));
    } else if roster.endpoints.iter().all(|endpoint| endpoint.weight == 0) {
        problems.push("every backend's weight is 0: every packet is refused (no_backend)".to_owned());
    }
    let mut endpoints: Vec<&Endpoint> = roster.endpoints.iter().collect();
    // Whatever the order of the answer, the same ones are taken.
    endpoints.sort_by(|a, b| (a.address, a.port, &a.id).cmp(&(b.address, b.port, &b.id)));
    let mut last = None;
    let mut named: BTreeSet<ServerId> = BTreeSet::new();
    for endpoint in endpoints {
        let listens = SocketAddr::new(endpoint.address, endpoint.port);
        let forward = fitness::forward(service, endpoint);
        if let Some(reason) = fitness::unfit(config, service, endpoint) {
            problems.push(format!("backend {} at {listens} is left out: {reason}", endpoint.id));
        } else if last == Some(listens) {
            problems.push(format!("backend {} at {listens} is left out: another one listens there", endpoint.id));
        } else if backends.len() == room.backends {
            problems.push(format!(
                "backend {} at {listens} and those after it are left out: the maps were made for fewer backends; \
                 raise `max_backends` under [weir] and start anew",
                endpoint.id
            ));
            break;
        } else if forward == Forward::Snat && !room.has_ports(&listens) {
            problems.push(format!(
                "backend {} at {listens} is left out: other backends of snat, with those that drain, have all the ports that \
                 the maps were made for; raise `max_snat_backends` under [weir] and start anew",
                endpoint.id
            ));
        } else {
            last = Some(listens);
            let mut server_id = endpoint.server_id.filter(|_| service.quic.is_some());
            if let Some(twice) = server_id.filter(|id| !named.insert(*id)) {
                server_id = None;
                problems.push(format!(
                    "backend {} at {listens} is listed with server id {twice}, which another one has too, expected every one \
                     once: connection ids lead to the other one",
                    endpoint.id
                ));
            }
            backends.insert(
                listens,
                DesiredBackend {
                    id: endpoint.id.clone(),
                    weight: endpoint.weight,
                    share: u32::from(endpoint.weight) * abi::Backend::WEIGHT_ONE,
                    lingers: false,
                    zone: endpoint.zone.clone(),
                    forward,
                    server_id,
                    way: ground.way(endpoint.address, forward),
                },
            );
        }
    }
    (backends, problems)
}

/// The addresses whose next hops matter: of what is listed, and of what the data plane still holds.
pub fn addresses(rosters: &BTreeMap<String, Roster>, state: &State) -> impl Iterator<Item = IpAddr> {
    let listed = rosters.values().flat_map(|roster| roster.endpoints.iter().map(|endpoint| endpoint.address));
    let held = state.services.values().flat_map(|service| service.backends.keys().map(SocketAddr::ip));
    listed.chain(held)
}
