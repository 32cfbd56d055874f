//! What each registry said last, and whether it still speaks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::api::types::RegistryRow;
use crate::config::{Config, Registry};
use crate::desired::Roster;
use crate::plan::{BackendState, State, weight_of};
use crate::server_id::ServerId;
use crate::source::declared::Declared;
use crate::source::{Endpoint, Report, Snapshot, Update};

/// Every configured registry, and the rosters of the services that came of them.
#[derive(Debug, Default)]
pub struct Registries {
    pub(super) by_name: BTreeMap<String, Heard>,
    /// The endpoints that stand, by the service's name.
    pub rosters: BTreeMap<String, Roster>,
    /// What is in force of what registries declared, by the registry's name.
    pub(super) declared: BTreeMap<String, Arc<Declared>>,
    /// What is wrong with that, by the registry's name.
    pub(super) misdeclared: BTreeMap<String, Vec<String>>,
}

/// What was heard of a registry.
#[derive(Debug, Default)]
pub(super) struct Heard {
    source: String,
    last_good: Option<Instant>,
    problem: Option<String>,
    /// What it declared for the snapshot that comes.
    pub(super) pending: Option<Arc<Declared>>,
    /// The addresses of its endpoints, when it is authoritative and has spoken.
    pub(super) addresses: Option<BTreeSet<IpAddr>>,
    /// What it says of services that are neither configured nor created.
    pub(super) unclaimed: Vec<String>,
}

impl Registries {
    /// Notes that a registry is followed; `source` says what it is.
    pub fn expect(&mut self, name: &str, source: String) {
        self.by_name.insert(name.to_owned(), Heard { source, ..Heard::default() });
    }

    /// Notes that a registry is not followed any more.
    pub fn part(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Takes what the data plane holds for what registries said last.
    pub fn remember(&mut self, config: &Config, state: &State) {
        for service in &config.services {
            let Some(held) = state.services.get(&service.vip) else { continue };
            let servers: BTreeMap<u32, ServerId> =
                state.quic.iter().filter_map(|(key, id)| Some((*id, ServerId::of_key(key)?))).collect();
            let endpoint = |(listens, backend): (&SocketAddr, &BackendState)| Endpoint {
                id: backend.name.clone(),
                address: listens.ip(),
                port: listens.port(),
                weight: weight_of(backend.row.weight),
                zone: None,
                forward: Some(backend.forward()),
                server_id: servers.get(&backend.id).copied(),
            };
            let endpoints: Arc<[Endpoint]> = held.backends.iter().map(endpoint).collect();
            // Also without any: the service is there, and its packets are refused by name.
            let held =
                Some("the registry has not answered since Weir began anew; the backends of before stand".to_owned());
            self.rosters
                .insert(service.name.clone(), Roster { endpoints, held, remembered: true, authoritative: false });
        }
    }

    /// Takes in what a source says.
    pub fn hear(&mut self, config: &Config, update: Update, now: Instant) {
        let name: &str = &update.registry;
        let Some(registry) = self.by_name.get_mut(name) else { return };
        match update.report {
            Report::Snapshot(snapshot) => {
                if registry.problem.take().is_some() {
                    tracing::info!(registry = name, "the registry can be read again");
                }
                registry.last_good = Some(now);
                self.call(config, name, Some(&snapshot));
            }
            Report::Declared(declared) => registry.pending = Some(declared),
            Report::Problem(problem) => {
                if registry.problem.as_ref() != Some(&problem) {
                    let stands =
                        registry.last_good.map_or("there is no good state yet", |_| "the last good state stands");
                    tracing::warn!(registry = name, %problem, "the registry cannot be read; {stands}");
                }
                registry.problem = Some(problem);
                self.call(config, name, None);
            }
        }
    }

    /// Hands every service of a registry what was said of it, or nothing but that it was asked.
    fn call(&mut self, config: &Config, name: &str, snapshot: Option<&Snapshot>) {
        let kind = config.registries.get(name);
        let authoritative = kind.is_some_and(Registry::is_authoritative);
        if let (true, Some(snapshot), Some(registry)) = (authoritative, snapshot, self.by_name.get_mut(name)) {
            let addresses = snapshot.values().flat_map(|endpoints| endpoints.iter().map(|endpoint| endpoint.address));
            registry.addresses = Some(addresses.collect());
        }
        if let (true, Some(snapshot)) = (kind.is_some_and(Registry::declares), snapshot) {
            self.claim(config, name, snapshot);
        }
        for service in config.services.iter().filter(|service| service.registry == name) {
            if !self.rosters.contains_key(&service.name) {
                self.rosters.insert(service.name.clone(), Roster::default());
            }
            let Some(roster) = self.rosters.get_mut(&service.name) else { continue };
            let Some(snapshot) = snapshot else { continue };
            let held = roster.held.is_some();
            roster.hear(snapshot.get(&service.wanted().key()), authoritative);
            match &roster.held {
                Some(reason) if !held => tracing::warn!(service = service.name, registry = name, reason, "held back"),
                None if held => tracing::info!(service = service.name, registry = name, "not held back any more"),
                Some(_) | None => {}
            }
        }
    }

    /// Whether every registry has spoken.
    pub fn all_spoke(&self) -> bool {
        self.by_name.values().all(|registry| registry.last_good.is_some() || registry.problem.is_some())
    }

    /// All of them, for a person.
    pub fn rows(&self, now: Instant) -> Vec<RegistryRow> {
        let row = |(name, registry): (&String, &Heard)| RegistryRow {
            name: name.clone(),
            source: registry.source.clone(),
            state: match (self.problem(name, registry), registry.last_good) {
                (Some(_), _) => "failing",
                (None, Some(_)) => "ok",
                (None, None) => "waiting",
            }
            .to_owned(),
            problem: self.problem(name, registry),
            last_good_s: registry.last_good.map(|at| now.saturating_duration_since(at).as_secs()),
        };
        self.by_name.iter().map(row).collect()
    }

    /// Everything that is wrong with a registry and what it says.
    fn problem(&self, name: &str, registry: &Heard) -> Option<String> {
        let misdeclared = self.misdeclared.get(name).into_iter().flatten();
        let all: Vec<&str> =
            registry.problem.iter().chain(misdeclared).chain(&registry.unclaimed).map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join("\n"))
    }
}
