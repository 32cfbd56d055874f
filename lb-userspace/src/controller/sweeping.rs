//! Reading the flow table, and acting on what is in it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lb_common::abi::OrderFlags;

use super::Controller;
use crate::dataplane::DataPlane;
use crate::handover::{Facts, Handover, Settled, Sweep};
use crate::plan;
use crate::vip::Vip;

/// How often the flow table is read while there is something to see.
const EVERY: Duration = Duration::from_millis(500);

/// Reading it takes at most one part in so many of the time, as far as the longest pause allows: a drain's end must not
/// wait for long.
const SHARE: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// How soon it is read again after slots have settled.
const SOON: Duration = Duration::from_millis(100);

impl<P: DataPlane> Controller<P> {
    /// Sees to it that the flow table is read when there is something to see.
    pub(super) fn schedule_sweep(&mut self, now: Instant) {
        if !self.handover.is_due(&self.state) && !self.orders_wait() && self.cut().is_empty() {
            self.sweep_at = None;
            return;
        }
        let next = self.sweep_at.unwrap_or(now + EVERY);
        // A deadline is kept, however long it is until it would have been the table's turn.
        self.sweep_at = Some(self.next_deadline(now).map_or(next, |deadline| next.min(deadline)));
    }

    /// Reads the flow table and acts on what is there.
    pub(super) fn sweep(&mut self, now: Instant) {
        let began = Instant::now();
        let settles = self.try_sweep().unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "the flow table could not be swept; trying again");
            false
        });
        tracing::debug!(took = ?began.elapsed(), flows = self.handover.flows, "swept");
        // Those who are cut off are to know it at once, and whoever waits for a drain that nothing is left.
        let wait = if self.end_drains() {
            Duration::ZERO
        } else if settles {
            SOON
        } else {
            (began.elapsed() * SHARE).clamp(EVERY, PAUSE)
        };
        self.sweep_at = Some(now + wait);
    }

    /// Says whether slots were written.
    fn try_sweep(&mut self) -> anyhow::Result<bool> {
        // It knows every slot that moves: too much to copy at each sweep.
        let mut handover = std::mem::take(&mut self.handover);
        let swept = self.look(&mut handover);
        self.handover = handover;
        let Sweep { ended, cut, slots, settled, living } = swept?;
        for (vip, key, flow) in &cut {
            self.reset(vip, key, flow);
        }
        self.expired += self.plane.forget_flows(&ended)?;
        // Before slots settle, which notes those that they named: whoever came since the reading is seen by the next.
        self.state.unswept = living;
        let settles = !slots.is_empty();
        for Settled { vip, mut table, changes } in slots {
            let Some(service) = self.state.services.get(&vip) else { continue };
            let step = plan::settle(&vip, service, &mut table, changes);
            self.carry_out([step])?;
        }
        if let Err(error) = self.plane.forget_flows(&settled) {
            // Nothing else may be left that has the next sweep look.
            self.state.unswept.extend(settled.iter().map(|(_, flow)| flow.backend));
            return Err(error);
        }
        Ok(settles)
    }

    /// What a sweep asks for.
    fn look(&self, handover: &mut Handover) -> anyhow::Result<Sweep> {
        let facts = Facts {
            now_s: self.plane.now_s(),
            idle_s: &|vip| self.idle_s(vip),
            flows: &self.plane.flows()?,
            slots: &|table| self.plane.slots(table),
            stamps: &|service, len| self.plane.stamps(service, len),
            cut: &self.cut(),
        };
        handover.sweep(&facts, &self.state)
    }

    /// A service's idle time-out, in seconds.
    pub(super) fn idle_s(&self, vip: &Vip) -> u32 {
        let configured = self.config.services.iter().find(|service| service.vip == *vip);
        let idle = configured.map(|service| service.idle).or_else(|| self.retired.get(vip).map(|former| former.idle));
        let idle = idle.unwrap_or_else(|| self.config.weir.idle(vip.protocol));
        u32::try_from(idle.as_secs()).unwrap_or(u32::MAX)
    }

    /// Backends, by id, whose connections are not kept: by an order, or because they are gone.
    pub(super) fn cut(&self) -> BTreeSet<u32> {
        let removed = self.orders.iter().filter(|(_, order)| order.flags & OrderFlags::REMOVED != 0);
        let removed = removed.map(|((vip, listens), _)| (vip, listens));
        let gone =
            self.desired.services.iter().flat_map(|(vip, one)| one.cut.iter().map(move |listens| (vip, listens)));
        removed
            .chain(gone)
            .filter_map(|(vip, listens)| Some(self.state.services.get(vip)?.backends.get(listens)?.id))
            .collect()
    }
}
