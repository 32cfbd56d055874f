//! What a registry says beyond endpoints: services that it creates, and who may use which.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{Forward, Limit};
use crate::vip::Vip;

/// What a registry declares at one moment, beside the endpoints of its snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// The services it creates, ordered by VIP; VIPs and names are unique.
    pub services: Vec<DeclaredService>,
    /// Who may use its services, by what it calls them: also those that the configuration has.
    pub allow: BTreeMap<String, Allow>,
    /// The networks that it knows, ordered by id.
    pub networks: Vec<ContainerNetwork>,
    /// Who is behind the ports of the networks' bridges, ordered.
    pub ports: Vec<ContainerPort>,
}

/// A service that a registry creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredService {
    /// What it is called here: as the registry calls it, or `NAME@VIP` when it is another VIP of the same endpoints.
    pub name: String,
    /// What the registry calls it: where the snapshot and [`Declared::allow`] have it.
    pub registry_service: String,
    /// What it listens on.
    pub vip: Vip,
    /// How packets reach its backends, where they do not say themselves.
    pub forward: Option<Forward>,
    /// Its rate limits.
    pub limits: Vec<Limit>,
    /// Who asked for it, as a person knows it.
    pub claimed_by: String,
}

/// Who may use a service. The host itself always may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    /// The containers on these networks, by id; shared, as it changes far less often than it is handed on.
    pub networks: Arc<BTreeSet<String>>,
    /// Whoever comes by an interface of the configuration.
    pub outside: bool,
}

/// A network of containers on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerNetwork {
    /// The engine's identity of it.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its bridge, a network device, when it has one on this host.
    pub bridge: Option<String>,
}

/// A container behind a port of a network's bridge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerPort {
    /// The bridge, a network device.
    pub bridge: String,
    /// The Ethernet address that the container has there.
    pub mac: [u8; 6],
    /// All networks that the container is on, by id.
    pub networks: Vec<String>,
    /// What the container is called.
    pub container: String,
}
