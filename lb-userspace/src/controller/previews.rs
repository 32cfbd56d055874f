//! What a change would do, and taking over another configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, bail};
use lb_common::abi::{FlowKey, ServiceFlags};

use super::{Controller, declaring, limit_changes};
use crate::api::types::{Change, PlanBackend, PlanReport, PlannedBackend, PlannedService};
use crate::config::{Config, Registry, Service, Share};
use crate::dataplane::{DataPlane, Op};
use crate::desired::{self, Ground, Roster};
use crate::plan::{Preview, PreviewedBackend, PreviewedService, preview, weight_of};
use crate::source::{Endpoint, Snapshot};
use crate::vip::Vip;

impl<P: DataPlane> Controller<P> {
    /// The configuration that is in force.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Has the packet path note every flow it sees, until [`Self::end_census`].
    ///
    /// # Errors
    /// When the data plane does not take it.
    pub fn begin_census(&mut self) -> Result<()> {
        self.plane.take_census()?;
        self.flag_census(ServiceFlags::CENSUS)
    }

    /// The flows that were seen since [`Self::begin_census`], or as many as can be noted.
    ///
    /// # Errors
    /// When the data plane cannot be read.
    pub fn end_census(&mut self) -> Result<Vec<FlowKey>> {
        self.flag_census(0)?;
        self.plane.take_census()
    }

    fn flag_census(&mut self, flag: u32) -> Result<()> {
        self.state.services.values().try_for_each(|service| {
            self.plane.apply(&Op::SetFlags { service: service.id, flags: service.head.flags | flag })
        })
    }

    /// The registries of a configuration that have to be asked before it can be said what it would do: those that are
    /// not followed as it wants it.
    pub fn unheard(&self, config: &Config) -> Vec<String> {
        let mut unheard: Vec<String> = config
            .services
            .iter()
            .filter(|new| self.roster(config, new).is_none())
            .map(|new| new.registry.clone())
            .collect();
        unheard.sort_unstable();
        unheard.dedup();
        unheard
    }

    /// The roster of a service that is followed already as another configuration wants it.
    fn roster(&self, config: &Config, new: &Service) -> Option<&Roster> {
        let same = |old: &&Service| {
            old.registry == new.registry
                && self.config.registries.get(&old.registry) == config.registries.get(&new.registry)
                && old.wanted() == new.wanted()
        };
        self.config.services.iter().filter(same).find_map(|old| self.registries.rosters.get(&old.name))
    }

    /// The rosters that another configuration would start with.
    fn rosters(&self, config: &Config, answers: &BTreeMap<String, Snapshot>) -> BTreeMap<String, Roster> {
        // Another registry is believed no more than the same one when it knows of no backend.
        let former = |new: &Service| {
            let old = self.config.services.iter().find(|old| old.vip == new.vip)?;
            self.registries.rosters.get(&old.name)
        };
        let roster = |new: &Service| {
            let mut roster = self.roster(config, new).or_else(|| former(new)).cloned().unwrap_or_default();
            if let Some(answer) = answers.get(&new.registry) {
                let authoritative = config.registries.get(&new.registry).is_some_and(Registry::is_authoritative);
                roster.hear(answer.get(&new.wanted().key()), authoritative);
            }
            (new.name.clone(), roster)
        };
        config.services.iter().map(roster).collect()
    }

    /// What another configuration would do, given what the registries in [`Self::unheard`] say.
    ///
    /// # Errors
    /// When it cannot be taken over while running, or there is not room for it.
    pub fn preview(
        &self,
        config: &Config,
        answers: &BTreeMap<String, Snapshot>,
        census: &[FlowKey],
    ) -> Result<PlanReport> {
        self.must_be_possible(config)?;
        let (config, misdeclared) = self.in_force(config);
        let config = &config;
        let rosters = self.rosters(config, answers);
        let (mut desired, problems) = desired::merge(config, &rosters, &self.ground, &self.orders, &self.state);
        desired.flow_limit = self.desired.flow_limit;
        desired.error_limit = self.desired.error_limit;
        let mut notes: Vec<String> = problems
            .iter()
            .flat_map(|(name, all)| all.iter().map(move |one| format!("service {name}: {one}")))
            .collect();
        notes.extend(misdeclared.into_values().flatten());
        if config.services.iter().any(|service| service.slow_start.is_some()) {
            notes.push(
                "with slow_start a new backend's slots move step by step; these figures are for the end".to_owned(),
            );
        }
        if config.weir.max_services > self.capacity.services {
            notes.push(format!(
                "max_services = {} counts from the next start: the maps have room for {}",
                config.weir.max_services, self.capacity.services
            ));
        }
        for (what, wanted, held) in [
            ("backends of snat (`max_snat_backends`)", config.weir.max_snat_backends, self.capacity.snat_pools),
            ("addresses of a family (`snat_addresses`)", config.weir.snat_stride(), self.capacity.snat_stride),
        ] {
            if wanted > held {
                notes.push(format!(
                    "ports for {wanted} {what} are made at the next start: the maps have room for {held}"
                ));
            }
        }
        let off = self.config.interfaces.iter().filter(|old| !config.interfaces.iter().any(|new| new.name == old.name));
        notes.extend(off.map(|old| format!("interface {} loses its programs", old.name)));
        notes.extend(limit_changes::told(&self.config.services, &config.services));
        let previewed = preview(&desired, &self.state, &|table| self.plane.slots(table), census)?;
        let retires = |vip: &Vip| desired.services.get(vip).is_none_or(|service| service.retires);
        Ok(report(&previewed, retires, notes))
    }

    /// What other backends, or weights, would do.
    ///
    /// # Errors
    /// As [`Self::preview`], and when there is no such service.
    pub fn preview_backends(&self, backends: &[PlanBackend], census: &[FlowKey]) -> Result<PlanReport> {
        let mut rosters = self.registries.rosters.clone();
        for PlanBackend { service, address, port, weight } in backends {
            if !self.config.services.iter().any(|known| known.name == *service) {
                self.must_know(service)?;
                bail!("the service {service:?} is not in the configuration any more: nothing joins it");
            }
            let roster = rosters.entry(service.clone()).or_default();
            let mut endpoints = roster.endpoints.to_vec();
            match endpoints.iter_mut().find(|one| (one.address, one.port) == (*address, *port)) {
                Some(known) => known.weight = *weight,
                None => endpoints.push(Endpoint {
                    id: SocketAddr::new(*address, *port).to_string().into(),
                    address: *address,
                    port: *port,
                    weight: *weight,
                    zone: None,
                    forward: None,
                    server_id: None,
                }),
            }
            roster.endpoints = endpoints.into();
        }
        let (mut desired, problems) = desired::merge(&self.config, &rosters, &self.ground, &self.orders, &self.state);
        desired.flow_limit = self.desired.flow_limit;
        let new = problems.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one)));
        let new = new.filter(|(name, one)| !self.problems.get(*name).is_some_and(|known| known.contains(one)));
        let notes = new.map(|(name, one)| format!("service {name}: {one}")).collect();
        let previewed = preview(&desired, &self.state, &|table| self.plane.slots(table), census)?;
        Ok(report(&previewed, |vip| desired.services.get(vip).is_none_or(|service| service.retires), notes))
    }

    /// Refuses what the maps that stand cannot be changed to.
    fn must_be_possible(&self, config: &Config) -> Result<()> {
        let (old, new) = (&self.config.weir, &config.weir);
        let fixed = [
            ("socket", old.socket != new.socket),
            ("state", old.state != new.state),
            ("hash_seed", old.hash_seed != new.hash_seed),
            ("table_size", new.table_size_said && new.table_size != self.capacity.table_size),
            ("max_sources", old.max_sources != new.max_sources),
            ("max_backends", old.max_backends != new.max_backends),
            ("max_flows", old.max_flows != new.max_flows),
            ("max_snat_flows", old.max_snat_flows != new.max_snat_flows),
            ("max_fragments", old.max_fragments != new.max_fragments),
        ];
        if config.services.len() > self.capacity.services as usize {
            bail!(
                "found {} services, expected at most the {} that the maps were made for. Nothing was changed; set \
                 `max_services` under [weir] and start Weir anew",
                config.services.len(),
                self.capacity.services
            );
        }
        if let Some(problem) = config.missing_device(&self.ground.hops.devices, &self.config.interfaces) {
            bail!("{problem}. Nothing was changed");
        }
        let changed: Vec<&str> = fixed.iter().filter(|(_, changed)| *changed).map(|(key, _)| *key).collect();
        if !changed.is_empty() {
            bail!(
                "found another {} under [weir], expected what Weir was started with: the maps were made for it. Nothing \
                 was changed; put it back, or start Weir anew",
                changed.join(", ")
            );
        }
        Ok(())
    }

    /// Takes over another configuration; what it would do was looked at with [`Self::preview`].
    ///
    /// # Errors
    /// When it cannot be taken over while running; then everything is as it was.
    pub fn reconfigure(
        &mut self,
        config: Config,
        answers: &BTreeMap<String, Snapshot>,
        ground: Ground,
        now: Instant,
    ) -> Result<()> {
        self.must_be_possible(&config)?;
        self.written = declaring::may_differ(&config).then(|| config.clone());
        let (config, misdeclared) = self.in_force(&config);
        self.registries.misdeclare(misdeclared);
        self.registries.rosters = self.rosters(&config, answers);
        self.go_by(config);
        self.stand(ground);
        self.at_rest.clear();
        self.reconcile(now);
        Ok(())
    }

    /// The last change of the tables.
    pub(super) fn last_change(&self, now: Instant) -> Option<Change> {
        let (at, change) = self.last_change.as_ref()?;
        let retires = |vip: &Vip| self.desired.services.get(vip).is_none_or(|service| service.retires);
        let PlanReport { services, moved_ppm, .. } = report(change, retires, Vec::new());
        let services = services.into_iter().filter(|service| service.change != "same").collect();
        Some(Change { at_s_ago: now.saturating_duration_since(*at).as_secs(), services, moved_ppm })
    }
}

/// Refuses a change that moves more than it may.
///
/// # Errors
/// Names the largest share, and whose it is.
pub fn must_keep_within(report: &PlanReport, max_moved: Option<Share>) -> Result<()> {
    let Some(max) = max_moved.filter(|max| report.moved_ppm > max.0) else { return Ok(()) };
    let worst = report.services.iter().filter(|service| service.change != "new");
    let worst = worst.max_by_key(|service| Share::of(service.slots_moved.into(), service.slots.into()));
    let whose = worst.map_or_else(String::new, |service| {
        format!(" of service {} ({} of its {} slots)", service.service, service.slots_moved, service.slots)
    });
    bail!(
        "found that {} of the table{whose} would move, expected at most {max}: nothing was changed. `weir plan` shows \
         what moves; change less at once, or allow more",
        Share(report.moved_ppm)
    )
}

fn report(preview: &Preview, retires: impl Fn(&Vip) -> bool, notes: Vec<String>) -> PlanReport {
    let services = preview.services.iter().map(|(vip, seen)| service(seen, retires(vip))).collect();
    PlanReport { services, moved_ppm: preview.moved_ppm(), notes, applied: false }
}

fn service(seen: &PreviewedService, retires: bool) -> PlannedService {
    let changed = |backend: &PreviewedBackend| backend.share_before != backend.share_after;
    let change = if retires {
        "removed"
    } else if seen.slots_before == 0 && seen.slots_after != 0 {
        "new"
    } else if seen.slots_moved > 0 || seen.backends.values().any(changed) {
        "changed"
    } else {
        "same"
    };
    PlannedService {
        service: seen.name.clone(),
        change: change.to_owned(),
        slots: seen.slots_before.max(seen.slots_after),
        slots_moved: seen.slots_moved,
        flows_sampled: seen.flows,
        flows_moved: seen.flows_moved,
        backends: seen.backends.iter().map(|(listens, seen)| backend(*listens, seen)).collect(),
    }
}

fn backend(listens: SocketAddr, seen: &PreviewedBackend) -> PlannedBackend {
    PlannedBackend {
        id: seen.name.to_string(),
        address: listens.ip().to_string(),
        port: listens.port(),
        weight_before: seen.share_before.map(weight_of),
        weight_after: seen.share_after.map(weight_of),
        slots_before: seen.slots_before,
        slots_after: seen.slots_after,
        slots_moved: seen.slots_moved,
        flows_moved: seen.flows_moved,
    }
}
