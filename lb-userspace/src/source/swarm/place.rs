//! Where a task can be reached from this host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::client::GATEWAY;
use super::cluster::{Cluster, Published, Service, Task};
use crate::config::{one_of, quoted};
use crate::source::docker::container::Attachment;
use crate::source::docker::label::Labels;
use crate::source::docker::network::find;
use crate::source::unreachable_kind;
use crate::vip::Protocol;

/// The addresses of a task and the port there; `None` when its container has gone already. The error is what keeps it from
/// being reached, as words that follow tasks' names.
pub(super) fn place(
    cluster: &Cluster,
    service: &Service,
    task: &Task,
    labels: &Labels,
) -> Result<Option<(Vec<IpAddr>, u16)>, String> {
    let port = port(service, labels)?;
    if !cluster.is_here(task) {
        return published(cluster, service, task, labels, port).map(Some);
    }
    let container = task.container.as_ref().and_then(|id| cluster.containers.get(id));
    let Some(container) = container else { return Ok(None) };
    let attachment = choose(cluster, service, &container.attachments, labels)?;
    let usable = attachment.addresses.iter().copied().filter(|address| unreachable_kind(*address).is_none());
    Ok(Some((usable.collect(), port)))
}

/// Where a service's tasks listen.
fn port(service: &Service, labels: &Labels) -> Result<u16, String> {
    if let Some(port) = labels.port {
        return Ok(port);
    }
    let targets: BTreeSet<u16> = service.published.iter().map(|port| port.target).collect();
    let targets: Vec<u16> = targets.into_iter().collect();
    match targets.as_slice() {
        [only] => Ok(*only),
        [] => Err("weir.port: found nothing, expected a port: it publishes none".to_owned()),
        many => {
            let many: Vec<String> = many.iter().take(8).map(u16::to_string).collect();
            Err(format!("weir.port: found nothing, expected a port: it publishes {}", many.join(", ")))
        }
    }
}

/// The network of this host's that a task here is to be reached on. Overlays are none: nothing of the host is on them. Who is
/// on one that leads anywhere is on the gateway's bridge, too.
fn choose<'c>(
    cluster: &Cluster,
    service: &Service,
    all: &'c [Attachment],
    labels: &Labels,
) -> Result<&'c Attachment, String> {
    let is_bridge = |one: &&Attachment| {
        let network = cluster.networks.get(&one.id);
        network.is_some_and(|network| network.bridge.is_some()) && !one.addresses.is_empty()
    };
    let gateway = || all.iter().filter(is_bridge).find(|one| one.name == GATEWAY);
    let names = all.iter().map(|one| one.name.as_str());
    let chosen = match &labels.network {
        Some(wanted) => {
            let found = find(wanted, service.stack.as_deref(), names.clone()).and_then(|at| all.get(at));
            let found = found.ok_or_else(|| {
                let names: Vec<&str> = names.clone().collect();
                format!("weir.network: found {}, expected a network that it is on: {}", quoted(wanted), one_of(&names))
            })?;
            Some(found).filter(is_bridge).or_else(gateway)
        }
        // Whichever: it listens on all of them, or says where. The same one every time.
        None => all.iter().filter(is_bridge).find(|one| one.name != GATEWAY).or_else(gateway),
    };
    chosen.ok_or_else(|| {
        let names: Vec<String> = names.take(8).map(str::to_owned).collect();
        let on = if names.is_empty() { "no network".to_owned() } else { names.join(", ") };
        format!(
            "found no address that this host reaches, on {on}; expected one on a bridge: an overlay that is not internal, \
             or a network of the driver bridge"
        )
    })
}

/// Where a task of another node can be reached: at what it publishes there.
fn published(
    cluster: &Cluster,
    service: &Service,
    task: &Task,
    labels: &Labels,
    port: u16,
) -> Result<(Vec<IpAddr>, u16), String> {
    let protocols: BTreeSet<Protocol> = labels.vips.iter().map(|vip| vip.protocol).collect();
    let is_meant = |one: &&Published| {
        one.host && one.target == port && one.port != 0 && (protocols.is_empty() || protocols.contains(&one.protocol))
    };
    let ports: BTreeSet<u16> = task.published.iter().filter(is_meant).map(|one| one.port).collect();
    let ports: Vec<u16> = ports.into_iter().collect();
    let [at] = ports.as_slice() else {
        let found = if ports.is_empty() { "no port" } else { "more than one port" };
        return Err(format!(
            "found {found} that it publishes with mode=host for its port {port}, expected one, as it is on another node: \
             docker service update --publish-add mode=host,target={port},published={port} {}",
            service.name
        ));
    };
    let node = task.node.as_ref().and_then(|id| cluster.nodes.get(id));
    let Some(node) = node else { return Err("found no node of the swarm, expected one".to_owned()) };
    match node.address {
        None => Err(format!("found no address of node {}, expected one", node.name)),
        Some(address) => match unreachable_kind(address) {
            Some(kind) => Err(format!("found {address} as the address of node {}, {kind}", node.name)),
            None => Ok((vec![address], *at)),
        },
    }
}
