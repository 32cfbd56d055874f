//! The desired state: what the registries, the configuration and the kernel's routes together ask for.

mod ground;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use lb_common::abi;
use lb_common::hash;

pub use ground::{Ground, Way};

use crate::address::vip_key;
use crate::config::{Config, Service};
use crate::limiter;
use crate::nexthop::{Hop, StackReason};
use crate::orders::Orders;
use crate::plan::{ServiceState, State};
use crate::ramp;
use crate::source::Endpoint;
use crate::vip::Vip;

/// How many devices the data plane is told of. Those beyond are reached by the stack.
pub const MAX_DEVICES: usize = 65_536;

/// Everything the data plane shall hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// By VIP.
    pub services: BTreeMap<Vip, DesiredService>,
    /// `DeviceFlags` by device index.
    pub devices: BTreeMap<u32, u32>,
    /// What new entries of the flow table are held to.
    pub flow_limit: Option<abi::Limit>,
}

/// A service as it shall be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DesiredService {
    /// Its name.
    pub name: String,
    /// What its flow hash starts from.
    pub seed: u64,
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
    /// The way out.
    pub way: Way,
}

/// What the registries said of a service, after doubts were settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The endpoints that stand: the last ones, or the last good ones.
    pub endpoints: Vec<Endpoint>,
    /// Why the last answer was not taken, when it was not.
    pub held: Option<String>,
    /// The endpoints were read from the data plane, and no registry has named them yet.
    pub remembered: bool,
}

impl Roster {
    /// Takes what a registry says now. An answer without any endpoint removes nothing: a registry that was emptied by
    /// accident, or lies, must not take a service down. Deliberate removal is done where the service is configured.
    pub fn hear(&mut self, said: Option<&Vec<Endpoint>>) {
        let said = said.map(Vec::as_slice).unwrap_or_default();
        if said.is_empty() && !self.endpoints.is_empty() {
            self.held = Some(format!(
                "the registry names no backend any more; the last {} stand. To stop the service take it out of the \
                 configuration and reload",
                self.endpoints.len()
            ));
            return;
        }
        *self = Self { endpoints: said.to_vec(), held: None, remembered: false };
    }
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
    for service in &config.services {
        let Some(roster) = rosters.get(&service.name) else { continue };
        let (mut backends, mut said) = backends(config, service, roster, ground, left);
        left -= backends.len();
        if let (true, Some(held)) = (roster.remembered, state.services.get(&service.vip)) {
            stay_half_way(&mut backends, held);
        }
        let cut = orders.carry_out(&service.vip, &mut backends);
        said.extend(unattached(&backends, ground));
        said.extend(unrouted(&backends, ground));
        if !said.is_empty() {
            problems.insert(service.name.clone(), said);
        }
        let key = vip_key(&service.vip);
        desired.services.insert(
            service.vip,
            DesiredService {
                name: service.name.clone(),
                seed: hash::seed(config.weir.hash_seed, key.address, key.port_bytes(), key.protocol),
                limits: limiter::in_order(&service.limits).iter().map(limiter::compile).collect(),
                backends,
                cut,
                retires: false,
            },
        );
    }
    linger(&mut desired, state, ground, orders);
    stay_on_their_way(&mut desired, state, ground);
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
            if let Some(row) = row.filter(|row| row.ifindex != u32::MAX)
                && !ground.hops.hops.contains_key(&listens.ip())
            {
                backend.way = Way {
                    delivery: row.delivery,
                    ifindex: row.ifindex,
                    mtu: row.mtu,
                    mac_destination: row.mac_destination,
                    mac_source: row.mac_source,
                };
            }
        }
    }
}

/// Adds what the data plane holds and nobody lists any more.
fn linger(desired: &mut Desired, state: &State, ground: &Ground, orders: &Orders) {
    for (vip, held) in &state.services {
        let service = desired.services.entry(*vip).or_insert_with(|| DesiredService {
            name: held.name.clone(),
            seed: held.head.seed,
            limits: held.limits.iter().map(|limit| limit.limit).collect(),
            retires: true,
            ..DesiredService::default()
        });
        for (listens, backend) in &held.backends {
            if service.backends.contains_key(listens) || service.cut.contains(listens) {
                continue;
            }
            let way = ground.way(listens.ip());
            let lingering =
                DesiredBackend { id: backend.name.clone(), weight: 0, share: 0, lingers: true, zone: None, way };
            service.backends.insert(*listens, lingering);
        }
        // What was ordered holds to the end.
        let cut = orders.carry_out(vip, &mut service.backends);
        service.cut.extend(cut);
    }
}

fn backends(
    config: &Config,
    service: &Service,
    roster: &Roster,
    ground: &Ground,
    left: usize,
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
    for endpoint in endpoints {
        let listens = SocketAddr::new(endpoint.address, endpoint.port);
        if let Some(reason) = unfit(config, service, endpoint) {
            problems.push(format!("backend {} at {listens} is left out: {reason}", endpoint.id));
        } else if last == Some(listens) {
            problems.push(format!("backend {} at {listens} is left out: another one listens there", endpoint.id));
        } else if backends.len() == left {
            problems.push(format!(
                "backend {} at {listens} and those after it are left out: the maps were made for fewer backends; \
                 raise `max_backends` under [weir] and start anew",
                endpoint.id
            ));
            break;
        } else {
            last = Some(listens);
            backends.insert(
                listens,
                DesiredBackend {
                    id: endpoint.id.clone(),
                    weight: endpoint.weight,
                    share: u32::from(endpoint.weight) * abi::Backend::WEIGHT_ONE,
                    lingers: false,
                    zone: endpoint.zone.clone(),
                    way: ground.way(endpoint.address),
                },
            );
        }
    }
    (backends, problems)
}

/// Why an endpoint cannot serve a service.
fn unfit(config: &Config, service: &Service, endpoint: &Endpoint) -> Option<&'static str> {
    let (vip, address) = (&service.vip, endpoint.address);
    if vip.address.is_ipv4() != address.is_ipv4() {
        return Some("the VIP is of the other address family, and `nat` does not translate between them");
    }
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Some("no host can be reached at such an address");
    }
    let is_vip = |other: &Service| other.vip == Vip { address, port: endpoint.port, protocol: vip.protocol };
    config.services.iter().any(is_vip).then_some("a VIP listens there, and packets would go round for ever")
}

/// Backends whose replies would not be translated, because they come in by a device that nothing is attached to.
fn unattached(backends: &BTreeMap<SocketAddr, DesiredBackend>, ground: &Ground) -> Option<String> {
    let hops = &ground.hops;
    let attached = ground.attached.keys().filter_map(|ifindex| hops.devices.get(ifindex));
    let attached: Vec<&str> = attached.map(|device| device.name.as_str()).collect();
    let mut astray = backends.iter().filter_map(|(listens, backend)| {
        let local = matches!(hops.hops.get(&listens.ip()), Some(Hop::Stack(StackReason::Local)));
        let via = hops.via.get(&listens.ip())?;
        (!local && !attached.contains(&via.as_str())).then_some((listens, backend, via))
    });
    let (listens, backend, via) = astray.next()?;
    let more = match astray.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!(
        "backend {} at {listens}{more} is reached by {via}, to which Weir is not attached: its replies will not be \
         translated back; add an [[interface]] named {via:?}",
        backend.id,
    ))
}

/// Backends that the kernel has no route to: what is handed to the stack for them ends there.
fn unrouted(backends: &BTreeMap<SocketAddr, DesiredBackend>, ground: &Ground) -> Option<String> {
    let no_route =
        |listens: &SocketAddr| matches!(ground.hops.hops.get(&listens.ip()), Some(Hop::Stack(StackReason::NoRoute)));
    let mut lost = backends.iter().filter(|(listens, _)| no_route(listens));
    let (listens, backend) = lost.next()?;
    let more = match lost.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!(
        "there is no route to backend {} at {listens}{more}: its packets end here; see `ip route get {}`",
        backend.id,
        listens.ip()
    ))
}

/// The addresses whose next hops matter: of what is listed, and of what the data plane still holds.
pub fn addresses(rosters: &BTreeMap<String, Roster>, state: &State) -> impl Iterator<Item = IpAddr> {
    let listed = rosters.values().flat_map(|roster| roster.endpoints.iter().map(|endpoint| endpoint.address));
    let held = state.services.values().flat_map(|service| service.backends.keys().map(SocketAddr::ip));
    listed.chain(held)
}
