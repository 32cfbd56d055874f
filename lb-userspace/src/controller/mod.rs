//! The controller: hears registries and the kernel, and keeps the data plane in step.

mod registries;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub use registries::Registries;

use crate::config::Config;
use crate::dataplane::{Capacity, DataPlane};
use crate::desired::{self, Desired, Ground};
use crate::nexthop::{Hop, MAX_FOLLOWED, StackReason};
use crate::plan::{State, plan};
use crate::source::Update;

/// How long to wait after a failed write: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long readiness waits for neighbours to answer.
const NEIGHBOURS: Duration = Duration::from_secs(1);

/// Room for more tables than there are services: the one that is being written, and those that rest after they were
/// replaced, while a program may still be reading them. Writing one takes longer than any program runs.
const SPARE_TABLES: u32 = 8;

/// Flows that are remembered because the tables do not explain their replies.
const FLOWS: u32 = 65_536;

/// Network devices: more than a host of containers has. The map's elements are made as they are needed.
const DEVICES: u32 = 65_536;

/// How large the maps have to be for a configuration.
pub fn capacity(config: &Config) -> Capacity {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let services = count(config.services.len()).max(1);
    Capacity {
        services,
        // Twice as many as may be desired: a new one has its row before an old one gives its own back.
        backends: config.weir.max_backends.saturating_mul(2),
        table_size: config.weir.table_size,
        tables: services.saturating_add(SPARE_TABLES),
        limits: count(config.services.iter().map(|service| service.limits.len()).sum()).max(1),
        sources: config.weir.max_sources,
        flows: FLOWS,
        devices: DEVICES,
    }
}

/// The controller's state and its data plane. Does no I/O but the data plane's.
#[derive(Debug)]
pub struct Controller<P> {
    config: Config,
    plane: P,
    state: State,
    desired: Desired,
    ground: Ground,
    registries: Registries,
    problems: BTreeMap<String, Vec<String>>,
    generation: u64,
    started: Instant,
    /// When all registries had spoken.
    spoke: Option<Instant>,
    /// Why the data plane is not in step, and when to try again.
    behind: Option<Behind>,
}

#[derive(Debug)]
struct Behind {
    error: String,
    retry_at: Instant,
    wait: Duration,
}

impl<P: DataPlane> Controller<P> {
    /// A controller for an empty data plane that was made with [`capacity`].
    pub fn new(config: Config, plane: P, registries: Registries, now: Instant) -> Self {
        Self {
            state: State::new(capacity(&config)),
            config,
            plane,
            desired: Desired::default(),
            ground: Ground::default(),
            problems: BTreeMap::new(),
            generation: 0,
            started: now,
            // Where there is no registry to wait for, this is the moment.
            spoke: registries.all_spoke().then_some(now),
            registries,
            behind: None,
        }
    }

    /// Takes in what sources say, and acts on the outcome.
    pub fn hear(&mut self, updates: impl IntoIterator<Item = Update>, now: Instant) {
        for update in updates {
            self.registries.hear(&self.config, update, now);
        }
        if self.spoke.is_none() && self.registries.all_spoke() {
            self.spoke = Some(now);
        }
        self.reconcile(now);
    }

    /// Takes in what the kernel says, and acts on it.
    pub fn stand_on(&mut self, ground: Ground, now: Instant) {
        self.ground = ground;
        self.reconcile(now);
    }

    /// The addresses whose next hops matter, as many as can be followed.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        // Backends that several services share count once.
        let all: BTreeSet<IpAddr> = desired::addresses(&self.registries.rosters).collect();
        if all.len() <= MAX_FOLLOWED { all } else { all.into_iter().take(MAX_FOLLOWED).collect() }
    }

    /// When to call [`Self::reconcile`] though nothing was heard.
    pub fn retry_at(&self) -> Option<Instant> {
        self.behind.as_ref().map(|behind| behind.retry_at)
    }

    /// Brings the data plane in step, as far as it lets itself.
    pub fn reconcile(&mut self, now: Instant) {
        let (desired, problems) = desired::merge(&self.config, &self.registries.rosters, &self.ground);
        for (service, problem) in problems.iter().flat_map(|(service, all)| all.iter().map(move |one| (service, one))) {
            if !self.problems.get(service).is_some_and(|known| known.contains(problem)) {
                tracing::warn!(service, problem);
            }
        }
        self.problems = problems;
        self.desired = desired;
        match self.apply() {
            Ok(0) => self.behind = None,
            Ok(steps) => {
                self.generation += 1;
                self.behind = None;
                tracing::info!(generation = self.generation, steps, "the data plane is in step");
            }
            Err(error) => {
                let wait = self.behind.as_ref().map_or(RETRY.0, |behind| (behind.wait * 2).min(RETRY.1));
                tracing::error!(error = format!("{error:#}"), ?wait, "the data plane is behind; trying again");
                self.behind = Some(Behind { error: format!("{error:#}"), retry_at: now + wait, wait });
            }
        }
    }

    fn apply(&mut self) -> anyhow::Result<usize> {
        let steps = plan(&self.desired, &self.state)?;
        for step in &steps {
            tracing::debug!(op = %step.op);
            self.plane.apply(&step.op).map_err(|error| error.context(step.op.to_string()))?;
            self.state.record(step);
        }
        Ok(steps.len())
    }

    /// Whether every registry has spoken, the data plane holds what they said, and neighbours had time to answer.
    pub fn is_ready(&self, now: Instant) -> bool {
        let Some(spoke) = self.spoke else { return false };
        let settled = self.addresses().iter().all(|address| {
            !matches!(self.ground.hops.hops.get(address), None | Some(Hop::Stack(StackReason::Unresolved)))
        });
        self.behind.is_none() && (settled || now.saturating_duration_since(spoke) >= NEIGHBOURS)
    }
}
