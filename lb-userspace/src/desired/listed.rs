//! The backends of a service that its registry lists, as far as they can serve and there is room for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use lb_common::abi;

use super::{DesiredBackend, Ground, Roster, Vips, fitness};
use crate::config::{Config, Forward, Service};
use crate::plan::ServiceState;
use crate::server_id::ServerId;
use crate::source::Endpoint;

/// What there is room for.
pub(super) struct Room<'a> {
    /// Backends.
    pub(super) backends: usize,
    /// Pools of ports that nobody has.
    pub(super) pools: &'a mut usize,
    /// The service as the data plane has it.
    pub(super) held: Option<&'a ServiceState>,
    /// There was not enough.
    pub(super) short: bool,
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

/// The backends of a service that its registry lists, as far as they can serve; `problems` gets what had to be left out.
pub(super) fn backends(
    config: &Config,
    service: &Service,
    roster: &Roster,
    ground: &Ground,
    vips: &Vips,
    room: &mut Room<'_>,
    problems: &mut Vec<String>,
) -> BTreeMap<SocketAddr, DesiredBackend> {
    // In order, so that a map of them is made at once, and full.
    let mut backends: Vec<(SocketAddr, DesiredBackend)> = Vec::with_capacity(roster.endpoints.len());
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
    let of_family = |endpoint: &Endpoint| endpoint.address.is_ipv4() == service.vip.address.is_ipv4();
    let mut endpoints: Vec<&Endpoint> = roster.endpoints.iter().collect();
    if !endpoints.iter().all(|endpoint| of_family(endpoint)) {
        // Who has an address of either family is reached at that of the VIP's.
        let ids: BTreeSet<&str> = endpoints.iter().filter(|one| of_family(one)).map(|one| &*one.id).collect();
        endpoints.retain(|endpoint| of_family(endpoint) || !ids.contains(&*endpoint.id));
    }
    // Whatever the order of the answer, the same ones are taken.
    endpoints.sort_by(|a, b| (a.address, a.port, &a.id).cmp(&(b.address, b.port, &b.id)));
    let mut last = None;
    let mut named: BTreeSet<ServerId> = BTreeSet::new();
    for endpoint in endpoints {
        let listens = SocketAddr::new(endpoint.address, endpoint.port);
        let forward = fitness::forward(service, endpoint);
        if let Some(reason) = fitness::unfit(config, service, endpoint, vips) {
            problems.push(format!("backend {} at {listens} is left out: {reason}", endpoint.id));
        } else if last == Some(listens) {
            problems.push(format!("backend {} at {listens} is left out: another one listens there", endpoint.id));
        } else if backends.len() == room.backends {
            room.short = true;
            problems.push(format!(
                "backend {} at {listens} and those after it are left out: the maps were made for fewer backends; \
                 raise `max_backends` under [weir] and start anew",
                endpoint.id
            ));
            break;
        } else if forward == Forward::Snat && !room.has_ports(&listens) {
            room.short = true;
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
            backends.push((
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
            ));
        }
    }
    backends.into_iter().collect()
}
