//! What the controller shows of itself.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Result;
use lb_common::abi::Traffic;
use lb_common::refusal::Action;

use super::Controller;
use crate::api::types::{BackendRow, Carried, InterfaceRow, Ledger, Moving, RefusalRow, ServiceRow, Status};
use crate::config::Forward;
use crate::dataplane::DataPlane;
use crate::dataplane::kernel::TOOLCHAIN;
use crate::desired::{DesiredBackend, DesiredService, Merging};
use crate::plan::{BackendState, ServiceState};
use crate::vip::Vip;

impl<P: DataPlane> Controller<P> {
    /// How it is; `interfaces` and `troubles` come from whoever attached the programs.
    pub fn status(&self, interfaces: Vec<InterfaceRow>, troubles: Vec<String>, now: Instant) -> Status {
        let registries = self.registries.rows(now);
        let failing = registries
            .iter()
            .filter_map(|row| row.problem.as_ref().map(|problem| format!("registry {}: {problem}", row.name)));
        let services = self.problems.iter().flat_map(|(service, problems)| {
            problems.iter().map(move |problem| format!("service {service}: {problem}"))
        });
        let behind = self.behind.iter().map(|behind| format!("the data plane is behind: {}", behind.error));
        let problems =
            troubles.into_iter().chain(behind).chain(self.networks.problems()).chain(failing).chain(services).collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            ready: self.is_ready(now),
            generation: self.generation,
            uptime_s: now.saturating_duration_since(self.started).as_secs(),
            interfaces,
            registries,
            services: self.config.services.len(),
            backends: self.desired.services.iter().map(|(vip, service)| self.count(vip, service)).sum(),
            problems,
            bpf_toolchain: TOOLCHAIN.to_owned(),
            moving: self.moving(),
            last_change: self.last_change(now),
            on_exit: self.config.weir.on_exit.name().to_owned(),
            state: self.config.weir.state.display().to_string(),
            abi: lb_common::abi::VERSION,
            adopted: self.adopted,
        }
    }

    /// How many backends a service has.
    fn count(&self, vip: &Vip, service: &DesiredService) -> usize {
        if service.rests {
            return self.state.services.get(vip).map_or(0, |held| held.backends.len());
        }
        service.backends.len()
    }

    fn moving(&self) -> Moving {
        let moving = self.state.services.values().map(|service| service.moving());
        // Counters that cannot be read now are shown by the next question.
        let count = self.plane.tally().unwrap_or_default();
        Moving {
            slots: moving.clone().sum(),
            services: moving.filter(|slots| *slots > 0).count(),
            flows: self.handover.flows,
            flow_lookups: count.lookups,
            flows_expired: self.expired,
            inserts_refused: count.refused,
        }
    }

    /// What is served, in the order of the configuration.
    pub fn services(&self) -> Result<Vec<ServiceRow>> {
        let row = |service: &crate::config::Service| {
            let state = self.state.services.get(&service.vip);
            let traffic = state.map(|state| self.traffic(state)).transpose()?.unwrap_or_default();
            Ok(ServiceRow {
                name: service.name.clone(),
                vip: service.vip.to_string(),
                forward: service.forward.name().to_owned(),
                registry: service.registry.clone(),
                backends: state.map_or(0, |state| state.backends.len()),
                packets: traffic.packets,
                bytes: traffic.bytes,
                reply_packets: traffic.reply_packets,
                reply_bytes: traffic.reply_bytes,
                problems: self.problems.get(&service.name).cloned().unwrap_or_default(),
            })
        };
        self.config.services.iter().map(row).collect()
    }

    /// What a service carried: its backends, and what none of them did.
    fn traffic(&self, service: &ServiceState) -> Result<Traffic> {
        let mut carried = self.plane.service_traffic(service.id)?;
        for backend in service.backends.values() {
            carried += self.plane.backend_traffic(backend.id)?;
        }
        Ok(carried)
    }

    /// The backends of all services, or of one.
    ///
    /// # Errors
    /// When there is no such service, or a counter cannot be read.
    pub fn backends(&self, service: Option<&str>) -> Result<Vec<BackendRow>> {
        if let Some(name) = service {
            self.must_know(name)?;
        }
        let mut rows = Vec::new();
        let configured = self.config.services.iter().map(|service| (&service.vip, Some(service)));
        // After those that are configured, those that only drain.
        let retiring = self.desired.services.iter().filter(|(_, desired)| desired.retires).map(|(vip, _)| (vip, None));
        let meant = |vip: &Vip| service.is_none_or(|name| self.name(vip) == name);
        let mut merging = Merging::new(&self.config, &self.ground, &self.orders, &self.state);
        for (vip, configured) in configured.chain(retiring).filter(|(vip, _)| meant(vip)) {
            let state = self.state.services.get(vip);
            let Some(desired) = self.desired.services.get(vip) else { continue };
            // What is at rest is what it would be merged to.
            let roster = configured.filter(|_| desired.rests).zip(self.registries.rosters.get(&desired.name));
            let merged = roster.map(|(configured, roster)| merging.service(configured, roster).service);
            let desired = merged.as_ref().unwrap_or(desired);
            let held = state.iter().flat_map(|state| state.backends.keys());
            // What a person took out is shown for as long as the order stands.
            let ordered = desired.cut.iter().filter(|listens| self.orders.get(&(*vip, **listens)).flags != 0);
            let all: BTreeSet<&SocketAddr> = held.chain(ordered).collect();
            for listens in all {
                rows.push(self.backend_row(vip, listens, desired.backends.get(listens))?);
            }
        }
        Ok(rows)
    }

    fn backend_row(&self, vip: &Vip, listens: &SocketAddr, wanted: Option<&DesiredBackend>) -> Result<BackendRow> {
        let whose = (*vip, *listens);
        let state = self.state.services.get(vip);
        let held = state.and_then(|state| state.backends.get(listens));
        let traffic = held.map(|held| self.plane.backend_traffic(held.id)).transpose()?.unwrap_or_default();
        let count = state.zip(held).and_then(|(state, held)| state.slots.get(&held.id)).copied().unwrap_or_default();
        let (id, service) = self.names(&whose);
        let forward =
            wanted.map(|wanted| wanted.forward).or_else(|| held.map(BackendState::forward)).unwrap_or(Forward::Nat);
        Ok(BackendRow {
            service,
            id,
            address: listens.ip().to_string(),
            port: listens.port(),
            weight: wanted.map_or(0, |wanted| wanted.weight),
            zone: wanted.and_then(|wanted| wanted.zone.as_deref()).map(str::to_owned),
            state: self.backend_state(&whose).to_owned(),
            slots: count.current,
            slots_moving: count.old,
            forward: forward.name().to_owned(),
            delivery: self.ground.describe(listens.ip(), forward),
            packets: traffic.packets,
            bytes: traffic.bytes,
            reply_packets: traffic.reply_packets,
            reply_bytes: traffic.reply_bytes,
        })
    }

    /// What became of every packet; `interfaces` comes from whoever attached the programs.
    ///
    /// # Errors
    /// When a counter cannot be read.
    pub fn ledger(&self, interfaces: Vec<InterfaceRow>) -> Result<Ledger> {
        let configured = self.config.services.iter().map(|service| &service.vip);
        let retiring =
            self.state.services.keys().filter(|vip| !self.config.services.iter().any(|one| one.vip == **vip));
        let mut services = Vec::new();
        for vip in configured.chain(retiring) {
            let state = self.state.services.get(vip);
            let traffic = state.map(|state| self.traffic(state)).transpose()?.unwrap_or_default();
            services.push(carried(self.name(vip), traffic));
        }
        let gone = carried(String::new(), self.plane.gone_traffic()?);
        let inside = self.plane.tally()?.inside;
        let mut ledger = Ledger { services, gone, refusals: self.refusals()?, sum: 0, inside, interfaces };
        ledger.add_up();
        Ok(ledger)
    }

    /// What was not forwarded, by reason.
    fn refusals(&self) -> Result<Vec<RefusalRow>> {
        let row = |(refusal, packets): (lb_common::Refusal, u64)| RefusalRow {
            name: refusal.name().to_owned(),
            action: match refusal.action() {
                Action::Pass => "pass".to_owned(),
                Action::Drop => "drop".to_owned(),
                Action::Answer => "answered".to_owned(),
            },
            packets,
            meaning: refusal.meaning().trim().to_owned(),
            advice: refusal.advice().to_owned(),
        };
        Ok(self.plane.refusals()?.into_iter().map(row).collect())
    }
}

fn carried(service: String, traffic: Traffic) -> Carried {
    Carried { service, packets: traffic.packets, reply_packets: traffic.reply_packets }
}
