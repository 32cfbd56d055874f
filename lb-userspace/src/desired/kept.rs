//! What the data plane holds of a service, where that counts beside what its registry says: services that nobody declares
//! any more, or not yet, backends that nobody lists any more, and how others are reached.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lb_common::abi;

use super::{DesiredBackend, DesiredService, Ground, Merging, Way};
use crate::orders::Orders;
use crate::plan::{BackendState, ServiceState, State, weight_of};
use crate::ramp;
use crate::server_id::ServerId;
use crate::vip::Vip;

impl Merging<'_> {
    /// A service that the data plane holds and the configuration does not have. What listened at addresses that are gone
    /// is cut.
    pub fn retired(&self, vip: &Vip, is_gone: impl Fn(IpAddr) -> bool) -> DesiredService {
        let Some(held) = self.state.services.get(vip) else { return DesiredService::default() };
        let retired = DesiredService {
            cut: held.backends.keys().copied().filter(|listens| is_gone(listens.ip())).collect(),
            retires: true,
            ..without_backends(held)
        };
        self.finish(vip, retired)
    }

    /// A service as the data plane holds it: one that a registry may have created that has not spoken yet.
    pub fn as_held(&self, vip: &Vip) -> DesiredService {
        let Some(held) = self.state.services.get(vip) else { return DesiredService::default() };
        let servers = self.state.server_ids(held.id);
        let backends = held.backends.iter();
        let as_held = DesiredService {
            backends: backends.map(|(at, one)| (*at, backend_as_held(at, one, &servers, self.ground))).collect(),
            ..without_backends(held)
        };
        self.finish(vip, as_held)
    }

    /// Adds what the data plane holds.
    pub(super) fn finish(&self, vip: &Vip, mut service: DesiredService) -> DesiredService {
        if let Some(held) = self.state.services.get(vip) {
            linger(&mut service, vip, held, self.state, self.ground, self.orders);
            stay_on_their_way(&mut service, held, self.ground);
        }
        service.tunnels = service.backends.values().any(|backend| backend.forward.is_tunnel());
        service
    }
}

/// A service as the data plane holds it, but for its backends.
fn without_backends(held: &ServiceState) -> DesiredService {
    DesiredService {
        name: held.name.clone(),
        seed: held.head.seed,
        quic: held.head.quic,
        networks: held.head.networks,
        limits: held.limits.iter().map(|limit| limit.limit).collect(),
        ..DesiredService::default()
    }
}

/// A backend as the data plane holds it, where it listens; its server id is that of its number in `servers`.
fn backend_as_held(
    listens: &SocketAddr,
    held: &BackendState,
    servers: &BTreeMap<u32, ServerId>,
    ground: &Ground,
) -> DesiredBackend {
    let forward = held.forward();
    DesiredBackend {
        id: held.name.clone(),
        weight: weight_of(held.row.weight),
        share: held.row.weight,
        lingers: false,
        zone: None,
        forward,
        server_id: servers.get(&held.id).copied(),
        way: ground.way(listens.ip(), forward),
    }
}

/// Leaves backends that are on their way up where they are: how far up it goes only their registry knows.
pub(super) fn stay_half_way(backends: &mut BTreeMap<SocketAddr, DesiredBackend>, held: &ServiceState) {
    for (listens, backend) in backends {
        let share = held.backends.get(listens).map_or(0, |held| held.row.weight);
        if ramp::is_ramping(share) {
            backend.share = share;
        }
    }
}

/// Leaves the way out to a backend as the data plane has it until its address has been looked up: whoever adopts what is
/// there knows of no next hop yet, and the stack may not let pass what XDP sends.
fn stay_on_their_way(service: &mut DesiredService, held: &ServiceState, ground: &Ground) {
    for (listens, backend) in &mut service.backends {
        if ground.hops.get(&listens.ip()).is_some() {
            continue;
        }
        let row = held.backends.get(listens).map(|held| &held.row);
        // Not for packets that were forwarded in another way.
        let same = |row: &&abi::Backend| row.ifindex != u32::MAX && row.forward == backend.forward.number();
        if let Some(row) = row.filter(same) {
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

/// Adds what the data plane holds of a service and nobody lists any more.
fn linger(
    service: &mut DesiredService,
    vip: &Vip,
    held: &ServiceState,
    state: &State,
    ground: &Ground,
    orders: &Orders,
) {
    let stays = |listens: &SocketAddr| !service.backends.contains_key(listens) && !service.cut.contains(listens);
    let left: Vec<(&SocketAddr, &BackendState)> = held.backends.iter().filter(|(at, _)| stays(at)).collect();
    let servers = if left.is_empty() { BTreeMap::new() } else { state.server_ids(held.id) };
    for (listens, backend) in left {
        let as_held = backend_as_held(listens, backend, &servers, ground);
        let lingering = DesiredBackend { weight: 0, share: 0, lingers: true, ..as_held };
        service.backends.insert(*listens, lingering);
    }
    // What was ordered holds to the end.
    let cut = orders.carry_out(vip, &mut service.backends);
    service.cut.extend(cut);
}
