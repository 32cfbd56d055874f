//! What a change would do, before it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use lb_common::abi::{Backend, FlowKey, Slot, Table};
use lb_common::hash;

use super::{Planned, ReadSlots, ServiceState, State, Step, plan_whole};
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

    /// Adds what a plan does to the tables that it changes; `state` is the books before it. Of all at most so many services
    /// are kept, those of which most moves.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub(crate) fn tell(&mut self, planned: &Planned, state: &State, slots: ReadSlots<'_>, most: usize) -> Result<()> {
        let written = written(&planned.steps);
        for vip in planned.steps.iter().filter_map(Step::publishes).collect::<BTreeSet<Vip>>() {
            let tables = Tables::of(&vip, (state, &planned.services), &written, slots)?;
            let least =
                self.services.iter().min_by_key(|(_, seen)| seen.moved()).map(|(vip, seen)| (*vip, seen.moved()));
            if let Some((least, moved)) = least.filter(|_| self.services.len() >= most) {
                if tables.moved() <= moved {
                    continue;
                }
                self.services.remove(&least);
            }
            self.services.insert(vip, tables.look(&[]));
        }
        Ok(())
    }

    /// The largest share of a table's slots that move, in parts per million, rounded up, among the services that had
    /// one.
    pub fn moved_ppm(&self) -> u32 {
        self.services.values().map(|service| service.moved().0).max().unwrap_or(0)
    }
}

impl PreviewedService {
    /// The share of its slots that move.
    fn moved(&self) -> Share {
        Share::of(self.slots_moved.into(), self.slots_before.into())
    }
}

/// What the plan for `desired` would do to slots, and to the flows of `census`.
///
/// # Errors
/// As [`plan`].
pub fn preview(desired: &Desired, state: &State, slots: ReadSlots<'_>, census: &[FlowKey]) -> Result<Preview> {
    let planned = plan_whole(desired, state, slots)?;
    let written = written(&planned.steps);
    let mut preview = Preview::default();
    for vip in state.services.keys().chain(planned.services.keys()).copied().collect::<BTreeSet<Vip>>() {
        let tables = Tables::of(&vip, (state, &planned.services), &written, slots)?;
        preview.services.insert(vip, tables.look(census));
    }
    Ok(preview)
}

/// The tables that steps write, by their places.
fn written(steps: &[Step]) -> BTreeMap<u32, &[Slot]> {
    let mut written: BTreeMap<u32, &[Slot]> = BTreeMap::new();
    for step in steps {
        if let Op::WriteTable { table, slots } = &step.op {
            written.insert(table.base, slots);
        }
    }
    written
}

/// A service's table before and after.
struct Tables<'a> {
    had: Table,
    has: Table,
    /// Its slots, when they change.
    before: Vec<Slot>,
    after: &'a [Slot],
    old: Option<&'a ServiceState>,
    new: Option<&'a ServiceState>,
}

impl<'a> Tables<'a> {
    /// What becomes of a service, by the books before and after; tables are read where they change alone.
    fn of(
        vip: &Vip,
        (before, after): (&'a State, &'a BTreeMap<Vip, ServiceState>),
        written: &BTreeMap<u32, &'a [Slot]>,
        slots: ReadSlots<'_>,
    ) -> Result<Self> {
        let (old, new) = (before.services.get(vip), after.get(vip));
        let table = |service: Option<&ServiceState>| service.map_or(0, |service| service.head.table);
        let (had, has) = (Table::unpack(table(old)), Table::unpack(table(new)));
        let before = if had == has { Vec::new() } else { slots(had)? };
        let after = written.get(&has.base).copied().filter(|_| has.len != 0).unwrap_or_default();
        Ok(Self { had, has, before, after, old, new })
    }

    /// The slots whose new flows go to another backend: their numbers, and where they went.
    fn moves(&self) -> impl Iterator<Item = (usize, u32)> {
        let after = |number: usize| self.after.get(number).map_or(Slot::NOBODY, |slot| slot.current());
        let before = self.before.iter().map(|slot| slot.current()).enumerate();
        before.filter(move |(number, from)| after(*number) != *from)
    }

    /// The share of them.
    fn moved(&self) -> Share {
        Share::of(self.moves().count() as u64, self.had.len.into())
    }

    fn look(&self, census: &[FlowKey]) -> PreviewedService {
        let (had, has) = (self.had, self.has);
        let name = self.new.or(self.old).map(|service| service.name.clone()).unwrap_or_default();
        let mut seen =
            PreviewedService { name, slots_before: had.len, slots_after: has.len, ..PreviewedService::default() };
        let mut by_id: BTreeMap<u32, PreviewedBackend> = BTreeMap::new();
        for (_, from) in self.moves() {
            seen.slots_moved += 1;
            by_id.entry(from).or_default().slots_moved += 1;
        }
        for key in census {
            let Some(service) = self.old.filter(|service| service.id == key.service && had.len != 0) else { continue };
            let flow = hash::flow(service.head.seed, key.client, key.client_port_bytes());
            seen.flows += 1;
            let number = hash::slot(flow, had.len) as usize;
            let to = self.after.get(number).map_or(Slot::NOBODY, |slot| slot.current());
            if let Some(from) = self.before.get(number).map(|slot| slot.current()).filter(|from| *from != to) {
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
