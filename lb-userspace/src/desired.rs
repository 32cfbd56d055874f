//! The desired state: what the registries, the configuration and the kernel's routes together ask for.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lb_common::abi::{self, Delivery, DeviceFlags};
use lb_common::hash;

use crate::address::vip_key;
use crate::config::{Config, Service};
use crate::limiter;
use crate::nexthop::{Hop, NextHops, StackReason};
use crate::source::Endpoint;
use crate::vip::Vip;

/// Everything the data plane shall hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// By VIP.
    pub services: BTreeMap<Vip, DesiredService>,
    /// `DeviceFlags` by device index.
    pub devices: BTreeMap<u32, u32>,
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
    /// Its backends.
    pub backends: BTreeMap<BackendKey, DesiredBackend>,
}

/// What makes a backend the same one from one snapshot to the next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendKey {
    /// Where it listens.
    pub listens: SocketAddr,
    /// The registry's identity of it.
    pub id: String,
}

/// A backend as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredBackend {
    /// Its share of new flows.
    pub weight: u16,
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

    fn of(hop: Option<&Hop>) -> Self {
        match hop {
            Some(&Hop::Device { ifindex, source, destination, mtu }) => {
                Self { delivery: Delivery::DEVICE, ifindex, mtu, mac_destination: destination, mac_source: source }
            }
            Some(Hop::Stack(_)) | None => Self::STACK,
        }
    }
}

/// What the registries said of a service, after doubts were settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The endpoints that stand: the last ones, or the last good ones.
    pub endpoints: Vec<Endpoint>,
    /// Why the last answer was not taken, when it was not.
    pub held: Option<String>,
}

impl Roster {
    /// Takes what a registry says now. An answer without any endpoint removes nothing: a registry that was emptied by
    /// accident, or lies, must not take a service down. Deliberate removal is done where the service is configured.
    pub fn hear(&mut self, said: Option<&Vec<Endpoint>>) {
        let said = said.map(Vec::as_slice).unwrap_or_default();
        if said.is_empty() && !self.endpoints.is_empty() {
            self.held = Some(format!(
                "the registry names no backend any more; the last {} stand. To stop the service remove it from the \
                 configuration, to stop new flows set the weights to 0",
                self.endpoints.len()
            ));
            return;
        }
        self.held = None;
        self.endpoints = said.to_vec();
    }
}

/// Merges everything into the desired state, and says what had to be left out.
pub fn merge(
    config: &Config,
    rosters: &BTreeMap<String, Roster>,
    hops: &NextHops,
    attached: &BTreeMap<u32, bool>,
    max_backends: u32,
) -> (Desired, BTreeMap<String, Vec<String>>) {
    let mut desired = Desired { devices: devices(hops, attached), ..Desired::default() };
    let mut problems: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut left = max_backends as usize;
    for service in &config.services {
        let (backends, mut said) = backends(config, service, rosters.get(&service.name), hops, left);
        left -= backends.len();
        said.extend(unattached(&backends, hops, attached));
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
            },
        );
    }
    (desired, problems)
}

fn backends(
    config: &Config,
    service: &Service,
    roster: Option<&Roster>,
    hops: &NextHops,
    left: usize,
) -> (BTreeMap<BackendKey, DesiredBackend>, Vec<String>) {
    let mut backends: BTreeMap<BackendKey, DesiredBackend> = BTreeMap::new();
    let mut problems = Vec::new();
    let Some(roster) = roster else { return (backends, problems) };
    problems.extend(roster.held.clone());
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
                BackendKey { listens, id: endpoint.id.clone() },
                DesiredBackend {
                    weight: endpoint.weight,
                    zone: endpoint.zone.clone(),
                    way: Way::of(hops.hops.get(&endpoint.address)),
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
fn unattached(
    backends: &BTreeMap<BackendKey, DesiredBackend>,
    hops: &NextHops,
    attached: &BTreeMap<u32, bool>,
) -> Option<String> {
    let names: Vec<&str> =
        attached.keys().filter_map(|ifindex| hops.devices.get(ifindex)).map(|device| device.name.as_str()).collect();
    let mut astray = backends.keys().filter_map(|key| {
        let local = matches!(hops.hops.get(&key.listens.ip()), Some(Hop::Stack(StackReason::Local)));
        let via = hops.via.get(&key.listens.ip())?;
        (!local && !names.contains(&via.as_str())).then_some((key, via))
    });
    let (key, via) = astray.next()?;
    let more = astray.count();
    Some(format!(
        "backend {} at {}{} is reached by {via}, to which Weir is not attached: its replies will not be translated \
         back; add an [[interface]] named {via:?}",
        key.id,
        key.listens,
        if more > 0 { format!(" (and {more} more)") } else { String::new() },
    ))
}

/// The flags of every device; `attached` says whether Weir's program runs in a device's driver.
fn devices(hops: &NextHops, attached: &BTreeMap<u32, bool>) -> BTreeMap<u32, u32> {
    hops.devices
        .iter()
        .filter_map(|(&ifindex, device)| {
            let mut flags = 0;
            if device.can_transmit {
                flags |= DeviceFlags::TRANSMIT;
            }
            if attached.contains_key(&ifindex) {
                flags |= DeviceFlags::ATTACHED;
            }
            (flags != 0).then_some((ifindex, flags))
        })
        .collect()
}

/// The addresses whose next hops matter.
pub fn addresses(rosters: &BTreeMap<String, Roster>) -> impl Iterator<Item = IpAddr> {
    rosters.values().flat_map(|roster| roster.endpoints.iter().map(|endpoint| endpoint.address))
}
