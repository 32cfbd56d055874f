//! A Docker engine that can be asked.

use std::collections::HashMap;
use std::error::Error as _;
use std::io::ErrorKind;

use anyhow::Context as _;
use bollard::errors::Error;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{EventsOptions, InspectContainerOptions, ListContainersOptions, ListNetworksOptions};
use bollard::{ClientVersion, Docker};
use futures_util::StreamExt as _;

use super::container::Container;
use super::events::Events;
use super::network::{self, Networks};
use crate::config::{DockerRegistry, Engine, read_bytes};
use crate::source::use_ring;

/// How long an engine may take to answer, in seconds.
const TIMEOUT_S: u64 = 10;
/// The versions of the API that are tried, newest first: an engine takes those between its own bounds. Docker 25 to 29 take
/// the first, 20.10 to 28 the second, and older ones the last.
const VERSIONS: [(usize, usize); 3] = [(1, 44), (1, 41), (1, 38)];
/// What is heard of containers, and of networks. A health check's own events are not: there are many.
const EVENTS: [&str; 13] = [
    "start",
    "die",
    "kill",
    "pause",
    "unpause",
    "rename",
    "update",
    "health_status",
    "destroy",
    "connect",
    "disconnect",
    "create",
    "remove",
];

/// A Docker engine that can be asked.
#[derive(Debug, Clone)]
pub(in crate::source) struct Client(Docker);

impl Client {
    /// Looks at what the engine's TLS needs, and asks nobody.
    pub(in crate::source) fn check(registry: &DockerRegistry) -> anyhow::Result<()> {
        let Engine::Tcp { tls: Some(tls), .. } = &registry.engine else { return Ok(()) };
        use_ring();
        let files =
            [("ca_file", &tls.ca_file), ("cert_file", &tls.identity.cert_file), ("key_file", &tls.identity.key_file)];
        for (key, path) in files {
            let read = read_bytes(path).map_err(anyhow::Error::msg);
            read.with_context(|| format!("{key}: {}: expected a PEM file", path.display()))?;
        }
        Ok(())
    }

    /// Finds out which version of its API the engine takes. The error says what was found and what to do.
    pub(in crate::source) async fn connect(registry: &DockerRegistry) -> Result<Self, String> {
        let mut refused = String::new();
        for (major_version, minor_version) in VERSIONS {
            let version = ClientVersion { major_version, minor_version };
            let docker = open(&registry.engine, &version).map_err(|error| told(&error))?;
            match docker.version().await {
                Ok(_) => return Ok(Self(docker)),
                Err(Error::DockerResponseServerError { status_code: 400, message }) => refused = message,
                Err(error) => return Err(told(&error)),
            }
        }
        Err(format!("found an engine that takes none of the versions of the API that Weir speaks: {}", refused.trim()))
    }

    /// The engine, for what only one kind of registry asks.
    pub(in crate::source) const fn engine(&self) -> &Docker {
        &self.0
    }

    /// What happens to containers and networks, from now on.
    pub(in crate::source) fn events(&self) -> Events {
        self.events_of(&["container", "network"], &EVENTS)
    }

    /// What happens to things of these types, from now on.
    pub(in crate::source) fn events_of(&self, types: &[&str], actions: &[&str]) -> Events {
        let filter =
            |key: &str, values: &[&str]| (key.to_owned(), values.iter().map(|&value| value.to_owned()).collect());
        let filters = HashMap::from([filter("type", types), filter("event", actions)]);
        let docker = self.0.clone();
        Events::of(docker.events(Some(EventsOptions { filters: Some(filters), ..EventsOptions::default() })).boxed())
    }

    /// The containers that run, and the networks there are.
    pub(in crate::source) async fn list(&self) -> Result<(Vec<ContainerSummary>, Networks), String> {
        let containers = self.0.list_containers(None::<ListContainersOptions>).await.map_err(|error| told(&error))?;
        Ok((containers, self.networks().await?))
    }

    /// The networks there are.
    pub(in crate::source) async fn networks(&self) -> Result<Networks, String> {
        let networks = self.0.list_networks(None::<ListNetworksOptions>).await;
        networks.map(network::read).map_err(|error| told(&error))
    }

    /// A container; `None` when there is none of this id any more.
    pub(super) async fn inspect(&self, id: &str) -> Result<Option<Container>, String> {
        match self.0.inspect_container(id, None::<InspectContainerOptions>).await {
            Ok(answer) => Ok(Container::read(answer)),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(told(&error)),
        }
    }
}

fn open(engine: &Engine, version: &ClientVersion) -> Result<Docker, Error> {
    match engine {
        Engine::Socket(path) => Docker::connect_with_unix(&path.to_string_lossy(), TIMEOUT_S, version),
        Engine::Tcp { host, tls: None } => Docker::connect_with_http(host, TIMEOUT_S, version),
        Engine::Tcp { host, tls: Some(tls) } => {
            let (key, cert) = (&tls.identity.key_file, &tls.identity.cert_file);
            Docker::connect_with_ssl(host, key, cert, &tls.ca_file, TIMEOUT_S, version)
        }
    }
}

/// What happened, and what to do about it.
pub(in crate::source) fn told(error: &Error) -> String {
    if matches!(error, Error::RequestTimeoutError) {
        return format!("found no answer in {TIMEOUT_S} s, expected one: is the engine overloaded?");
    }
    // The first causes only say that a request failed; the last one says why.
    let mut text = error.to_string();
    let mut kind = None;
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        kind = inner.downcast_ref::<std::io::Error>().map(std::io::Error::kind).or(kind);
        cause = inner.source();
    }
    let hint = match kind {
        Some(ErrorKind::PermissionDenied) => {
            ": Weir's user may not use the socket: add it to the group that owns it (docker), or run Weir as root"
        }
        Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => ": is the engine running, and is this its address?",
        _ if matches!(error, Error::SocketNotFoundError(_)) => ": is the engine running, and is this its address?",
        _ if text.contains("UnknownIssuer") => ": name who signed the engine's certificate in ca_file",
        _ if text.contains("NotValidForName") => ": write the address with a name that the engine's certificate has",
        _ if text.contains("fatal alert") => ": the engine may want another cert_file and key_file",
        _ => "",
    };
    format!("{text}{hint}")
}
