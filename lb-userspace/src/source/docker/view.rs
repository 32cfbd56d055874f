//! What is known of an engine's containers, as events and listings tell it. Does no I/O.
//!
//! An event says that something is another way than before; how it is says an inspection, which the engine answers between
//! changes. Only what must not wait for that is believed at once: that a container is to stop, and that it has died.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{ContainerSummary, EventMessage, EventMessageTypeEnum};
use nix::sys::signal::Signal;

use super::container::{Container, State, signal};
use super::network::Networks;

/// The signal that ends a process whatever it does.
const SIGKILL: i32 = Signal::SIGKILL as i32;

/// How many containers are known at once; a host's kernel holds far fewer.
pub(super) const MAX_CONTAINERS: usize = 65_536;

/// What is known of an engine's containers.
#[derive(Debug, Default)]
pub(super) struct View {
    entries: BTreeMap<String, Entry>,
    pub(super) networks: Networks,
    /// How much has happened: orders what was asked and what was heard.
    clock: u64,
    /// The containers that are to be inspected.
    unseen: BTreeSet<String>,
    /// Whether the networks are to be listed.
    pub(super) wants_networks: bool,
    /// Whether something has changed that nobody was told.
    pub(super) changed: bool,
}

#[derive(Debug, Default)]
struct Entry {
    /// How it was when it was inspected last; `None` before that, and when it does not run.
    container: Option<Container>,
    /// When something happened to it.
    happened: u64,
    /// When it was asked about, if the answer has not come.
    asked: Option<u64>,
    /// How the last listing had it.
    listed: Option<String>,
    /// A signal that it was sent since it was started, before it was known which stop it.
    signal: Option<i32>,
    /// Why it could not be inspected.
    fault: Option<String>,
}

impl View {
    /// Before a connection anew: whatever was asked is not answered any more, and what happened since nobody knows.
    pub(super) fn begin(&mut self) {
        self.unseen.clear();
        for entry in self.entries.values_mut() {
            (entry.asked, entry.listed) = (None, None);
        }
        self.entries.retain(|_, entry| entry.container.is_some());
    }

    /// The time, for whoever asks for a listing.
    pub(super) const fn now(&self) -> u64 {
        self.clock
    }

    /// Whether everything that is to be inspected has been.
    pub(super) fn is_settled(&self) -> bool {
        self.unseen.is_empty() && self.entries.values().all(|entry| entry.asked.is_none())
    }

    /// Takes in that something happened.
    pub(super) fn hear(&mut self, event: EventMessage) {
        let Some(action) = event.action else { return };
        let actor = event.actor.unwrap_or_default();
        let attributes = actor.attributes.unwrap_or_default();
        match event.typ {
            Some(EventMessageTypeEnum::CONTAINER) => {
                let Some(id) = actor.id else { return };
                // "health_status: healthy"
                match action.split(':').next().unwrap_or_default() {
                    "die" | "destroy" => self.gone(&id),
                    "kill" => self.killed(&id, attributes.get("signal").and_then(|text| signal(text))),
                    "create" | "remove" => {}
                    "start" => {
                        if let Some(entry) = self.entries.get_mut(&id) {
                            entry.signal = None;
                        }
                        self.look_at(id);
                    }
                    _ => self.look_at(id),
                }
            }
            Some(EventMessageTypeEnum::NETWORK) => match action.as_str() {
                "connect" | "disconnect" => {
                    let of = attributes.get("container").filter(|id| self.entries.contains_key(*id));
                    // One that nobody knows does not run yet: its start is told.
                    if let Some(id) = of {
                        self.look_at(id.clone());
                    }
                }
                _ => self.wants_networks = true,
            },
            _ => {}
        }
    }

    /// Something happened to a container.
    fn look_at(&mut self, id: String) {
        self.clock += 1;
        if self.entries.len() >= MAX_CONTAINERS && !self.entries.contains_key(&id) {
            return;
        }
        self.entries.entry(id.clone()).or_default().happened = self.clock;
        self.unseen.insert(id);
    }

    fn killed(&mut self, id: &str, signal: Option<i32>) {
        // From this one nobody comes back, and every millisecond until the engine says so is somebody's request.
        if signal == Some(SIGKILL) {
            self.gone(id);
            // An inspection that is under way, or comes before it is dead, may still find it running.
            if let Some(entry) = self.entries.get_mut(id) {
                entry.signal = signal;
            }
            return;
        }
        let (Some(entry), Some(signal)) = (self.entries.get_mut(id), signal) else { return };
        if let Some(container) = entry.container.as_mut().filter(|container| container.is_stopped_by(signal)) {
            container.state = State::Stopping;
            self.changed = true;
        }
        // Whoever is inspected meanwhile does not say it.
        let stops = entry.container.as_ref().is_none_or(|container| container.is_stopped_by(signal));
        entry.signal = if stops { Some(signal) } else { entry.signal };
    }

    fn gone(&mut self, id: &str) {
        self.clock += 1;
        self.unseen.remove(id);
        let Some(entry) = self.entries.get_mut(id) else { return };
        self.changed |= entry.container.is_some();
        if entry.asked.is_some() {
            // The answer may be from before.
            *entry = Entry { asked: entry.asked, happened: self.clock, ..Entry::default() };
        } else {
            self.entries.remove(id);
        }
    }

    /// A container that is to be inspected, and when that was asked.
    pub(super) fn ask(&mut self) -> Option<(String, u64)> {
        let unasked = |id: &&String| self.entries.get(*id).is_some_and(|entry| entry.asked.is_none());
        let id = self.unseen.iter().find(unasked)?.clone();
        self.unseen.remove(&id);
        let entry = self.entries.get_mut(&id)?;
        entry.asked = Some(self.clock);
        Some((id, self.clock))
    }

    /// Takes in how a container is; `None` when there is none.
    pub(super) fn inspected(&mut self, id: &str, answer: Result<Option<Container>, String>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Some(asked) = entry.asked.take() else { return };
        if entry.happened > asked {
            // The engine may have answered before that.
            self.unseen.insert(id.to_owned());
            return;
        }
        match answer {
            Err(fault) => {
                self.changed |= entry.fault.as_ref() != Some(&fault);
                (entry.fault, entry.listed) = (Some(fault), None);
            }
            Ok(Some(mut container)) if container.state != State::Off => {
                if entry.container.as_ref().is_some_and(|before| before.started != container.started) {
                    entry.signal = None;
                }
                if entry.signal.is_some_and(|signal| container.is_stopped_by(signal)) {
                    container.state = State::Stopping;
                }
                let is_new = |id: &String| !id.is_empty() && !self.networks.contains_key(id);
                self.wants_networks |= container.attachments.iter().any(|attachment| is_new(&attachment.id));
                self.changed |= entry.container.as_ref() != Some(&container) || entry.fault.is_some();
                (entry.container, entry.fault) = (Some(container), None);
            }
            Ok(_) => {
                self.changed |= entry.container.is_some() || entry.fault.is_some();
                self.entries.remove(id);
            }
        }
    }

    /// Takes in which networks there are.
    pub(super) fn know(&mut self, networks: Networks) {
        self.changed |= self.networks != networks;
        self.networks = networks;
    }

    /// Takes in which containers run, as it was asked at `asked`: those that are not listed are gone, and those that are
    /// listed in another way than before are to be inspected.
    pub(super) fn list(&mut self, asked: u64, containers: Vec<ContainerSummary>) {
        let mut listed: BTreeSet<String> = BTreeSet::new();
        for summary in containers.into_iter().take(MAX_CONTAINERS) {
            let print = print(&summary);
            let Some(id) = summary.id else { continue };
            listed.insert(id.clone());
            let entry = self.entries.entry(id.clone()).or_default();
            let stops = entry.container.as_ref().is_some_and(|container| container.state == State::Stopping);
            if entry.container.is_none() || stops || entry.listed.as_ref() != Some(&print) {
                self.unseen.insert(id);
            }
            entry.listed = Some(print);
        }
        let is_gone = |entry: &Entry| entry.happened <= asked && entry.asked.is_none();
        let gone = self.entries.iter().filter(|(id, entry)| !listed.contains(*id) && is_gone(entry));
        for id in gone.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.gone(&id);
        }
    }

    /// All containers that run, those that were created first before others.
    pub(super) fn containers(&self) -> Vec<&Container> {
        let mut all: Vec<&Container> = self.entries.values().filter_map(|entry| entry.container.as_ref()).collect();
        all.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        all
    }

    /// What kept containers from being inspected.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        self.entries.iter().filter_map(|(id, entry)| {
            let name = entry.container.as_ref().map_or(super::container::short(id), |container| &container.name);
            Some(format!("container {name} cannot be inspected: {}", entry.fault.as_ref()?))
        })
    }
}

/// What of a listed container is the same for as long as nothing happens to it.
fn print(summary: &ContainerSummary) -> String {
    let health = summary.status.as_deref().and_then(|status| status.split_once('(')).map(|(_, health)| health);
    let networks = summary.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let networks: BTreeMap<_, _> = networks
        .into_iter()
        .flatten()
        .map(|(name, one)| (name, (&one.network_id, &one.ip_address, &one.global_ipv6_address, &one.mac_address)))
        .collect();
    format!("{:?} {:?} {health:?} {networks:?}", summary.names, summary.state)
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
