//! A swarm as a manager describes it, as far as it matters here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bollard::models::{
    ContainerSummary, ContainerSummaryStateEnum, EndpointPortConfig, EndpointPortConfigProtocolEnum,
    EndpointPortConfigPublishModeEnum, NetworkAttachmentConfig, NetworkInspect, NodeSpecAvailabilityEnum, NodeState,
    ServiceUpdateStatusStateEnum, TaskState,
};

use super::client::{Answers, GATEWAY};
use super::pace::Activity;
use crate::source::docker::container::{Attachment, MAX_ATTACHMENTS, mac, short, sortable};
use crate::source::docker::label::PREFIX;
use crate::source::docker::network::{self, Networks};
use crate::vip::Protocol;

/// The label by which a service says of which stack it is.
const STACK: &str = "com.docker.stack.namespace";
/// How many services, tasks and containers are looked at, of each.
const MAX_LOOKED_AT: usize = 65_536;
/// How many ports of one service or task are looked at.
const MAX_PORTS: usize = 1024;

/// A swarm.
#[derive(Debug, Clone, Default)]
pub(super) struct Cluster {
    /// The node that is this host; `None` when the manager is elsewhere.
    pub(super) here: Option<String>,
    /// By id.
    pub(super) nodes: BTreeMap<String, Node>,
    /// Those with labels for Weir, by id.
    pub(super) services: BTreeMap<String, Service>,
    /// The tasks of these, ordered by service, slot and age.
    pub(super) tasks: Vec<Task>,
    /// The networks there are, but those that are the host's own or nothing.
    pub(super) networks: Networks,
    /// The networks that all tasks may be on for Docker's own sake: being on them says nothing about who may use what.
    pub(super) shared: BTreeSet<String>,
    /// The containers that run on this host, by id.
    pub(super) containers: BTreeMap<String, Container>,
}

/// A node of a swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: Option<IpAddr>,
    /// Why its tasks take no new flows, as words that follow the node's name.
    pub(super) idle: Option<&'static str>,
}

/// A service of a swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) id: String,
    pub(super) name: String,
    /// When it was created, so written that text sorts as time.
    pub(super) created: String,
    /// The labels for Weir.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) stack: Option<String>,
    /// The networks that its tasks are on, by id.
    pub(super) networks: Vec<String>,
    pub(super) published: Vec<Published>,
    /// Whether it is being updated or rolled back.
    updating: bool,
    /// Whether it was removed: it is there only for as long as tasks of it run.
    pub(super) removed: bool,
}

/// A port that tasks publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Published {
    pub(super) protocol: Protocol,
    /// Where the task listens.
    pub(super) target: u16,
    /// Where its node listens for it; 0 in a service that leaves it to Docker.
    pub(super) port: u16,
    /// `mode=host`: on the task's own node alone.
    pub(super) host: bool,
}

/// A task of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) slot: Option<i64>,
    pub(super) node: Option<String>,
    pub(super) state: Phase,
    pub(super) desired: Phase,
    /// What went wrong.
    pub(super) error: Option<String>,
    created: String,
    pub(super) published: Vec<Published>,
    pub(super) container: Option<String>,
}

/// Where a task is in its life. It runs only once it is healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Coming,
    Running,
    Over,
}

/// A container of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) paused: bool,
    /// The networks it is on, ordered by name.
    pub(super) attachments: Vec<Attachment>,
}

impl Cluster {
    /// Reads what a manager answers; `here` is its node's id when its containers are on this host.
    pub(super) fn read(answers: Answers, here: Option<&impl ToString>) -> Self {
        let services = answers.services.into_iter().take(MAX_LOOKED_AT).filter_map(Service::read);
        let services: BTreeMap<String, Service> = services.map(|service| (service.id.clone(), service)).collect();
        let mut tasks: Vec<Task> = answers.tasks.into_iter().take(MAX_LOOKED_AT).filter_map(Task::read).collect();
        let order = |task: &Task| (task.service.clone(), task.slot, task.created.clone(), task.id.clone());
        tasks.sort_by_cached_key(order);
        let is_shared =
            |one: &&bollard::models::Network| one.ingress == Some(true) || one.name.as_deref() == Some(GATEWAY);
        let shared = answers.networks.iter().filter(is_shared).filter_map(|one| one.id.clone()).collect();
        let of_containers = |one: &bollard::models::Network| {
            !matches!(one.driver.as_deref(), Some("host" | "null")) && one.config_only != Some(true)
        };
        let mut containers = BTreeMap::new();
        if here.is_some() {
            let listed = answers.containers.into_iter().take(MAX_LOOKED_AT);
            containers.extend(listed.filter_map(Container::read));
            answers.gateway.into_iter().for_each(|gateway| join(&mut containers, gateway));
        }
        Self {
            here: here.map(ToString::to_string),
            nodes: answers.nodes.into_iter().filter_map(Node::read).collect(),
            services,
            tasks,
            networks: network::read(answers.networks.into_iter().filter(of_containers).collect()),
            shared,
            containers,
        }
    }

    /// Keeps the services that were removed for as long as tasks of them run: nobody else says what these serve. Forgets the
    /// tasks of services without labels.
    pub(super) fn remember(&mut self, before: &Self) {
        for task in self.tasks.iter().filter(|task| task.state == Phase::Running) {
            if self.services.contains_key(&task.service) || task.desired != Phase::Over {
                continue;
            }
            if let Some(service) = before.services.get(&task.service) {
                self.services.insert(service.id.clone(), Service { removed: true, ..service.clone() });
            }
        }
        self.tasks.retain(|task| self.services.contains_key(&task.service));
    }

    /// What it does.
    pub(super) fn activity(&self) -> Activity {
        let moves = |task: &Task| match task.state {
            Phase::Coming => task.desired != Phase::Over,
            Phase::Running => task.desired != Phase::Running,
            Phase::Over => false,
        };
        if self.services.values().any(|service| service.updating) || self.tasks.iter().any(moves) {
            return Activity::Moving;
        }
        let elsewhere = |task: &Task| task.state == Phase::Running && !self.is_here(task);
        if self.tasks.iter().any(elsewhere) { Activity::Elsewhere } else { Activity::Quiet }
    }

    /// The tasks of a service.
    pub(super) fn tasks_of(&self, service: &str) -> &[Task] {
        let from = self.tasks.partition_point(|task| task.service.as_str() < service);
        let tasks = self.tasks.get(from..).unwrap_or_default();
        tasks.get(..tasks.partition_point(|task| task.service == service)).unwrap_or_default()
    }

    /// Whether a task is on this host.
    pub(super) fn is_here(&self, task: &Task) -> bool {
        self.here.is_some() && self.here == task.node
    }
}

impl Node {
    fn read(answer: bollard::models::Node) -> Option<(String, Self)> {
        let id = answer.id?;
        let status = answer.status.unwrap_or_default();
        let drains = answer.spec.and_then(|spec| spec.availability) == Some(NodeSpecAvailabilityEnum::DRAIN);
        let idle = match status.state {
            Some(NodeState::DOWN | NodeState::DISCONNECTED) => Some("is down"),
            _ if drains => Some("drains"),
            _ => None,
        };
        // A manager that was told no address says 0.0.0.0 there.
        let listed = status.addr.as_deref().and_then(|text| text.parse().ok());
        let listens = answer.manager_status.and_then(|manager| manager.addr);
        let listens = listens.as_deref().and_then(|text| text.parse::<std::net::SocketAddr>().ok());
        let address = listed.filter(|address: &IpAddr| !address.is_unspecified());
        let address = address.or(listens.map(|address| address.ip()));
        let name = answer.description.and_then(|description| description.hostname);
        Some((id.clone(), Self { name: name.unwrap_or_else(|| short(&id).to_owned()), address, idle }))
    }
}

impl Service {
    /// Reads what a manager answers about a service; `None` of one without labels for Weir.
    fn read(answer: bollard::models::Service) -> Option<Self> {
        let id = answer.id?;
        let spec = answer.spec?;
        let mut labels = spec.labels.unwrap_or_default();
        let stack = labels.remove(STACK);
        labels.retain(|label, _| label.starts_with(PREFIX));
        if labels.is_empty() {
            return None;
        }
        let template = spec.task_template.unwrap_or_default();
        let networks = template.networks.into_iter().chain(spec.networks).flatten();
        let update = answer.update_status.and_then(|status| status.state);
        Some(Self {
            name: spec.name.unwrap_or_else(|| short(&id).to_owned()),
            id,
            created: sortable(answer.created_at.as_deref().unwrap_or_default()),
            labels: labels.into_iter().collect(),
            stack,
            networks: targets(networks),
            published: spec.endpoint_spec.and_then(|endpoint| endpoint.ports).map(published).unwrap_or_default(),
            updating: matches!(
                update,
                Some(ServiceUpdateStatusStateEnum::UPDATING | ServiceUpdateStatusStateEnum::ROLLBACK_STARTED)
            ),
            removed: false,
        })
    }
}

impl Task {
    fn read(answer: bollard::models::Task) -> Option<Self> {
        let status = answer.status.unwrap_or_default();
        Some(Self {
            id: answer.id?,
            service: answer.service_id?,
            slot: answer.slot,
            node: answer.node_id.filter(|node| !node.is_empty()),
            state: Phase::of(status.state?),
            desired: Phase::of(answer.desired_state?),
            error: status.err.filter(|error| !error.is_empty()),
            created: sortable(answer.created_at.as_deref().unwrap_or_default()),
            published: status.port_status.and_then(|status| status.ports).map(published).unwrap_or_default(),
            container: status.container_status.and_then(|container| container.container_id),
        })
    }
}

impl Phase {
    const fn of(state: TaskState) -> Self {
        match state {
            TaskState::NEW
            | TaskState::ALLOCATED
            | TaskState::PENDING
            | TaskState::ASSIGNED
            | TaskState::ACCEPTED
            | TaskState::PREPARING
            | TaskState::READY
            | TaskState::STARTING => Self::Coming,
            TaskState::RUNNING => Self::Running,
            TaskState::COMPLETE
            | TaskState::SHUTDOWN
            | TaskState::FAILED
            | TaskState::REJECTED
            | TaskState::REMOVE
            | TaskState::ORPHANED => Self::Over,
        }
    }
}

impl Container {
    fn read(answer: ContainerSummary) -> Option<(String, Self)> {
        let id = answer.id?;
        let name = answer.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
        let name = name.trim_start_matches('/').to_owned();
        let networks = answer.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let attachments = networks.into_iter().take(MAX_ATTACHMENTS);
        let mut attachments: Vec<Attachment> =
            attachments.map(|(name, endpoint)| Attachment::read(name, endpoint)).collect();
        attachments.sort_by(|a, b| a.name.cmp(&b.name));
        let paused = answer.state == Some(ContainerSummaryStateEnum::PAUSED);
        Some((id, Self { name, paused, attachments }))
    }
}

/// Notes who is on the gateway's network.
fn join(containers: &mut BTreeMap<String, Container>, gateway: NetworkInspect) {
    let (Some(id), Some(on)) = (gateway.id, gateway.containers) else { return };
    for (container, endpoint) in on {
        let Some(container) = containers.get_mut(&container) else { continue };
        let texts = [endpoint.ipv4_address, endpoint.ipv6_address].into_iter().flatten();
        let bare = |text: String| text.split_once('/').map_or(text.as_str(), |(bare, _)| bare).parse().ok();
        container.attachments.push(Attachment {
            name: GATEWAY.to_owned(),
            id: id.clone(),
            addresses: texts.filter_map(bare).collect(),
            mac: endpoint.mac_address.as_deref().and_then(mac),
        });
    }
}

fn targets(networks: impl Iterator<Item = NetworkAttachmentConfig>) -> Vec<String> {
    networks.take(MAX_ATTACHMENTS).filter_map(|network| network.target).collect()
}

/// Ports as a service or a task lists them, once each: tasks list each for every family.
fn published(ports: Vec<EndpointPortConfig>) -> Vec<Published> {
    let read = |port: EndpointPortConfig| {
        let protocol = match port.protocol {
            Some(EndpointPortConfigProtocolEnum::UDP) => Protocol::Udp,
            Some(EndpointPortConfigProtocolEnum::SCTP) => Protocol::Sctp,
            Some(EndpointPortConfigProtocolEnum::TCP | EndpointPortConfigProtocolEnum::EMPTY) | None => Protocol::Tcp,
        };
        let number = |port: Option<i64>| port.unwrap_or_default().try_into().ok();
        let host = port.publish_mode == Some(EndpointPortConfigPublishModeEnum::HOST);
        Some(Published { protocol, target: number(port.target_port)?, port: number(port.published_port)?, host })
    };
    let ports: BTreeSet<Published> = ports.into_iter().take(MAX_PORTS).filter_map(read).collect();
    ports.into_iter().collect()
}
