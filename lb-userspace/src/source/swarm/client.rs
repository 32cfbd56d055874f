//! What a manager is asked.

use bollard::errors::Error;
use bollard::models::{ContainerSummary, LocalNodeState, Network, NetworkInspect, Node, Service, Task};
use bollard::query_parameters::{
    InspectNetworkOptions, ListContainersOptions, ListNetworksOptions, ListNodesOptions, ListServicesOptions,
    ListTasksOptions,
};

use crate::config::quoted;
use crate::source::docker::client::{Client, told};

/// The network by which tasks reach what is beyond their overlays: a bridge on each node.
pub(super) const GATEWAY: &str = "docker_gwbridge";
/// Of what events are heard, and which: of containers only this node's.
pub(super) const TYPES: [&str; 4] = ["service", "node", "network", "container"];
pub(super) const ACTIONS: [&str; 13] = [
    "create",
    "update",
    "remove",
    "start",
    "die",
    "kill",
    "destroy",
    "pause",
    "unpause",
    "rename",
    "health_status",
    "connect",
    "disconnect",
];

/// What a manager answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    pub(super) nodes: Vec<Node>,
    pub(super) services: Vec<Service>,
    pub(super) tasks: Vec<Task>,
    pub(super) networks: Vec<Network>,
    /// The containers that run on the manager's own node.
    pub(super) containers: Vec<ContainerSummary>,
    /// [`GATEWAY`] of the manager's own node, once there is one. Containers do not say themselves that they are on it.
    pub(super) gateway: Option<NetworkInspect>,
}

/// The id of the node that an engine is. The error says why it is no manager, and what to do.
pub(super) async fn manager(client: &Client) -> Result<String, String> {
    let swarm = client.engine().info().await.map_err(|error| told(&error))?.swarm.unwrap_or_default();
    let found = match swarm.local_node_state {
        Some(LocalNodeState::ACTIVE) if swarm.control_available == Some(true) => {
            return swarm.node_id.ok_or_else(|| "found a manager without an id, expected one".to_owned());
        }
        Some(LocalNodeState::ACTIVE) => {
            "a worker of a swarm, expected a manager: name one in `address`, or make this node one (docker node promote)"
        }
        Some(LocalNodeState::LOCKED) => {
            "a manager whose swarm is locked, expected an unlocked one (docker swarm unlock)"
        }
        Some(LocalNodeState::PENDING) => "a node that is joining a swarm, expected a manager of it",
        Some(LocalNodeState::ERROR) => {
            let error = swarm.error.unwrap_or_default();
            return Err(format!("found a node that its swarm has failed ({}), expected a manager", quoted(&error)));
        }
        _ => {
            "an engine that is in no swarm, expected a manager (docker swarm init); a registry of type \"docker\" follows \
             containers without a swarm"
        }
    };
    Err(format!("found {found}"))
}

/// Everything there is. A task that runs has a container, and this an address, by the time that these are listed.
pub(super) async fn list(client: &Client, node: &str) -> Result<Answers, String> {
    let engine = client.engine();
    let told = |error: Error| told(&error);
    let services = engine.list_services(None::<ListServicesOptions>).await.map_err(told)?;
    let tasks = engine.list_tasks(None::<ListTasksOptions>).await.map_err(told)?;
    let nodes = engine.list_nodes(None::<ListNodesOptions>).await.map_err(told)?;
    if !nodes.iter().any(|one| one.id.as_deref() == Some(node)) {
        return Err(format!("found a swarm without this node ({node}), expected it: has it joined another one?"));
    }
    let networks = engine.list_networks(None::<ListNetworksOptions>).await.map_err(told)?;
    let gateway = match engine.inspect_network(GATEWAY, None::<InspectNetworkOptions>).await {
        Ok(gateway) => Some(gateway),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => None,
        Err(error) => return Err(told(error)),
    };
    let containers = engine.list_containers(None::<ListContainersOptions>).await.map_err(told)?;
    Ok(Answers { nodes, services, tasks, networks, containers, gateway })
}
