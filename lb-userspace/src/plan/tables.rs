//! Services' tables: which have to be built anew, and of what.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use lb_common::abi::{Slot, Table};

use super::aim::Aim;
use super::leaving::Leaving;
use super::state::Entry;
use super::{Planner, ServiceState, SlotCount, begins};
use crate::dataplane::Op;
use crate::desired::DesiredService;
use crate::parallel;
use crate::vip::Vip;

/// A service's table that is not what it shall be.
pub(super) struct Wanted {
    vip: Vip,
    aim: Aim,
    /// The slots as they are; none where nobody is named any more: the last connection of the last backend has ended.
    before: Option<Vec<Slot>>,
}

/// The same, built; without a change when only what it was built for is another.
pub(super) struct Built {
    aim: Aim,
    change: Option<Change>,
}

/// Other slots.
struct Change {
    slots: Arc<[Slot]>,
    counts: BTreeMap<u32, SlotCount>,
    /// Those that begin to hand over.
    begun: Arc<[u32]>,
}

impl Planner<'_> {
    /// The Maglev tables of services whose set of backends or weights are others than theirs was built for. They are
    /// built on all CPUs, in memory: which one does which makes no difference.
    pub(super) fn tables(
        &self,
        services: &[(&Vip, &DesiredService)],
        leaving: &Leaving,
    ) -> Result<BTreeMap<Vip, Built>> {
        let mut wanted = Vec::new();
        for (vip, desired) in services {
            let Some(service) = self.after.services.get(vip) else { continue };
            let aim = Aim::of(vip, service, desired, leaving);
            if !aim.is_met(service) {
                let before = (self.slots)(Table::unpack(service.head.table))?;
                wanted.push(Wanted { vip: **vip, aim, before: Some(before) });
            } else if service.head.table != 0 && service.slots.is_empty() {
                wanted.push(Wanted { vip: **vip, aim, before: None });
            }
        }
        let size = self.after.table_size;
        Ok(parallel::map(wanted, |wanted| (wanted.vip, wanted.build(size))).into_iter().collect())
    }

    /// Writes a table, publishes it, and notes what it was built with.
    pub(super) fn table(&mut self, vip: &Vip, built: Built) -> Result<()> {
        let Built { aim, change } = built;
        let Some(service) = self.after.services.get(vip) else { return Ok(()) };
        let id = service.id;
        let weighed = weighed(service, &aim);
        if let Some(Change { slots, counts, begun }) = change {
            let table = if counts.is_empty() {
                self.after.table(0, 0)
            } else {
                let place = self.after.table_ids.take().context("there is no room for another table")?;
                let table = self.after.table(place, self.after.table_size);
                self.step(Op::WriteTable { table, slots }, Entry::Nothing);
                table
            };
            self.step(Op::Publish { service: id, table }, Entry::Table { vip: *vip, table, slots: counts, begun });
        }
        if !weighed.is_empty() {
            self.step(Op::WeighBackends { weights: Arc::clone(&weighed) }, Entry::Weights(*vip, weighed));
        }
        Ok(())
    }
}

/// The weights that rows have to get, by id.
fn weighed(service: &ServiceState, aim: &Aim) -> Arc<[(u32, u32)]> {
    let mut weights: Vec<(u32, u32)> = service
        .backends
        .values()
        .map(|backend| (backend.id, backend.row.weight, aim.share(backend.id)))
        .filter(|(_, held, weight)| held != weight)
        .map(|(id, _, weight)| (id, weight))
        .collect();
    weights.sort_unstable();
    weights.into()
}

impl Wanted {
    fn build(self, size: u32) -> Built {
        let Self { vip, aim, before } = self;
        let Some(before) = before else {
            let change = Change { slots: Arc::default(), counts: BTreeMap::new(), begun: Arc::default() };
            return Built { aim, change: Some(change) };
        };
        let slots = aim.slots(&vip, &before, size);
        if *slots == *before {
            return Built { aim, change: None };
        }
        let begun = (0_u32..).zip(before.iter().zip(slots.iter())).filter(|(_, (b, a))| begins(**b, **a));
        let begun = begun.map(|(number, _)| number).collect();
        let counts = SlotCount::of(&slots);
        Built { aim, change: Some(Change { slots, counts, begun }) }
    }
}
