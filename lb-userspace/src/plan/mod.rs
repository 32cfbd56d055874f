//! From desired state to a list of operations: a pure difference.
//!
//! Leaves first: backends, then the table, then what points at it; removal goes the other way. A plan that stops
//! half-way leaves a data plane in which every packet finds either the old or the new, and the books say how far it
//! came: the next plan goes on from there.

mod ids;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use lb_common::abi::{Backend, Endpoint, MAX_LIMITS, Service, ServiceFlags, VipKey};

pub use state::{BackendState, ServiceState, State, Step};

use crate::address::{key, vip_key};
use crate::dataplane::Op;
use crate::desired::{Desired, DesiredService, Way};
use crate::maglev;
use crate::vip::Vip;
use state::Entry;

/// The steps from what the data plane holds to what it shall hold; empty when it holds just that.
///
/// # Errors
/// When a map is too small for what is desired. Nothing has been changed then.
pub fn plan(desired: &Desired, state: &State) -> Result<Vec<Step>> {
    let mut planner = Planner { after: state.clone(), steps: Vec::new() };
    planner.devices(&desired.devices);
    for (vip, service) in &desired.services {
        planner.backends(vip, service)?;
    }
    let endpoints = planner.endpoints(desired);
    let sharing = sharing(&endpoints);
    // A service remembers its flows from before a reply asks for them until no packet goes to a shared backend.
    planner.remember_flows(&sharing, true);
    planner.put_endpoints(&endpoints);
    for (vip, service) in &desired.services {
        planner.table(vip, service)?;
        planner.publish(vip);
    }
    planner.remember_flows(&sharing, false);
    planner.remove(desired, &endpoints);
    Ok(planner.steps)
}

/// Plans on books that are already as they will be.
struct Planner {
    after: State,
    steps: Vec<Step>,
}

/// A backend's endpoint, and every service it serves.
struct Shared {
    endpoint: Endpoint,
    services: BTreeSet<Vip>,
}

impl Planner {
    fn step(&mut self, op: Op, entry: Entry) {
        let step = Step { op, entry };
        self.after.record(&step);
        self.steps.push(step);
    }

    fn devices(&mut self, desired: &BTreeMap<u32, u32>) {
        for (&ifindex, &flags) in desired {
            if self.after.devices.get(&ifindex) != Some(&flags) {
                self.step(Op::PutDevice { ifindex, flags }, Entry::Device(ifindex, Some(flags)));
            }
        }
        let gone: Vec<u32> =
            self.after.devices.keys().filter(|ifindex| !desired.contains_key(ifindex)).copied().collect();
        for ifindex in gone {
            self.step(Op::RemoveDevice { ifindex }, Entry::Device(ifindex, None));
        }
    }

    /// The service's head, and its backends' rows.
    fn backends(&mut self, vip: &Vip, desired: &DesiredService) -> Result<()> {
        if !self.after.services.contains_key(vip) {
            self.service(vip, desired)?;
        }
        let Some(service) = self.after.services.get(vip).cloned() else { return Ok(()) };
        for (key, backend) in &desired.backends {
            let row = row(key.listens, service.id, &backend.way);
            let (id, op) = match service.backends.get(key) {
                None => {
                    let id = self.after.backend_ids.take().context("the map of backends is full")?;
                    (id, Op::PutBackend { id, backend: row })
                }
                Some(known) if known.row != row => (known.id, Op::MoveBackend { id: known.id, backend: row }),
                Some(_) => continue,
            };
            self.step(op, Entry::Backend(*vip, key.clone(), BackendState { id, row }));
        }
        Ok(())
    }

    fn service(&mut self, vip: &Vip, desired: &DesiredService) -> Result<()> {
        let id = self.after.service_ids.take().context("the map of services is full")?;
        let mut head = Service { vip: vip_key(vip), seed: desired.seed, ..Service::default() };
        let mut limits = Vec::new();
        for (&limit, place) in desired.limits.iter().zip(&mut head.limits) {
            let id = self.after.limit_ids.take().context("the map of limits is full")?;
            *place = id + 1;
            limits.push(id);
            self.step(Op::PutLimit { id, limit }, Entry::Nothing);
        }
        debug_assert!(desired.limits.len() <= MAX_LIMITS);
        let state = ServiceState {
            name: desired.name.clone(),
            id,
            head,
            limits,
            backends: BTreeMap::new(),
            built: BTreeMap::new(),
            slots: BTreeMap::new(),
            published: false,
        };
        self.step(Op::PutService { id, head }, Entry::Service(*vip, Box::new(state)));
        Ok(())
    }

    /// Where backends listen that are desired, and whom they serve. The endpoint of several services stays with the
    /// one it was known for, or else goes to the first.
    fn endpoints(&self, desired: &Desired) -> BTreeMap<VipKey, Shared> {
        let mut endpoints: BTreeMap<VipKey, Shared> = BTreeMap::new();
        for (vip, service) in &desired.services {
            let Some(state) = self.after.services.get(vip) else { continue };
            for backend_key in service.backends.keys() {
                let Some(backend) = state.backends.get(backend_key) else { continue };
                let listens = key(backend_key.listens.ip(), backend_key.listens.port(), vip.protocol);
                let endpoint = Endpoint { service: state.id, backend: backend.id };
                let stays = self.after.endpoints.get(&listens) == Some(&endpoint);
                let shared = endpoints.entry(listens).or_insert_with(|| Shared { endpoint, services: BTreeSet::new() });
                shared.services.insert(*vip);
                if stays {
                    shared.endpoint = endpoint;
                }
            }
        }
        endpoints
    }

    /// Has the services that share backends remember their flows; or, with `on` false, the others not.
    fn remember_flows(&mut self, sharing: &BTreeSet<Vip>, on: bool) {
        let flags = if on { ServiceFlags::REMEMBER_FLOWS } else { 0 };
        let changed: Vec<(Vip, u32)> = self
            .after
            .services
            .iter()
            .filter(|(vip, service)| sharing.contains(vip) == on && service.head.flags != flags)
            .map(|(vip, service)| (*vip, service.id))
            .collect();
        for (vip, service) in changed {
            self.step(Op::SetFlags { service, flags }, Entry::Flags(vip, flags));
        }
    }

    fn put_endpoints(&mut self, endpoints: &BTreeMap<VipKey, Shared>) {
        for (&listens, shared) in endpoints {
            let endpoint = shared.endpoint;
            if self.after.endpoints.get(&listens) != Some(&endpoint) {
                self.step(Op::PutEndpoint { listens, endpoint }, Entry::Endpoint(listens, Some(endpoint)));
            }
        }
    }

    /// The Maglev table, when the set of backends or a weight is another one than it was built for.
    fn table(&mut self, vip: &Vip, desired: &DesiredService) -> Result<()> {
        let Some(service) = self.after.services.get(vip) else { return Ok(()) };
        let entries: Vec<maglev::Entry> = desired
            .backends
            .iter()
            .filter_map(|(key, backend)| {
                let id = service.backends.get(key)?.id;
                Some(maglev::Entry { id, listens: (key.listens.ip(), key.listens.port()), weight: backend.weight })
            })
            .collect();
        let wanted: BTreeMap<u32, u16> = entries.iter().map(|entry| (entry.id, entry.weight)).collect();
        if wanted == service.built {
            return Ok(());
        }
        let id = service.id;
        let slots: Arc<[u32]> = maglev::build(&entries, self.after.table_size).into();
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for &slot in slots.iter() {
            *counts.entry(slot).or_default() += 1;
        }
        let table = if slots.is_empty() {
            self.after.table(0, 0)
        } else {
            let place = self.after.table_ids.take().context("there is no room for another table")?;
            let table = self.after.table(place, self.after.table_size);
            self.step(Op::WriteTable { table, slots }, Entry::Nothing);
            table
        };
        self.step(Op::Publish { service: id, table }, Entry::Table { vip: *vip, table, built: wanted, slots: counts });
        Ok(())
    }

    fn publish(&mut self, vip: &Vip) {
        let Some(service) = self.after.services.get(vip) else { return };
        if !service.published {
            let service = service.id;
            self.step(Op::PutVip { vip: vip_key(vip), service }, Entry::Published(*vip, true));
        }
    }

    /// What is not desired any more: first what finds it, then itself.
    fn remove(&mut self, desired: &Desired, endpoints: &BTreeMap<VipKey, Shared>) {
        let services: Vec<(Vip, ServiceState)> =
            self.after.services.iter().map(|(vip, service)| (*vip, service.clone())).collect();
        for (vip, service) in &services {
            if !desired.services.contains_key(vip) && service.published {
                self.step(Op::RemoveVip { vip: vip_key(vip) }, Entry::Published(*vip, false));
            }
        }
        let forgotten: Vec<VipKey> =
            self.after.endpoints.keys().filter(|listens| !endpoints.contains_key(listens)).copied().collect();
        for listens in forgotten {
            self.step(Op::RemoveEndpoint { listens }, Entry::Endpoint(listens, None));
        }
        for (vip, service) in services {
            let wanted = desired.services.get(&vip);
            for (key, backend) in &service.backends {
                if wanted.is_none_or(|wanted| !wanted.backends.contains_key(key)) {
                    self.step(Op::RemoveBackend { id: backend.id }, Entry::NoBackend(vip, key.clone()));
                }
            }
            if wanted.is_none() {
                self.step(Op::RemoveService { id: service.id }, Entry::NoService(vip));
            }
        }
    }
}

/// The services that have a backend in common with another one.
fn sharing(endpoints: &BTreeMap<VipKey, Shared>) -> BTreeSet<Vip> {
    let shared = endpoints.values().filter(|shared| shared.services.len() > 1);
    shared.flat_map(|shared| shared.services.iter().copied()).collect()
}

/// A backend's row.
fn row(listens: SocketAddr, service: u32, way: &Way) -> Backend {
    Backend {
        address: listens.ip().into(),
        port: u16::from_ne_bytes(listens.port().to_be_bytes()),
        delivery: way.delivery,
        ifindex: way.ifindex,
        mtu: way.mtu,
        mac_destination: way.mac_destination,
        mac_source: way.mac_source,
        service,
        version: 0,
        pad: [0; 3],
    }
}
