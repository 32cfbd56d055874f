//! The desired state: what the registries, the configuration and the kernel's routes together ask for.

mod addresses;
mod doubts;
mod fitness;
mod ground;
mod kept;
mod listed;
mod roster;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::abi;
use lb_common::{Address, hash};

pub use addresses::settings;
pub use fitness::Vips;
pub use ground::{Ground, Way};
pub use roster::Roster;

use crate::address::vip_key;
use crate::config::{Config, Forward, Service};
use crate::limiter;
use crate::orders::Orders;
use crate::plan::State;
use crate::server_id::ServerId;
use crate::vip::Vip;
use listed::Room;

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
    /// From where it may be used: `Service::networks`.
    pub networks: u32,
    /// Its limits, in the order in which packets meet them.
    pub limits: Vec<abi::Limit>,
    /// Its backends, by where they listen: that is what their connections are with.
    pub backends: BTreeMap<SocketAddr, DesiredBackend>,
    /// Backends whose connections are not kept: their slots are handed over at once.
    pub cut: BTreeSet<SocketAddr>,
    /// It is not in the configuration any more: it goes when its last connection has.
    pub retires: bool,
    /// Whether some of its backends are reached by tunnels.
    pub tunnels: bool,
    /// It is in step and at rest: its backends are those of the books, and are not kept a second time.
    pub rests: bool,
}

impl DesiredService {
    /// Notes that it is in step and at rest.
    pub(crate) fn rest(&mut self) {
        (self.backends, self.rests) = (BTreeMap::new(), true);
    }
}

/// A backend as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredBackend {
    /// What the registry calls it.
    pub id: Arc<str>,
    /// Its share of new flows as it is meant to be.
    pub weight: u16,
    /// Its share at this moment, in units of 1/[`Backend::WEIGHT_ONE`](abi::Backend::WEIGHT_ONE) of a weight.
    pub share: u32,
    /// Nobody lists it any more: it goes when its last connection has.
    pub lingers: bool,
    /// The failure domain it is in.
    pub zone: Option<Arc<str>>,
    /// How packets reach it.
    pub forward: Forward,
    /// The server id that connection ids name it by, where the service routes such of its length.
    pub server_id: Option<ServerId>,
    /// The way out.
    pub way: Way,
}

impl DesiredBackend {
    /// One with all of its weight, of which no more is known.
    pub fn new(id: impl Into<Arc<str>>, weight: u16, forward: Forward, way: Way) -> Self {
        let share = u32::from(weight) * abi::Backend::WEIGHT_ONE;
        Self { id: id.into(), weight, share, lingers: false, zone: None, forward, server_id: None, way }
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
    let mut desired = Desired::default();
    let mut problems: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut merging = Merging::new(config, ground, orders, state);
    for service in &config.services {
        let Some(roster) = rosters.get(&service.name) else { continue };
        let merged = merging.service(service, roster);
        if !merged.problems.is_empty() {
            problems.insert(service.name.clone(), merged.problems);
        }
        desired.services.insert(service.vip, merged.service);
    }
    for vip in state.services.keys() {
        if !desired.services.contains_key(vip) {
            desired.services.insert(*vip, merging.retired(vip, |_| false));
        }
    }
    desired.around(config, ground, state);
    (desired, problems)
}

/// One service as it shall be, and what else is to know of it.
#[derive(Debug)]
pub struct Merged {
    /// The service.
    pub service: DesiredService,
    /// What had to be left out, or may be wrong.
    pub problems: Vec<String>,
    /// How many of its backends count against the most that there may be.
    pub taken: usize,
    /// There was no room for some of them, which depends on other services.
    pub short: bool,
}

/// Services being merged, one by one, in the order of the configuration.
pub struct Merging<'a> {
    config: &'a Config,
    ground: &'a Ground,
    orders: &'a Orders,
    state: &'a State,
    /// The devices whose packets are seen.
    seen: BTreeSet<&'a str>,
    vips: Vips,
    /// How many backends there is still room for.
    left: usize,
    /// How many pools of ports nobody has yet.
    pools: usize,
}

impl<'a> Merging<'a> {
    /// Before the first service.
    pub fn new(config: &'a Config, ground: &'a Ground, orders: &'a Orders, state: &'a State) -> Self {
        Self {
            config,
            ground,
            orders,
            state,
            seen: ground.seen(),
            vips: Vips::of(config),
            left: config.weir.max_backends as usize,
            pools: state.free_pools(),
        }
    }

    /// Goes on past a service that was merged before, and counts so many backends, if there is still room for them.
    pub const fn skip(&mut self, taken: usize) -> bool {
        let fits = taken <= self.left;
        if fits {
            self.left -= taken;
        }
        fits
    }

    /// A service of the configuration, and what its registry says.
    pub fn service(&mut self, service: &Service, roster: &Roster) -> Merged {
        let held = self.state.services.get(&service.vip);
        let mut problems = Vec::new();
        let mut room = Room { backends: self.left, pools: &mut self.pools, held, short: false };
        let mut backends =
            listed::backends(self.config, service, roster, self.ground, &self.vips, &mut room, &mut problems);
        let (taken, short) = (backends.len(), room.short);
        self.left -= taken;
        if let (true, Some(held)) = (roster.remembered, held) {
            kept::stay_half_way(&mut backends, held);
        }
        let mut cut = self.orders.carry_out(&service.vip, &mut backends);
        if roster.authoritative && !roster.remembered {
            let named: BTreeSet<SocketAddr> =
                roster.endpoints.iter().map(|one| SocketAddr::new(one.address, one.port)).collect();
            cut.extend(held.into_iter().flat_map(|held| held.backends.keys()).filter(|at| !named.contains(at)));
        }
        problems.extend(doubts::doubts(self.config, service, &backends, self.ground, &self.seen));
        let key = vip_key(&service.vip);
        let wanted = DesiredService {
            name: service.name.clone(),
            seed: hash::seed(self.config.weir.hash_seed, key.address, key.port_bytes(), key.protocol),
            quic: service.quic.map_or(abi::QuicIds::NONE, |quic| quic.ids()),
            networks: 0,
            limits: limiter::in_order(&service.limits).iter().map(limiter::compile).collect(),
            backends,
            cut,
            retires: false,
            tunnels: false,
            rests: false,
        };
        Merged { service: self.finish(&service.vip, wanted), problems, taken, short }
    }
}

impl Desired {
    /// Adds what belongs to no single service, and follows from those that are here.
    pub fn around(&mut self, config: &Config, ground: &Ground, state: &State) {
        self.devices = ground.devices();
        self.addresses = addresses::addresses(config, self);
        self.settings = settings(config, self, ground, state);
        self.own_addresses();
    }
}
