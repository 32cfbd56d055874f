//! What a change would do, before it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use lb_common::abi::{Backend, FlowKey, Slot, Table};
use lb_common::hash;

use super::{ReadSlots, ServiceState, State, Step, plan};
use crate::config::Share;
use crate::dataplane::Op;
use crate::desired::Desired;
use crate::vip::Vip;

/// What a change would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// Every service that is there before or after it.
    pub services: BTreeMap<Vip, PreviewedService>,
}

/// What it would do to a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviewedService {
    /// Its name.
    pub name: String,
    /// Slots of its table, before; 0 when it had none.
    pub slots_before: u32,
    /// Slots of its table, after.
    pub slots_after: u32,
    /// Slots whose new flows go to another backend.
    pub slots_moved: u32,
    /// Flows that were looked at.
    pub flows: u64,
    /// Those of them that are in moved slots.
    pub flows_moved: u64,
    /// Its backends.
    pub backends: BTreeMap<SocketAddr, PreviewedBackend>,
}

/// What it would do to a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviewedBackend {
    /// What the registry calls it.
    pub name: Arc<str>,
    /// Its share before, as [`Backend::weight`]; `None` when it was not there.
    pub share_before: Option<u32>,
    /// Its share after.
    pub share_after: Option<u32>,
    /// Slots that it takes the new flows of, before.
    pub slots_before: u32,
    /// The same, after.
    pub slots_after: u32,
    /// Slots that move away from it.
    pub slots_moved: u32,
    /// Flows, of those that were looked at, that are in them.
    pub flows_moved: u64,
}

impl Preview {
    /// Whether any table is another one.
    pub fn moves(&self) -> bool {
        self.services
            .values()
            .any(|service| service.slots_moved > 0 || service.slots_before == 0 && service.slots_after > 0)
    }

    /// Adds what another change does to other services. Of all at most so many are kept, those of which most moves.
    pub fn add(&mut self, other: Self, most: usize) {
        self.services.extend(other.services);
        if self.services.len() > most {
            let moved = |seen: &PreviewedService| Share::of(seen.slots_moved.into(), seen.slots_before.into()).0;
            let mut all: Vec<(Vip, PreviewedService)> = std::mem::take(&mut self.services).into_iter().collect();
            all.sort_by_key(|(_, seen)| std::cmp::Reverse(moved(seen)));
            self.services = all.into_iter().take(most).collect();
        }
    }

    /// The largest share of a table's slots that move, in parts per million, rounded up, among the services that had
    /// one.
    pub fn moved_ppm(&self) -> u32 {
        self.services
            .values()
            .map(|service| Share::of(service.slots_moved.into(), service.slots_before.into()).0)
            .max()
            .unwrap_or(0)
    }
}

/// What the plan for `desired` would do to slots, and to the flows of `census`.
///
/// # Errors
/// As [`plan`].
pub fn preview(desired: &Desired, state: &State, slots: ReadSlots<'_>, census: &[FlowKey]) -> Result<Preview> {
    let steps = plan(desired, state, slots)?;
    let mut after = state.clone();
    steps.iter().for_each(|step| after.record(step));
    let all = state.services.keys().chain(after.services.keys()).copied().collect();
    of_steps(&steps, state, &all, slots, census)
}

/// What steps do to some services that were planned on `state`.
pub fn of_steps(
    steps: &[Step],
    state: &State,
    services: &BTreeSet<Vip>,
    slots: ReadSlots<'_>,
    census: &[FlowKey],
) -> Result<Preview> {
    let mut after = state.clone();
    let mut written: BTreeMap<u32, &[Slot]> = BTreeMap::new();
    for step in steps {
        after.record(step);
        if let Op::WriteTable { table, slots } = &step.op {
            written.insert(table.base, slots);
        }
    }
    let mut preview = Preview::default();
    for vip in services {
        let (old, new) = (state.services.get(vip), after.services.get(vip));
        let had = old.map_or(Table::default(), |service| Table::unpack(service.head.table));
        let has = new.map_or(Table::default(), |service| Table::unpack(service.head.table));
        // Tables are read where they change alone.
        let before = if had == has { Vec::new() } else { slots(had)? };
        let now = written.get(&has.base).copied().filter(|_| has.len != 0).unwrap_or_default();
        let change = Change { before: &before, after: now, old, new };
        preview.services.insert(*vip, change.look(had, has, census));
    }
    Ok(preview)
}

/// A service before and after.
struct Change<'a> {
    /// Its slots, when they change.
    before: &'a [Slot],
    after: &'a [Slot],
    old: Option<&'a ServiceState>,
    new: Option<&'a ServiceState>,
}

impl Change<'_> {
    fn look(&self, had: Table, has: Table, census: &[FlowKey]) -> PreviewedService {
        let name = self.new.or(self.old).map(|service| service.name.clone()).unwrap_or_default();
        let mut seen =
            PreviewedService { name, slots_before: had.len, slots_after: has.len, ..PreviewedService::default() };
        let mut by_id: BTreeMap<u32, PreviewedBackend> = BTreeMap::new();
        let moves = |number: usize| {
            let before = self.before.get(number)?.current();
            let after = self.after.get(number).map_or(Slot::NOBODY, |slot| slot.current());
            (before != after).then_some(before)
        };
        for number in 0..self.before.len() {
            let Some(from) = moves(number) else { continue };
            seen.slots_moved += 1;
            by_id.entry(from).or_default().slots_moved += 1;
        }
        for key in census {
            let Some(service) = self.old.filter(|service| service.id == key.service && had.len != 0) else { continue };
            let flow = hash::flow(service.head.seed, key.client, key.client_port_bytes());
            seen.flows += 1;
            if let Some(from) = moves(hash::slot(flow, had.len) as usize) {
                seen.flows_moved += 1;
                by_id.entry(from).or_default().flows_moved += 1;
            }
        }
        let sides = [(self.old, false), (self.new, true)];
        for (service, is_after) in sides.into_iter().filter_map(|(service, after)| Some((service?, after))) {
            for (listens, backend) in &service.backends {
                let row = seen.backends.entry(*listens).or_default();
                if let Some(moved) = by_id.remove(&backend.id) {
                    (row.slots_moved, row.flows_moved) = (moved.slots_moved, moved.flows_moved);
                }
                row.name.clone_from(&backend.name);
                let slots = service.slots.get(&backend.id).map_or(0, |count| count.current);
                let (share, place) = if is_after {
                    (&mut row.share_after, &mut row.slots_after)
                } else {
                    (&mut row.share_before, &mut row.slots_before)
                };
                (*share, *place) = (Some(backend.row.weight), slots);
            }
        }
        seen
    }
}

/// A share as a weight of the registry's, rounded up: what has any share has a weight.
pub fn weight_of(share: u32) -> u16 {
    u16::try_from(share.div_ceil(Backend::WEIGHT_ONE)).unwrap_or(u16::MAX)
}
