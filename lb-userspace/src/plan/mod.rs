//! From desired state to a list of operations: a pure difference.
//!
//! Leaves first: backends, then the table, then what points at it; removal goes the other way. A plan that stops
//! half-way leaves a data plane in which every packet finds either the old or the new, and the books say how far it
//! came: the next plan goes on from there.
//!
//! A slot whose backend changes begins to hand over ([`retarget`]). A backend that is not desired any more is removed
//! by a later plan: when no slot names it and no remembered flow goes to it.

mod adopt;
mod aim;
mod around;
mod finding;
mod held;
mod ids;
mod leaving;
mod limits;
mod listening;
mod networks;
mod part;
mod preview;
mod retarget;
mod state;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use lb_common::abi::{Backend, ERROR_LIMIT, Endpoint, FLOW_LIMIT, Lane, QuicKey, Service, Slot, Table, VipKey};

pub use adopt::{Adopted, adopt};
pub use held::{BackendState, LimitState, ServiceState, SlotCount};
pub use preview::{Preview, PreviewedBackend, PreviewedService, preview, weight_of};
pub use retarget::{begins, retarget};
pub use state::{State, Step};

use crate::address::vip_key;
use crate::config::Forward;
use crate::dataplane::Op;
use crate::desired::{Desired, DesiredBackend, DesiredService};
use crate::vip::Vip;
use finding::Finding;
use held::NO_POOL;
use leaving::Leaving;
use part::Part;
use state::Entry;

/// How many endpoints are put at once.
const ENDPOINTS: usize = 4096;

/// Reads the slots of a table that the data plane holds.
pub type ReadSlots<'a> = &'a dyn Fn(Table) -> Result<Vec<Slot>>;

/// The steps from what the data plane holds to what it shall hold; empty when it holds just that.
///
/// # Errors
/// When a map is too small for what is desired, or a table cannot be read. Nothing has been changed then.
pub fn plan(desired: &Desired, state: &State, slots: ReadSlots<'_>) -> Result<Vec<Step>> {
    plan_whole(desired, state, slots).map(|planned| planned.steps)
}

/// As [`plan`], and how the books will be.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_whole(desired: &Desired, state: &State, slots: ReadSlots<'_>) -> Result<Planned> {
    plan_on(desired, state, (Part::whole(), state.clone()), slots)
}

/// The steps for some services alone, and for what belongs to no single one: as [`plan`] where the others are in step
/// already. It costs what is planned for, and not what there is.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_part(
    desired: &Desired,
    state: &State,
    scope: &BTreeSet<Vip>,
    slots: ReadSlots<'_>,
) -> Result<Planned> {
    plan_on(desired, state, Part::of(scope, desired, state), slots)
}

/// A plan.
#[derive(Debug)]
pub(crate) struct Planned {
    /// The steps.
    pub(crate) steps: Vec<Step>,
    /// The services as the books will have them after these: all that the plan is for.
    services: BTreeMap<Vip, ServiceState>,
}

fn plan_on(desired: &Desired, state: &State, of: (Part, State), slots: ReadSlots<'_>) -> Result<Planned> {
    let (part, after) = of;
    let leaving = Leaving::of(desired, &after, &part);
    let mut planner = Planner { after, part, steps: Vec::new(), slots, changing: BTreeMap::new() };
    let addresses = planner.addresses_of(desired, &leaving, state);
    planner.devices(&desired.devices);
    planner.addresses(&addresses, true);
    planner.settings(desired);
    if let Some(limit) = desired.flow_limit.filter(|limit| state.flow_limit != Some(*limit)) {
        planner.step(Op::PutLimit { id: FLOW_LIMIT, limit }, Entry::FlowLimit(limit));
    }
    if let Some(limit) = desired.error_limit.filter(|limit| state.error_limit != Some(*limit)) {
        planner.step(Op::PutLimit { id: ERROR_LIMIT, limit }, Entry::ErrorLimit(limit));
    }
    let services: Vec<(&Vip, &DesiredService)> =
        planner.in_part(desired).filter(|(vip, _)| !leaving.services.contains(vip)).collect();
    for (vip, service) in &services {
        planner.backends(vip, service, &leaving)?;
    }
    let servers = planner.quic_servers_of(desired, &leaving);
    planner.put_quic_servers(&servers);
    // A service remembers its replies from before one asks for them until no packet goes to a shared backend; flows of
    // snat, and where replies come from, are known before there are such.
    let finding = planner.finding(&leaving);
    planner.flags(&finding, true);
    planner.put_endpoints(&finding);
    let rows_change = !planner.changing.is_empty();
    planner.change_forwarding();
    let mut tables = planner.tables(&services, &leaving)?;
    for (vip, service) in services {
        planner.limits(vip, service)?;
        planner.networks(vip, service);
        if let Some(table) = tables.remove(vip) {
            planner.table(vip, table)?;
        }
        planner.quic_ids(vip, service);
        planner.publish(vip);
    }
    // What rows say of replies is what they will say, unless it was both.
    let finding = if rows_change { planner.finding(&leaving) } else { finding };
    planner.put_endpoints(&finding);
    planner.flags(&finding, false);
    planner.remove(&leaving, &finding, &servers);
    planner.addresses(&addresses, false);
    planner.forget_paths(state);
    Ok(Planned { steps: planner.steps, services: planner.after.services })
}

/// The steps that change single slots of a service's table, given the table as it is.
pub fn settle(vip: &Vip, service: &ServiceState, table: &mut [Slot], changes: Vec<(u32, Slot)>) -> Step {
    for &(number, slot) in &changes {
        if let Some(place) = table.get_mut(number as usize) {
            *place = slot;
        }
    }
    let op = Op::WriteSlots { table: Table::unpack(service.head.table), slots: changes.into() };
    Step { op, entry: Entry::Slots { vip: *vip, slots: SlotCount::of(table) } }
}

/// Plans on books that are already as they will be.
struct Planner<'a> {
    after: State,
    part: Part,
    steps: Vec<Step>,
    slots: ReadSlots<'a>,
    /// Rows of backends that packets find, and will be forwarded to in another way.
    changing: BTreeMap<(Vip, SocketAddr), Backend>,
}

impl Planner<'_> {
    /// The services that are desired, of those that the plan is for.
    fn in_part<'d>(&self, desired: &'d Desired) -> impl Iterator<Item = (&'d Vip, &'d DesiredService)> + use<'d> {
        let all = self.part.scope.is_none().then_some(&desired.services);
        let some: Vec<_> = match &self.part.scope {
            Some(scope) => scope.iter().filter_map(|vip| desired.services.get_key_value(vip)).collect(),
            None => Vec::new(),
        };
        all.into_iter().flatten().chain(some)
    }

    fn step(&mut self, op: Op, entry: Entry) {
        self.after.enter(entry.clone());
        self.steps.push(Step { op, entry });
    }

    /// The service's head, and its backends' rows.
    fn backends(&mut self, vip: &Vip, desired: &DesiredService, leaving: &Leaving) -> Result<()> {
        if !self.after.services.contains_key(vip) {
            self.service(vip, desired)?;
        }
        let Some(service) = self.after.services.get(vip).map(|service| service.id) else { return Ok(()) };
        for (listens, backend) in &desired.backends {
            if leaving.backends.contains(&(*vip, *listens)) {
                continue;
            }
            let known = self.after.services.get(vip).and_then(|service| service.backends.get(listens)).cloned();
            let pool = self.pool(known.as_ref(), backend.forward)?;
            let row = row(*listens, service, backend, pool);
            self.path(&row);
            let (id, op, row) = match known {
                None => {
                    let id = self.after.backend_ids.take().context(
                        "the map of backends is full of those that serve and those that drain; raise `max_backends` \
                         under [weir] and start anew",
                    )?;
                    (id, Op::PutBackend { id, backend: row }, row)
                }
                Some(known) => {
                    // The weight follows the table.
                    let row = Backend { weight: known.row.weight, ..row };
                    if known.row == row {
                        continue;
                    }
                    if known.row.forward != row.forward {
                        self.changing.insert((*vip, *listens), row);
                        continue;
                    }
                    (known.id, Op::MoveBackend { id: known.id, backend: row }, row)
                }
            };
            self.step(op, Entry::Backend(*vip, *listens, BackendState { id, name: backend.id.clone(), row }));
        }
        Ok(())
    }

    fn service(&mut self, vip: &Vip, desired: &DesiredService) -> Result<()> {
        let id = self.after.service_ids.take().context(
            "the map of services is full of those that serve and those whose last connections go on; raise \
             `max_services` under [weir] and start anew",
        )?;
        let head = Service {
            vip: vip_key(vip),
            seed: desired.seed,
            quic: desired.quic,
            networks: desired.networks,
            flags: networks::flags(desired.networks) | limits::flags(&desired.limits),
            ..Service::default()
        };
        let (limits, head) = self.make_limits(None, desired, &[], head)?;
        let state = ServiceState {
            name: desired.name.clone(),
            id,
            head,
            limits,
            backends: BTreeMap::new(),
            slots: BTreeMap::new(),
            published: false,
        };
        self.step(Op::PutService { id, head }, Entry::Service(*vip, Box::new(state)));
        Ok(())
    }

    /// The ports of a backend: those that it has, or, when it needs some, those of nobody.
    fn pool(&mut self, known: Option<&BackendState>, forward: Forward) -> Result<u16> {
        if let Some(pool) = known.and_then(BackendState::pool) {
            return Ok(pool);
        }
        if forward != Forward::Snat {
            return Ok(NO_POOL);
        }
        let pool = self.after.pool_ids.take().context(
            "the ports of snat are all given to backends that serve and those that drain; raise `max_snat_backends` under \
             [weir] and start anew",
        )?;
        u16::try_from(pool).context("more pools of ports than a row can name")
    }

    /// Has packets forwarded in another way to backends that they find. Connections that were forwarded in the one way
    /// are not understood in the other, but for those of snat, which go on by what is remembered of them.
    fn change_forwarding(&mut self) {
        for ((vip, listens), row) in std::mem::take(&mut self.changing) {
            let known = self.after.services.get(&vip).and_then(|service| service.backends.get(&listens)).cloned();
            if let Some(known) = known {
                let op = Op::MoveBackend { id: known.id, backend: row };
                self.step(op, Entry::Backend(vip, listens, BackendState { row, ..known }));
            }
        }
    }

    fn put_endpoints(&mut self, finding: &Finding) {
        let mut fresh = Vec::new();
        for &(listens, endpoint) in &finding.endpoints {
            match self.after.endpoints.get(&listens) {
                Some(known) if *known == endpoint => {}
                Some(_) => self.step(Op::PutEndpoint { listens, endpoint }, Entry::Endpoint(listens, Some(endpoint))),
                None => fresh.push((listens, endpoint)),
            }
        }
        for endpoints in fresh.chunks(ENDPOINTS) {
            let endpoints: Arc<[(VipKey, Endpoint)]> = endpoints.into();
            self.step(Op::PutEndpoints { endpoints: Arc::clone(&endpoints) }, Entry::Endpoints(endpoints));
        }
    }

    fn publish(&mut self, vip: &Vip) {
        let Some(service) = self.after.services.get(vip) else { return };
        if !service.published {
            let service = service.id;
            self.step(Op::PutVip { vip: vip_key(vip), service }, Entry::Published(*vip, true));
        }
    }

    /// What nobody needs any more: first what finds it, then itself.
    fn remove(&mut self, leaving: &Leaving, finding: &Finding, servers: &BTreeMap<QuicKey, u32>) {
        for vip in &leaving.services {
            if self.after.services.get(vip).is_some_and(|service| service.published) {
                self.step(Op::RemoveVip { vip: vip_key(vip) }, Entry::Published(*vip, false));
            }
        }
        let forgotten: Vec<VipKey> =
            self.after.endpoints.keys().filter(|listens| !finding.has(listens)).copied().collect();
        for listens in forgotten {
            self.step(Op::RemoveEndpoint { listens }, Entry::Endpoint(listens, None));
        }
        let forgotten: Vec<QuicKey> =
            self.after.quic.iter().filter(|(key, id)| servers.get(key) != Some(id)).map(|(key, _)| *key).collect();
        for key in forgotten {
            self.step(Op::RemoveQuicServer { key }, Entry::QuicServer(key, None));
        }
        for (vip, listens) in &leaving.backends {
            let known = self.after.services.get(vip).and_then(|service| service.backends.get(listens));
            if let Some(id) = known.map(|backend| backend.id) {
                self.step(Op::RemoveBackend { id }, Entry::NoBackend(*vip, *listens));
            }
        }
        for vip in &leaving.services {
            if let Some(id) = self.after.services.get(vip).map(|service| service.id) {
                self.step(Op::RemoveService { id }, Entry::NoService(*vip));
            }
        }
    }
}

/// A backend's row.
fn row(listens: SocketAddr, service: u32, backend: &DesiredBackend, pool: u16) -> Backend {
    let way = &backend.way;
    let row = Backend {
        address: listens.ip().into(),
        port: u16::from_ne_bytes(listens.port().to_be_bytes()),
        delivery: way.delivery,
        ifindex: way.ifindex,
        mtu: way.mtu,
        mac_destination: way.mac_destination,
        mac_source: way.mac_source,
        service,
        version: 0,
        weight: 0,
        tags: way.tags,
        pool,
        forward: backend.forward.number(),
        lane: Lane::NONE,
    };
    Backend { lane: row.lane_of(), ..row }
}
