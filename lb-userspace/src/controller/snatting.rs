//! Reading the flows of snat, and giving back what has ended.

use std::time::{Duration, Instant};

use super::Controller;
use crate::dataplane::DataPlane;
use crate::snat::Facts;
use crate::vip::Vip;

/// How often the flows are read while there is something to see.
const EVERY: Duration = Duration::from_secs(1);

/// Reading them takes at most one part in so many of the time, as far as the longest pause allows.
const SHARE: u32 = 5;
const PAUSE: Duration = Duration::from_secs(5);

/// How often the pools of ports are read: one time in so many.
const PORTS_EVERY: u64 = 10;

/// What is given back at once, some 20 ms: in between the controller does what else there is to do.
const AT_ONCE: usize = 16_384;
const BREATH: Duration = Duration::from_millis(5);

impl<P: DataPlane> Controller<P> {
    /// Sees to it that the flows of snat are read when there may be such.
    pub(super) fn schedule_snats(&mut self, now: Instant) {
        let state = &self.state;
        let due = state.has_pools()
            || !state.snat_unswept.is_empty()
            || !state.snat_sources.is_empty()
            || !self.releases.is_empty();
        self.snat_at = due.then(|| self.snat_at.unwrap_or(now + EVERY));
    }

    /// Gives back what is left of the last reading, or reads the flows again.
    pub(super) fn sweep_snats(&mut self, now: Instant) {
        let began = Instant::now();
        if self.releases.is_empty()
            && let Err(error) = self.read_snats()
        {
            tracing::error!(error = format!("{error:#}"), "the flows of snat could not be swept; trying again");
        }
        let rest = self.releases.split_off(self.releases.len().min(AT_ONCE));
        let some = std::mem::replace(&mut self.releases, rest);
        match self.plane.release(&some) {
            Ok(ended) => self.expired += ended,
            Err(error) => {
                // What was given back of them is not there at the next reading; halves of flows are found.
                self.releases.clear();
                tracing::error!(error = format!("{error:#}"), "ports could not be given back; trying again");
            }
        }
        tracing::debug!(took = ?began.elapsed(), flows = self.snats.flows(), left = self.releases.len(), "swept snat");
        let wait = if self.releases.is_empty() { (began.elapsed() * SHARE).clamp(EVERY, PAUSE) } else { BREATH };
        self.snat_at = Some(now + wait);
    }

    fn read_snats(&mut self) -> anyhow::Result<()> {
        let now_s = self.plane.now_s();
        let flows = self.plane.snats()?;
        let replies = self.plane.snat_replies()?;
        let ports = self.snat_sweeps.is_multiple_of(PORTS_EVERY).then(|| self.plane.ports()).transpose()?;
        self.snat_sweeps += 1;
        let cut = self.cut();
        let idle = |vip: &Vip| self.idle_s(vip);
        let facts =
            Facts { now_s, idle_s: &idle, flows: &flows, replies: &replies, ports: ports.as_deref(), cut: &cut };
        let mut snats = self.snats.clone();
        self.releases = snats.sweep(&facts, &self.state);
        self.state.snat_unswept = snats.living.keys().copied().collect();
        self.state.snat_sources.clone_from(&snats.sources);
        self.snats = snats;
        Ok(())
    }
}
