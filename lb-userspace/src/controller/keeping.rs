//! Keeping the data plane in step: what has to be looked at anew is merged and planned, and the rest is left alone.
//!
//! A service is at rest when its registry says what it said, the kernel's routes to its backends are what they were, and
//! nothing of it is on its way: then the last plan for it found it in step, and another one would find the same. Backends
//! that drain do not disturb its rest before the last of their connections has ended, which takes hours.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::Controller;
use super::own_limits::{error_limit, flow_limit};
use crate::config::Service;
use crate::dataplane::{DataPlane, Op};
use crate::desired::{Desired, DesiredService, Ground, Merging, Roster};
use crate::memory;
use crate::plan::{Planned, Preview, ServiceState, State, plan_part, plan_whole};
use crate::ramp::is_ramping;
use crate::vip::Vip;

/// For how many services steps are planned at once: their tables are in memory until they are written.
const AT_ONCE: usize = 32;

/// How many services have a turn at once, of those that are reached in another way: what a registry says meanwhile does not
/// wait for all of them.
pub(super) const TURNS: usize = 32;

/// How many services the last change is told of, those that moved most.
const TOLD: usize = 64;

/// After changes of more services memory is put in order, which takes a while.
const MANY: usize = 128;

/// What a service was merged from when it was last found in step.
#[derive(Debug, Clone)]
pub(super) struct AtRest {
    roster: Roster,
    /// How many of its backends count against the most that there may be.
    taken: usize,
    /// The backends, by id, that nobody lists and that are there for as long as something needs them.
    lingering: Box<[u32]>,
}

impl AtRest {
    /// What `wanted` was merged from, when it may come to rest; `state` is from before it was planned for.
    fn of(roster: &Roster, taken: usize, vip: &Vip, wanted: &DesiredService, state: &State) -> Self {
        let held = state.services.get(vip);
        let lingering = wanted.backends.iter().filter(|(_, backend)| backend.lingers);
        let lingering = lingering.filter_map(|(listens, _)| Some(held?.backends.get(listens)?.id)).collect();
        Self { roster: roster.clone(), taken, lingering }
    }

    /// Whether all that drain still have to.
    fn is_undisturbed(&self, vip: &Vip, state: &State) -> bool {
        self.lingering.is_empty()
            || state.services.get(vip).is_some_and(|held| self.lingering.iter().all(|id| state.is_needed(held, *id)))
    }
}

/// What was merged anew.
#[derive(Debug, Default)]
struct Merged {
    /// The services.
    services: BTreeSet<Vip>,
    /// Those of them that are at rest once they are in step.
    at_rest: Vec<(Vip, AtRest)>,
}

impl<P: DataPlane> Controller<P> {
    /// Brings the data plane in step, as far as it lets itself, but for those that wait for their turn, of which so many have
    /// it. Says how many steps it took.
    ///
    /// # Errors
    /// When a plan cannot be made, or a write fails.
    pub(super) fn keep_in_step(&mut self, now: Instant, turns: usize) -> anyhow::Result<usize> {
        let mut merged = self.merge(now, turns);
        let kept = self.apply(&merged.services, now);
        self.follow(&merged.services);
        match &kept {
            Ok(steps) => {
                self.whole = false;
                self.forget_the_gone(&merged.services);
                for (vip, known) in merged.at_rest {
                    if let Some(service) = self.desired.services.get_mut(&vip) {
                        service.rest();
                    }
                    self.at_rest.insert(vip, known);
                }
                if *steps > MANY {
                    self.untidy.append(&mut merged.services);
                }
            }
            Err(_) => {
                // Whatever came of it: the next plan looks at everything.
                self.whole = true;
                self.at_rest.clear();
                self.waiting.clear();
            }
        }
        if self.waiting.is_empty() && !self.untidy.is_empty() {
            self.state.compact(&std::mem::take(&mut self.untidy));
            memory::give_back();
        }
        kept
    }

    /// Nothing is desired any more of those of these services that retired and have left: nobody may have anything new to say
    /// for a long time, and until then who asks would be told that they are there.
    fn forget_the_gone(&mut self, services: &BTreeSet<Vip>) {
        for vip in services.iter().filter(|vip| !self.state.services.contains_key(vip)) {
            if self.desired.services.get(vip).is_some_and(|service| service.retires) {
                self.desired.services.remove(vip);
            }
        }
    }

    /// Takes in what the kernel says.
    pub(super) fn stand(&mut self, mut ground: Ground) {
        ground.networks = self.networks_of_ports(&ground.hops);
        match self.ground.changed(&ground) {
            Some(changed) if changed.is_empty() => {}
            Some(changed) => {
                let services = &self.state.services;
                let is_reached_alike =
                    |service: &ServiceState| !service.backends.keys().any(|listens| changed.contains(&listens.ip()));
                let alike = |vip: &&Vip| services.get(vip).is_some_and(is_reached_alike);
                self.waiting.extend(self.at_rest.keys().filter(|vip| !alike(vip)));
            }
            None => self.waiting.extend(self.at_rest.keys()),
        }
        self.ground = ground;
    }

    /// Merges what is not at rest into what is desired, and so many of those that wait for their turn.
    fn merge(&mut self, now: Instant, mut turns: usize) -> Merged {
        let mut merging = Merging::new(&self.config, &self.ground, &self.orders, &self.state);
        let mut fresh = Desired::default();
        let mut merged = Merged::default();
        let mut listed: BTreeSet<Vip> = BTreeSet::new();
        let mut said: Vec<(&str, Vec<String>)> = Vec::new();
        for service in &self.config.services {
            let Some(roster) = self.registries.rosters.get(&service.name) else { continue };
            listed.insert(service.vip);
            if let Some(known) = self.at_rest.get(&service.vip)
                && known.roster.is(roster)
                && known.is_undisturbed(&service.vip, &self.state)
                && (turns == 0 || !self.waiting.contains(&service.vip))
                && merging.skip(known.taken)
            {
                continue;
            }
            turns -= usize::from(turns > 0 && self.waiting.contains(&service.vip));
            let one = merging.service(service, roster);
            let wanted = DesiredService { networks: self.who_may(service), ..one.service };
            if !one.short && !roster.remembered && !is_under_way(&wanted) {
                let known = AtRest::of(roster, one.taken, &service.vip, &wanted, &self.state);
                merged.at_rest.push((service.vip, known));
            }
            said.push((&service.name, one.problems));
            fresh.services.insert(service.vip, wanted);
        }
        for vip in self.state.services.keys().filter(|vip| !listed.contains(vip)) {
            let former = self.retired.get(vip).map(|former| former.registry.as_str());
            // One that was there before this run may be of a registry that has not said yet which services it creates.
            let creators: Vec<&str> = match former {
                Some(former) => vec![former],
                None if self.adopted => self.config.creators(vip.address).collect(),
                None => vec![],
            };
            let has_not_spoken = |name: &&str| !self.registries.declared().contains_key(*name);
            let waits = former.is_none() && creators.iter().any(has_not_spoken);
            let service = if waits {
                merging.as_held(vip)
            } else {
                let is_gone = |address| creators.iter().all(|name| self.registries.is_gone(name, address));
                merging.retired(vip, |address| !creators.is_empty() && is_gone(address))
            };
            fresh.services.insert(*vip, service);
        }
        let (size, ramps) = (self.capacity.table_size, &mut self.ramps);
        ramps.hold_back(&mut fresh, &self.config, &self.state, size, now);
        merged.at_rest.retain(|(vip, _)| !ramps.has(vip));

        let before = std::mem::take(&mut self.problems);
        for (service, problems) in &said {
            for problem in problems {
                if !before.get(*service).is_some_and(|known| known.contains(problem)) {
                    tracing::warn!(service, problem);
                }
            }
        }
        let looked_at: BTreeSet<&str> = said.iter().map(|(service, _)| *service).collect();
        let stay =
            |service: &String| !looked_at.contains(service.as_str()) && self.registries.rosters.contains_key(service);
        self.problems = before.into_iter().filter(|(service, _)| stay(service)).collect();
        let said = said.into_iter().filter(|(_, problems)| !problems.is_empty());
        self.problems.extend(said.map(|(service, problems)| (service.to_owned(), problems)));

        let state = &self.state;
        self.desired.services.retain(|vip, _| listed.contains(vip) || state.services.contains_key(vip));
        for (vip, service) in fresh.services {
            self.at_rest.remove(&vip);
            self.state.rename_one(&vip, &service);
            merged.services.insert(vip);
            self.desired.services.insert(vip, service);
        }
        let at_rest = &self.at_rest;
        self.waiting.retain(|vip| at_rest.contains_key(vip) && listed.contains(vip));
        self.desired.around(&self.config, &self.ground, &self.state);
        self.desired.flow_limit = Some(flow_limit(self.capacity.flows));
        self.desired.error_limit = Some(error_limit());
        merged
    }

    /// Plans for these services, some at a time, and carries it out.
    fn apply(&mut self, services: &BTreeSet<Vip>, now: Instant) -> anyhow::Result<usize> {
        let mut change = Preview::default();
        let mut steps = 0;
        if self.whole {
            let planned = plan_whole(&self.desired, &self.state, &|table| self.plane.slots(table))?;
            steps += self.carry_out_and_tell(planned, &mut change)?;
        } else {
            let services: Vec<Vip> = services.iter().copied().collect();
            // Also without any there is what belongs to no single one.
            let first = services.chunks(AT_ONCE).next().unwrap_or_default();
            for some in std::iter::once(first).chain(services.chunks(AT_ONCE).skip(1)) {
                let some: BTreeSet<Vip> = some.iter().copied().collect();
                let slots = |table| self.plane.slots(table);
                let planned = plan_part(&self.desired, &self.state, &some, &slots)?;
                steps += self.carry_out_and_tell(planned, &mut change)?;
            }
        }
        if change.moves() {
            self.last_change = Some((now, change));
        }
        Ok(steps)
    }

    /// Carries out a plan, and adds to `change` what it does to tables.
    fn carry_out_and_tell(&mut self, planned: Planned, change: &mut Preview) -> anyhow::Result<usize> {
        let mut told = Ok(());
        if planned.steps.iter().any(|step| matches!(step.op, Op::Publish { .. })) {
            let slots = |table| self.plane.slots(table);
            told = change.tell(&planned, &self.state, &slots, TOLD);
        }
        let count = planned.steps.len();
        let applied = self.carry_out(planned.steps);
        // However far it came: those slots move.
        self.handover.begin(std::mem::take(&mut self.state.begun), self.plane.now_s());
        applied?;
        told.map(|()| count)
    }

    /// Notes which addresses these services need.
    fn follow(&mut self, services: &BTreeSet<Vip>) {
        let configured = self.config.services.iter().filter(|service| services.contains(&service.vip));
        let configured: BTreeMap<&Vip, &Service> = configured.map(|service| (&service.vip, service)).collect();
        for vip in services {
            let roster = configured.get(vip).and_then(|service| self.registries.rosters.get(&service.name));
            let listed = roster.iter().flat_map(|roster| roster.endpoints.iter().map(|endpoint| endpoint.address));
            let held = self.state.services.get(vip);
            let held = held.into_iter().flat_map(|held| held.backends.keys().map(std::net::SocketAddr::ip));
            self.addresses.set(*vip, listed.chain(held));
        }
        let (desired, held) = (&self.desired.services, &self.state.services);
        if self.addresses.services() > desired.len() {
            self.addresses.retain(|vip| desired.contains_key(vip) || held.contains_key(vip));
        }
    }
}

/// Whether something of a service may change though nobody says anything new: connections are cut, shares grow.
fn is_under_way(service: &DesiredService) -> bool {
    service.retires
        || !service.cut.is_empty()
        || service.backends.values().any(|backend| is_ramping(backend.share))
        || service.backends.values().all(|backend| backend.share == 0)
}
