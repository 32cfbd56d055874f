//! The desired state: what the registries, the configuration and the kernel's routes together ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::abi::{self, Delivery, DeviceFlags};
use lb_common::hash;

use crate::address::vip_key;
use crate::config::{Config, Service};
use crate::dataplane::kernel::Attached;
use crate::limiter;
use crate::nexthop::{Device, Frame, Hop, NextHops, StackReason};
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

/// The way out to a backend, as the packet path takes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Way {
    /// [`Delivery`].
    pub delivery: u16,
    /// The device's index.
    pub ifindex: u32,
    /// The largest layer-3 packet it takes, in bytes.
    pub mtu: u32,
    /// The next hop's Ethernet address.
    pub mac_destination: [u8; 6],
    /// The device's own.
    pub mac_source: [u8; 6],
}

impl Way {
    /// The host's stack finds it.
    pub const STACK: Self =
        Self { delivery: Delivery::STACK, ifindex: 0, mtu: 0, mac_destination: [0; 6], mac_source: [0; 6] };

    fn device(frame: &Frame, delivery: u16) -> Self {
        Self {
            delivery,
            ifindex: frame.ifindex,
            mtu: frame.mtu,
            mac_destination: frame.destination,
            mac_source: frame.source,
        }
    }
}

/// What the packet path runs on: the kernel's routes and neighbours, and where Weir is attached.
#[derive(Debug, Clone, Default)]
pub struct Ground {
    /// Next hops and devices.
    pub hops: Arc<NextHops>,
    /// The devices that Weir is attached to, by index.
    pub attached: BTreeMap<u32, Attached>,
}

impl Ground {
    /// Whether every program runs in the stack, from where frames can be sent into any Ethernet device. One that runs
    /// in a driver needs the other device's driver to take them.
    fn all_skb(&self) -> bool {
        !self.attached.is_empty() && self.attached.values().all(|attached| *attached == Attached::Skb)
    }

    /// The way out to an address.
    pub fn way(&self, address: IpAddr) -> Way {
        let sendable = self.all_skb() || matches!(self.hops.hops.get(&address), Some(Hop::Device { .. }));
        match self.hops.frames.get(&address) {
            Some(frame) if sendable => {
                let redirect = self.hops.devices.get(&frame.ifindex).is_some_and(wants_redirect);
                Way::device(frame, if redirect { Delivery::REDIRECT } else { Delivery::DEVICE })
            }
            Some(_) | None => Way::STACK,
        }
    }

    /// The way out to an address, for a person.
    pub fn describe(&self, address: IpAddr) -> String {
        let way = self.way(address);
        if way != Way::STACK {
            let name = self.hops.devices.get(&way.ifindex).map_or("a device that is gone", |device| &device.name);
            return format!("xdp {name}");
        }
        match self.hops.hops.get(&address) {
            Some(Hop::Stack(StackReason::NoRoute)) => "stack: no route".to_owned(),
            Some(Hop::Stack(StackReason::Local)) => "stack: this host's own address".to_owned(),
            Some(Hop::Stack(StackReason::CannotTransmit { device })) => {
                format!("stack: {device} takes no frames from XDP")
            }
            Some(Hop::Stack(StackReason::Unresolved) | Hop::Device { .. }) => {
                "stack: the neighbour does not answer (yet)".to_owned()
            }
            None => "stack: not looked up yet".to_owned(),
        }
    }

    /// The flags of every device that has any.
    fn devices(&self) -> BTreeMap<u32, u32> {
        let all_skb = self.all_skb();
        let flags = |ifindex: &u32, device: &Device| {
            let transmit = device.can_transmit || all_skb && device.ethernet.is_some();
            let transmit = if transmit { DeviceFlags::TRANSMIT } else { 0 };
            let redirect = if wants_redirect(device) { DeviceFlags::REDIRECT } else { 0 };
            transmit | redirect | if self.attached.contains_key(ifindex) { DeviceFlags::ATTACHED } else { 0 }
        };
        let all = self.hops.devices.iter().map(|(&ifindex, device)| (ifindex, flags(&ifindex, device)));
        all.filter(|(_, flags)| *flags != 0).take(MAX_DEVICES).collect()
    }
}

/// Whether frames have to be redirected into a device also when they came in by it. A veth device sends frames back by
/// `XDP_TX` only when its peer has an XDP program (drivers/net/veth.c, veth_xdp_flush); a redirect wants less, and its
/// `can_transmit` tells.
fn wants_redirect(device: &Device) -> bool {
    device.kind.as_deref() == Some("veth")
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
