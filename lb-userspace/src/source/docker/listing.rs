//! What the containers of an engine together say: endpoints, services, who may use them, and what is wrong.

use std::collections::BTreeMap;

use super::claims::{Bearer, Claims, Member, allow};
use super::container::{Attachment, Container, Mode, State};
use super::label::Labels;
use super::network::{Networks, find};
use crate::config::{Prefix, one_of, quoted};
use crate::source::declared::{ContainerPort, Declared};
use crate::source::{DEFAULT_WEIGHT, Endpoint, MAX_ENDPOINTS, Snapshot, unreachable_kind};

/// How many problems are told at once.
const MAX_TOLD: usize = 20;
/// How many containers without a share of new flows are named.
const MAX_IDLE: usize = 5;

/// What an engine has at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::source) struct Listing {
    pub(in crate::source) snapshot: Snapshot,
    pub(in crate::source) declared: Declared,
    /// What is wrong, each with the container's name.
    pub(in crate::source) problems: Vec<String>,
}

impl Listing {
    /// Reads all containers of an engine, of which those that were created first come before others.
    pub(super) fn of(containers: &[&Container], networks: &Networks, may_create: &[Prefix]) -> Self {
        let mut listing = Self::default();
        let running: Vec<&Container> = containers.iter().copied().filter(|one| one.state != State::Off).collect();
        listing.declared.networks = networks.values().cloned().collect();
        listing.declared.ports =
            ports(running.iter().map(|one| (one.name.as_str(), one.attachments.as_slice())), networks);
        let mut members: BTreeMap<String, (Vec<Member<'_>>, Vec<&Container>)> = BTreeMap::new();
        let mut endpoints: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
        let mut claims = Claims::default();
        for &container in &running {
            let outcome = match Labels::read(&container.labels) {
                None => continue,
                Some(read) => read.and_then(|labels| Ok((place(container, &labels, networks)?, labels))),
            };
            let (places, labels) = match outcome {
                Ok(placed) => placed,
                Err(problem) => {
                    listing.problems.push(format!("container {} is left out: {problem}", container.name));
                    continue;
                }
            };
            let bearer = Bearer { kind: "container", name: &container.name, project: container.project.as_deref() };
            claims.claim(bearer, &labels, may_create, &mut listing.problems);
            let all = endpoints.entry(labels.service.clone()).or_default();
            if all.len() + places.len() > MAX_ENDPOINTS {
                let problem = format!("service {} has {MAX_ENDPOINTS} endpoints, expected no more", labels.service);
                listing.problems.push(format!("container {} is left out: {problem}", container.name));
                continue;
            }
            all.extend(places);
            let on = container.attachments.iter().map(|on| on.id.clone()).collect();
            let (of_service, containers) = members.entry(labels.service.clone()).or_default();
            of_service.push(Member { bearer, labels, on });
            containers.push(container);
        }
        for (service, (members, containers)) in &members {
            let allow = allow(service, members, networks, &mut listing.problems);
            listing.declared.allow.insert(service.clone(), allow);
            let states = containers.iter().map(|one| Some(format!("{} {}", one.name, one.state.idle()?)));
            listing.problems.extend(idle(service, "container", states));
        }
        listing.declared.services = claims.services();
        listing.snapshot = endpoints.into_iter().map(|(name, endpoints)| (name, endpoints.into())).collect();
        listing
    }

    /// Everything that is wrong, for a person.
    pub(in crate::source) fn problem(&self) -> Option<String> {
        let told = self.problems.get(..MAX_TOLD).unwrap_or(&self.problems).join("\n");
        match self.problems.len() {
            0 => None,
            count if count > MAX_TOLD => Some(format!("{told}\nand {} more problems", count - MAX_TOLD)),
            _ => Some(told),
        }
    }
}

/// Where a container can be reached: an endpoint of each address family. The error is what keeps it from that.
fn place(container: &Container, labels: &Labels, networks: &Networks) -> Result<Vec<Endpoint>, String> {
    match &container.mode {
        Mode::Own => {}
        Mode::Host => {
            return Err(
                "found the host's network (network_mode host), expected a network of containers: on the host's it \
                        has no address of its own"
                    .to_owned(),
            );
        }
        Mode::None => return Err("found no network (network_mode none), expected one".to_owned()),
        Mode::Of(of) => {
            return Err(format!(
                "found the network of container {}, expected one of its own: put the labels on that container",
                super::container::short(of)
            ));
        }
    }
    let attachment = choose(container, labels, networks)?;
    let addresses = attachment.addresses.iter().filter(|address| unreachable_kind(**address).is_none());
    let port = match (labels.port, container.ports.as_slice()) {
        (Some(port), _) => port,
        (None, [only]) => *only,
        (None, []) => return Err("weir.port: found nothing, expected a port: its image exposes none".to_owned()),
        (None, many) => {
            let many: Vec<String> = many.iter().take(8).map(u16::to_string).collect();
            return Err(format!("weir.port: found nothing, expected a port: its image exposes {}", many.join(", ")));
        }
    };
    let weight = if container.state.idle().is_some() { 0 } else { labels.weight.unwrap_or(DEFAULT_WEIGHT) };
    let endpoint = |address: &std::net::IpAddr| Endpoint {
        id: container.name.as_str().into(),
        address: *address,
        port,
        weight,
        zone: None,
        forward: labels.forward,
        server_id: None,
    };
    Ok(addresses.map(endpoint).collect())
}

/// The network that a container is to be reached on.
fn choose<'c>(container: &'c Container, labels: &Labels, networks: &Networks) -> Result<&'c Attachment, String> {
    let all = &container.attachments;
    let names = all.iter().map(|attachment| attachment.name.as_str());
    let chosen = match &labels.network {
        Some(wanted) => {
            let found = find(wanted, container.project.as_deref(), names.clone()).and_then(|at| all.get(at));
            found.ok_or_else(|| {
                let names: Vec<&str> = names.collect();
                format!("weir.network: found {}, expected a network that it is on: {}", quoted(wanted), one_of(&names))
            })?
        }
        None => {
            let is_bridge = |one: &Attachment| networks.get(&one.id).is_some_and(|network| network.bridge.is_some());
            let with_address = all.iter().filter(|one| !one.addresses.is_empty());
            // Whichever: it listens on all of them, or says where. The same one every time.
            let best = with_address.min_by_key(|one| !is_bridge(one));
            best.or(all.first()).ok_or_else(|| "found no network, expected an address on one".to_owned())?
        }
    };
    if chosen.addresses.is_empty() {
        return Err(format!("found no address on network {}, expected one", chosen.name));
    }
    Ok(chosen)
}

/// What those who serve do when none of them takes new flows; each says `None` when it does.
pub(in crate::source) fn idle(
    service: &str,
    kind: &str,
    states: impl Iterator<Item = Option<String>>,
) -> Option<String> {
    let why: Vec<String> = states.collect::<Option<_>>()?;
    let more = why.len().saturating_sub(MAX_IDLE);
    let told = why.get(..MAX_IDLE).unwrap_or(&why).join(", ");
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    Some(format!("service {service}: no {kind} takes new flows: {told}{more}"))
}

/// Who is behind the ports of bridges, labelled or not: containers by their names, and what they are on.
pub(in crate::source) fn ports<'c>(
    running: impl Iterator<Item = (&'c str, &'c [Attachment])>,
    networks: &Networks,
) -> Vec<ContainerPort> {
    let of = |(name, attachments): (&'c str, &'c [Attachment])| {
        let on: Vec<String> = attachments.iter().map(|one| one.id.clone()).collect();
        let port = |one: &Attachment| {
            let bridge = networks.get(&one.id)?.bridge.clone()?;
            Some(ContainerPort { bridge, mac: one.mac?, networks: on.clone(), container: name.to_owned() })
        };
        attachments.iter().filter_map(port).collect::<Vec<_>>()
    };
    let mut ports: Vec<ContainerPort> = running.flat_map(of).collect();
    ports.sort_unstable();
    ports
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
