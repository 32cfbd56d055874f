//! The part of the books that a plan for some services needs, so that one change costs what it touches and not what there
//! is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use lb_common::abi::{EndpointFlags, ServiceFlags, VipKey};

use super::finding::replies;
use super::ids::Ids;
use super::state::{State, listens};
use crate::address::show;
use crate::desired::Desired;
use crate::vip::Vip;

/// What a plan is made for.
pub(super) struct Part {
    /// The services; `None` is all of them, with whatever else the books have.
    pub(super) scope: Option<BTreeSet<Vip>>,
    /// Where their backends listen, as they are and as they shall be.
    /// In order, each once.
    sockets: Vec<VipKey>,
    /// Flags of services that share a backend with them, which they have because of yet others.
    pub(super) elsewhere: BTreeMap<Vip, u32>,
}

impl Part {
    /// All of it.
    pub(super) const fn whole() -> Self {
        Self { scope: None, sockets: Vec::new(), elsewhere: BTreeMap::new() }
    }

    /// Whether a service is one that the plan is for.
    pub(super) fn has(&self, vip: &Vip) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.contains(vip))
    }

    /// Whether the plan sees everybody who listens there.
    pub(super) fn covers(&self, at: &VipKey) -> bool {
        self.scope.is_none() || self.sockets.binary_search(at).is_ok()
    }

    /// The part for these services, and the books of it: theirs, and those of services that share a backend with them,
    /// which have to know.
    pub(super) fn of(scope: &BTreeSet<Vip>, desired: &Desired, whole: &State) -> (Self, State) {
        let mut sockets = Vec::new();
        let mut state = whole.without_services();
        for vip in scope {
            if let Some(service) = whole.services.get(vip) {
                sockets.extend(service.backends.keys().map(|at| listens(vip, at)));
                state.quic.extend(whole.quic.range(quic_of(service.id)).map(|(key, id)| (*key, *id)));
                state.services.insert(*vip, service.clone());
            }
            if let Some(service) = desired.services.get(vip) {
                sockets.extend(service.backends.keys().map(|at| listens(vip, at)));
            }
        }
        sockets.sort();
        sockets.dedup();
        let own: BTreeSet<u32> = state.services.values().map(|service| service.id).collect();
        let others = sockets.iter().flat_map(|at| whole.listening.at(at)).filter(|id| !own.contains(id));
        let sharing: BTreeSet<u32> = others.collect();
        let mut elsewhere = BTreeMap::new();
        // As a rule there are none, and nobody has to be looked for.
        if !sharing.is_empty() {
            for (vip, service) in whole.services.iter().filter(|(_, service)| sharing.contains(&service.id)) {
                let outside = service.backends.keys().map(|at| listens(vip, at));
                let outside = outside.filter(|at| sockets.binary_search(at).is_err());
                if outside.into_iter().any(|at| whole.is_shared_by_nat(&at)) {
                    elsewhere.insert(*vip, ServiceFlags::REMEMBER_REPLIES);
                }
                state.services.insert(*vip, service.clone());
            }
        }
        let endpoints = sockets.iter().filter_map(|at| Some((*at, *whole.endpoints.get(at)?)));
        state.endpoints = endpoints.collect();
        for at in &sockets {
            if whole.paths.contains(&at.address) {
                state.paths.insert(at.address);
            }
        }
        let backends = state.services.values().flat_map(|service| service.backends.values());
        for id in backends.map(|backend| backend.id) {
            if whole.unswept.contains(&id) {
                state.unswept.insert(id);
            }
            if whole.snat_unswept.contains(&id) {
                state.snat_unswept.insert(id);
            }
        }
        (Self { scope: Some(scope.clone()), sockets, elsewhere }, state)
    }
}

/// The keys of a service's server ids.
fn quic_of(service: u32) -> std::ops::Range<lb_common::abi::QuicKey> {
    use lb_common::abi::QuicKey;
    let first = |service| QuicKey { service, ..QuicKey::default() };
    first(service)..first(service + 1)
}

impl State {
    /// The books without what belongs to single services: that is copied as it is needed.
    fn without_services(&self) -> Self {
        let ids = Ids::clone;
        Self {
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            devices: self.devices.clone(),
            addresses: self.addresses.clone(),
            settings: self.settings,
            paths: BTreeSet::new(),
            quic: BTreeMap::new(),
            flow_limit: self.flow_limit,
            error_limit: self.error_limit,
            unswept: BTreeSet::new(),
            snat_unswept: BTreeSet::new(),
            snat_sources: self.snat_sources.clone(),
            begun: BTreeMap::new(),
            service_ids: ids(&self.service_ids),
            backend_ids: ids(&self.backend_ids),
            limit_ids: ids(&self.limit_ids),
            table_ids: ids(&self.table_ids),
            pool_ids: ids(&self.pool_ids),
            table_size: self.table_size,
            stride: self.stride,
            listening: super::listening::Listening::default(),
        }
    }

    /// Whether replies of several services that are known by the tables may come from there.
    fn is_shared_by_nat(&self, at: &VipKey) -> bool {
        if !self.listening.is_shared(at) {
            return false;
        }
        let of: BTreeSet<u32> = self.listening.at(at).collect();
        let socket: SocketAddr = show(at.address, at.port_bytes());
        let rows = self.services.values().filter(|service| of.contains(&service.id));
        let nat = rows.filter_map(|service| service.backends.get(&socket)).map(|backend| replies(&backend.row));
        nat.filter(|flags| flags & EndpointFlags::NAT != 0).count() > 1
    }

    /// Notes where all backends listen, for books that were read.
    pub(super) fn index(&mut self) {
        for (vip, service) in &self.services {
            for at in service.backends.keys() {
                self.listening.add(listens(vip, at), service.id);
            }
        }
    }
}
