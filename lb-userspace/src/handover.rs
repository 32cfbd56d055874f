//! When slots are done with handing over, and what still keeps a backend.
//!
//! While slots move, the flow table is read whole now and then (a *sweep*). Flows that have ended are forgotten. A slot
//! settles when no remembered flow of its own goes anywhere but to its current backend, and one idle time-out has passed
//! since the change, in which every old flow that still speaks was remembered, and since it last sent a flow that could
//! not be. Then its flows are forgotten: a settled slot answers alone.
//!
//! Nothing here does I/O: a sweep is a function of what was read, and says what to write.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use lb_common::abi::{Flow, FlowFlags, FlowKey, QuicIds, Slot, Table};
use lb_common::hash;

use crate::plan::{ReadSlots, ServiceState, State};
use crate::vip::{Protocol, Vip};

/// What the controller knows of the handing over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handover {
    /// When slots began to hand over, in seconds of the packet path's clock.
    since: BTreeMap<Vip, BTreeMap<u32, u32>>,
    /// What still keeps each backend, by id, as of the last sweep.
    pub left: BTreeMap<u32, Left>,
    /// Flows that were remembered at the last sweep, and living.
    pub flows: u64,
}

/// What keeps a backend that takes no new flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Slots that hand over from it.
    pub slots: u32,
    /// Remembered flows that go to it.
    pub flows: u64,
    /// Whether silent connections may not have been seen yet.
    pub unseen: bool,
}

/// What a sweep looks at.
pub struct Facts<'a> {
    /// The packet path's clock, in seconds, from before `flows` were read.
    pub now_s: u32,
    /// A service's idle time-out, in seconds.
    pub idle_s: &'a dyn Fn(&Vip) -> u32,
    /// All remembered flows.
    pub flows: &'a [(FlowKey, Flow)],
    /// The slots of a table.
    pub slots: ReadSlots<'a>,
    /// The stamps of a service's slots, by its id and their number.
    pub stamps: &'a dyn Fn(u32, u32) -> Result<Vec<u32>>,
    /// Backends, by id, whose connections are not kept.
    pub cut: &'a BTreeSet<u32>,
}

/// What a sweep asks for, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Flows to forget: they have ended.
    pub ended: Vec<(FlowKey, Flow)>,
    /// Flows, of those, that were cut off.
    pub cut: Vec<(Vip, FlowKey, Flow)>,
    /// Slots to write.
    pub slots: Vec<Settled>,
    /// Flows to forget once the slots are written: they go where everybody goes.
    pub settled: Vec<(FlowKey, Flow)>,
    /// Backends, by id, that remembered flows go to.
    pub living: BTreeSet<u32>,
}

/// Slots of one service that are done, or take the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The service.
    pub vip: Vip,
    /// Its whole table, as it is.
    pub table: Vec<Slot>,
    /// The slots to write, by their number.
    pub changes: Vec<(u32, Slot)>,
}

impl Handover {
    /// Notes that slots began to hand over.
    pub fn begin(&mut self, begun: BTreeMap<Vip, BTreeSet<u32>>, now_s: u32) {
        for (vip, slots) in begun {
            self.since.entry(vip).or_default().extend(slots.into_iter().map(|slot| (slot, now_s)));
        }
    }

    /// Whether there is anything to sweep.
    pub fn is_due(&self, state: &State) -> bool {
        // Connection ids lead flows away from their slots also when nothing moves.
        let remembers = |service: &ServiceState| service.moving() > 0 || service.head.quic != QuicIds::NONE;
        self.flows > 0 || !state.unswept.is_empty() || state.services.values().any(remembers)
    }

    /// Looks at all that is left.
    ///
    /// # Errors
    /// When slots or stamps cannot be read. What was left before is still known then: nothing has ended.
    pub fn sweep(&mut self, facts: &Facts<'_>, state: &State) -> Result<Sweep> {
        let before = (std::mem::take(&mut self.left), std::mem::take(&mut self.flows));
        let swept = self.sweep_all(facts, state);
        if swept.is_err() {
            (self.left, self.flows) = before;
        }
        swept
    }

    fn sweep_all(&mut self, facts: &Facts<'_>, state: &State) -> Result<Sweep> {
        let mut sweep = Sweep::default();
        self.since.retain(|vip, _| state.services.contains_key(vip));
        let mut flows: BTreeMap<u32, Vec<&(FlowKey, Flow)>> = BTreeMap::new();
        for flow in facts.flows {
            flows.entry(flow.0.service).or_default().push(flow);
        }
        for (vip, service) in &state.services {
            let of_service = flows.remove(&service.id).unwrap_or_default();
            if service.moving() > 0 || !of_service.is_empty() {
                self.sweep_service(facts, vip, service, &of_service, &mut sweep)?;
            } else {
                self.since.remove(vip);
            }
        }
        // Of services that are gone.
        sweep.ended.extend(flows.into_values().flatten().copied());
        Ok(sweep)
    }

    fn sweep_service(
        &mut self,
        facts: &Facts<'_>,
        vip: &Vip,
        service: &ServiceState,
        flows: &[&(FlowKey, Flow)],
        sweep: &mut Sweep,
    ) -> Result<()> {
        let table = Table::unpack(service.head.table);
        let slots = (facts.slots)(table)?;
        let stamps = if service.moving() > 0 { (facts.stamps)(service.id, table.len)? } else { Vec::new() };
        let idle_s = (facts.idle_s)(vip);
        // Whether the first packet of a connection says so.
        let opens = vip.protocol != Protocol::Udp;
        let direct: BTreeSet<u32> = service
            .backends
            .values()
            .filter(|backend| backend.forward().is_direct())
            .map(|backend| backend.id)
            .collect();
        let is_living = |flow: &Flow, slot: Option<&Slot>| {
            // Of those that go where unknown flows go, one that is forgotten too soon is not lost.
            let alone = direct.contains(&flow.backend) && slot.is_some_and(|slot| slot.old() != Some(flow.backend));
            if opens && alone {
                is_believed(flow, facts.now_s, idle_s)
            } else {
                flow.is_living(facts.now_s, idle_s, opens)
            }
        };
        // Flows by slot, of those that go on.
        let mut going: BTreeMap<u32, Vec<(FlowKey, Flow)>> = BTreeMap::new();
        // When slots last had a flow that is forgotten, to keep the table for others, and may yet go on.
        let mut half_heard: BTreeMap<u32, u32> = BTreeMap::new();
        for &&(key, flow) in flows {
            let cut = facts.cut.contains(&flow.backend);
            if cut && is_living(&flow, None) {
                sweep.cut.push((*vip, key, flow));
            }
            if cut || table.len == 0 {
                sweep.ended.push((key, flow));
                continue;
            }
            let number = hash::slot(hash::flow(service.head.seed, key.client, key.client_port_bytes()), table.len);
            if is_living(&flow, slots.get(number as usize)) {
                going.entry(number).or_default().push((key, flow));
                continue;
            }
            sweep.ended.push((key, flow));
            if opens && flow.is_half_heard(facts.now_s, idle_s) {
                let heard = half_heard.entry(number).or_insert(flow.seen_s);
                *heard = (*heard).max(flow.seen_s);
            }
        }
        let mut since = self.since.remove(vip).unwrap_or_default();
        let mut changes = Vec::new();
        for (number, &slot) in (0_u32..).zip(&slots) {
            let Some(old) = slot.old() else {
                since.remove(&number);
                let own = going.remove(&number).unwrap_or_default();
                // Those that a connection id leads elsewhere are no less there.
                let strays =
                    |(_, flow): &(FlowKey, Flow)| service.head.quic != QuicIds::NONE && flow.backend != slot.current();
                let (strays, own): (Vec<_>, Vec<_>) = own.into_iter().partition(strays);
                sweep.settled.extend(own);
                for (_, flow) in strays {
                    self.keep(&flow, sweep);
                }
                continue;
            };
            // One that nobody timed was found moving, by a controller that has just begun.
            let began_s = since.entry(number).or_insert(facts.now_s);
            *began_s = (*began_s).max(half_heard.get(&number).copied().unwrap_or(0));
            let began_s = *began_s;
            let stamp_s = stamps.get(number as usize).copied().unwrap_or(0);
            let quiet = is_over(began_s, idle_s, facts.now_s) && is_over(stamp_s, idle_s, facts.now_s);
            let own = going.remove(&number).unwrap_or_default();
            let elsewhere = own.iter().any(|(_, flow)| flow.backend != slot.current());
            // A slot that still learns takes one step at a time: a flow that came between the reading and the writing was
            // sent to `old`, and is there at the next reading.
            if !elsewhere && (quiet && !slot.is_learning() || old == slot.current()) {
                // Until it was written it moves, and its clock goes on.
                changes.push((number, Slot::settled(slot.current())));
                sweep.settled.extend(own);
                continue;
            }
            if quiet && slot.is_learning() {
                changes.push((number, Slot::moving(slot.current(), old, false)));
            }
            let left = self.left.entry(old).or_default();
            left.slots += 1;
            left.unseen |= (!quiet || slot.is_learning()) && old != slot.current();
            for (_, flow) in own {
                self.keep(&flow, sweep);
            }
        }
        self.since.insert(*vip, since);
        if !changes.is_empty() {
            sweep.slots.push(Settled { vip: *vip, table: slots, changes });
        }
        Ok(())
    }

    /// Counts a flow that goes on.
    fn keep(&mut self, flow: &Flow, sweep: &mut Sweep) {
        self.flows += 1;
        sweep.living.insert(flow.backend);
        self.left.entry(flow.backend).or_default().flows += 1;
    }
}

/// Whether a connection goes on of which the client alone is heard, because the backend answers it directly. Once it has
/// no more to say it only acknowledges, and for as long as an opening is believed.
const fn is_believed(flow: &Flow, now_s: u32, idle_s: u32) -> bool {
    let ending = flow.client & FlowFlags::FIN != 0 && Flow::HALF_OPEN_S < idle_s;
    let heard = Flow { server: flow.client & FlowFlags::SPOKE, ..*flow };
    heard.is_living(now_s, if ending { Flow::HALF_OPEN_S } else { idle_s }, true)
}

/// Whether an idle time-out has passed since `since_s`.
const fn is_over(since_s: u32, idle_s: u32, now_s: u32) -> bool {
    // The kernel may have stamped a second ahead of the clock that was read.
    let passed = now_s.wrapping_sub(since_s).cast_signed();
    // Both are cut to whole seconds: what looks like five may be little more than four.
    passed >= 0 && passed.cast_unsigned() > idle_s
}
