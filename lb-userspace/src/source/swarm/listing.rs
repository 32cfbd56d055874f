//! What the services of a swarm together say: endpoints, services, who may use them, and what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::{Cluster, Phase, Service, Task};
use super::place::place;
use crate::config::Prefix;
use crate::source::docker::claims::{Bearer, Claims, Member, allow};
use crate::source::docker::container::short;
use crate::source::docker::label::Labels;
use crate::source::docker::listing::{Listing, idle, ports};
use crate::source::{DEFAULT_WEIGHT, Endpoint, MAX_ENDPOINTS};

/// How many tasks with one problem are named.
const MAX_NAMED: usize = 3;

/// What serves one service of Weir's.
#[derive(Default)]
struct Serving<'c> {
    members: Vec<Member<'c>>,
    endpoints: Vec<Endpoint>,
    /// Why each task takes no new flows; `None` when it does.
    idle: Vec<Option<String>>,
}

/// Reads a swarm. Services that were created first come before others, and those that are there before those that were
/// removed.
pub(super) fn of(cluster: &Cluster, may_create: &[Prefix]) -> Listing {
    let mut listing = Listing::default();
    let containers = cluster.containers.values().map(|one| (one.name.as_str(), one.attachments.as_slice()));
    listing.declared.ports = ports(containers, &cluster.networks);
    let on: BTreeSet<&str> =
        cluster.containers.values().flat_map(|one| &one.attachments).map(|one| one.id.as_str()).collect();
    // There are more overlays than can be told apart; of those that nobody here is on nobody here can come.
    let here = cluster.networks.values().filter(|one| one.bridge.is_some() || on.contains(one.id.as_str()));
    if cluster.here.is_some() {
        listing.declared.networks = here.cloned().collect();
    }
    let mut services: Vec<&Service> = cluster.services.values().collect();
    services.sort_by(|a, b| (a.removed, &a.created, &a.id).cmp(&(b.removed, &b.created, &b.id)));
    let mut all: BTreeMap<String, Serving<'_>> = BTreeMap::new();
    let mut claims = Claims::default();
    for service in services {
        let bearer = Bearer { kind: "Swarm service", name: &service.name, project: service.stack.as_deref() };
        let labels = match Labels::read(&service.labels) {
            None => continue,
            Some(Ok(labels)) => labels,
            Some(Err(problem)) => {
                listing.problems.push(format!("{bearer} is left out: {problem}"));
                continue;
            }
        };
        claims.claim(bearer, &labels, may_create, &mut listing.problems);
        let serving = all.entry(labels.service.clone()).or_default();
        serving.take(cluster, service, &labels, &mut listing.problems);
        let on = networks(cluster, service);
        serving.members.push(Member { bearer, labels, on });
    }
    for (service, serving) in all {
        let allow = allow(&service, &serving.members, &cluster.networks, &mut listing.problems);
        listing.declared.allow.insert(service.clone(), allow);
        if !serving.idle.is_empty() {
            listing.problems.extend(idle(&service, "task", serving.idle.into_iter()));
        }
        listing.snapshot.insert(service, serving.endpoints.into());
    }
    listing.declared.services = claims.services();
    listing
}

impl Serving<'_> {
    /// Takes the tasks of a service.
    fn take(&mut self, cluster: &Cluster, service: &Service, labels: &Labels, problems: &mut Vec<String>) {
        let mut left_out: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for task in cluster.tasks_of(&service.id) {
            match (task.state, task.desired) {
                (Phase::Coming, Phase::Coming | Phase::Running) => self.idle.push(Some(waits(cluster, service, task))),
                (Phase::Running, _) => {
                    let name = format!("{}.{}", slot(service, task), short(&task.id));
                    let places = match place(cluster, service, task, labels) {
                        Ok(Some(places)) => places,
                        Ok(None) => continue,
                        Err(problem) => {
                            left_out.entry(problem).or_default().push(name);
                            continue;
                        }
                    };
                    let why = why_idle(cluster, service, task);
                    if self.endpoints.len() + places.0.len() > MAX_ENDPOINTS {
                        let problem =
                            format!("service {} has {MAX_ENDPOINTS} endpoints, expected no more", labels.service);
                        left_out.entry(problem).or_default().push(name);
                        continue;
                    }
                    let weight = if why.is_some() { 0 } else { labels.weight.unwrap_or(DEFAULT_WEIGHT) };
                    self.endpoints.extend(places.0.into_iter().map(|address| Endpoint {
                        id: name.as_str().into(),
                        address,
                        port: places.1,
                        weight,
                        zone: None,
                        forward: labels.forward,
                        server_id: None,
                    }));
                    self.idle.push(why.map(|why| format!("{name} {why}")));
                }
                (Phase::Coming | Phase::Over, _) => {}
            }
        }
        for (problem, names) in left_out {
            let (count, named) = (names.len(), names.get(..MAX_NAMED).unwrap_or(&names).join(", "));
            let tasks = if count > 1 { format!("tasks {named}") } else { format!("task {named}") };
            let more = if count > MAX_NAMED { format!(" and {} more", count - MAX_NAMED) } else { String::new() };
            let are = if count > 1 { "are" } else { "is" };
            problems.push(format!("Swarm service {}: {tasks}{more} {are} left out: {problem}", service.name));
        }
    }
}

/// The networks whose containers may use a service unless labels say: those that its tasks are on.
fn networks(cluster: &Cluster, service: &Service) -> Vec<String> {
    let tasks = cluster.tasks_of(&service.id).iter();
    let containers = tasks.filter_map(|task| cluster.containers.get(task.container.as_ref()?));
    let on = containers.flat_map(|container| &container.attachments).map(|on| &on.id);
    let all: BTreeSet<&String> = service.networks.iter().chain(on).collect();
    all.into_iter().filter(|id| !cluster.shared.contains(*id)).cloned().collect()
}

/// Why a task that runs takes no new flows, as words that follow its name.
fn why_idle(cluster: &Cluster, service: &Service, task: &Task) -> Option<String> {
    if service.removed || task.desired == Phase::Over {
        return Some("is stopping".to_owned());
    }
    let container = task.container.as_ref().and_then(|id| cluster.containers.get(id));
    if container.is_some_and(|container| container.paused) {
        return Some("is paused".to_owned());
    }
    let node = task.node.as_ref().and_then(|id| cluster.nodes.get(id))?;
    node.idle.map(|idle| format!("is on node {}, which {idle}", node.name))
}

/// A task that is to run and does not yet, and what is known to keep it from that. It says the same for as long as the task's
/// successors fail alike.
fn waits(cluster: &Cluster, service: &Service, task: &Task) -> String {
    let is_alike = |one: &&Task| one.slot == task.slot && (one.slot.is_some() || one.node == task.node);
    let mut before = cluster.tasks_of(&service.id).iter().filter(is_alike).rev();
    let error = task.error.as_ref().or_else(|| before.find_map(|one| one.error.as_ref()));
    let error = error.map(|error| format!(" ({error})")).unwrap_or_default();
    format!("{} does not run yet{error}", slot(service, task))
}

/// `SERVICE.SLOT`, or `SERVICE.NODE` of one that every node has one of.
fn slot(service: &Service, task: &Task) -> String {
    match (task.slot, &task.node) {
        (Some(slot), _) if slot != 0 => format!("{}.{slot}", service.name),
        (_, Some(node)) => format!("{}.{}", service.name, short(node)),
        (_, None) => service.name.clone(),
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
