//! Registries as Weir sees them: each publishes whole snapshots of endpoints, and says when it cannot.
//!
//! A source never publishes deltas and never decides what becomes of traffic: it reports what the registry says.
//! What an empty or a vanished answer means is decided in one place, when the desired state is made.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::config::{Forward, Registry};
use crate::server_id::ServerId;

mod backoff;
pub mod consul;
pub mod declared;
pub mod docker;
pub mod file;
pub mod swarm;

use declared::Declared;

/// The weight of a backend whose registry file names none.
pub const DEFAULT_WEIGHT: u16 = 100;

/// How many endpoints one service may have; a registry that says more is refused, not cut.
pub const MAX_ENDPOINTS: usize = 65_536;

/// A source for the registry called `name`, which follows at least the services `wanted` of it.
///
/// Fails if what the registry names in the configuration cannot be used, such as a certificate that cannot be read.
pub fn open(name: &str, registry: &Registry, wanted: &[Wanted]) -> anyhow::Result<Box<dyn Source>> {
    Ok(match registry {
        Registry::File(registry) => Box::new(file::FileSource::new(registry)),
        Registry::Consul(registry) => {
            let source = consul::ConsulSource::new(registry, wanted);
            Box::new(source.map_err(|error| error.context(format!("registry.{name}")))?)
        }
        Registry::Docker(registry) => {
            let source = docker::DockerSource::new(registry);
            Box::new(source.map_err(|error| error.context(format!("registry.{name}")))?)
        }
        Registry::Swarm(registry) => {
            let source = swarm::SwarmSource::new(registry);
            Box::new(source.map_err(|error| error.context(format!("registry.{name}")))?)
        }
    })
}

/// Has TLS use ring, unless somebody has chosen already.
pub(crate) fn use_ring() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider().install_default().is_err()
    {
        tracing::trace!("another thread has installed the TLS provider");
    }
}

/// Looks at what a registry holds before anything depends on it, where that takes no network.
///
/// # Errors
/// Everything that is wrong, a line each.
pub fn check(registry: &Registry) -> Result<(), String> {
    match registry {
        Registry::File(registry) => file::check(registry),
        Registry::Consul(_) | Registry::Docker(_) | Registry::Swarm(_) => Ok(()),
    }
}

/// One endpoint as a registry names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The registry's own identity of it, unique within the service.
    pub id: Arc<str>,
    /// Where it listens. Never an IPv4-mapped IPv6 address.
    pub address: IpAddr,
    /// The port it listens on; 0 when it listens on whatever port packets are for.
    pub port: u16,
    /// Its share of new flows, relative to the service's other endpoints; 0 takes no new flows.
    pub weight: u16,
    /// The failure domain it is in, when the registry knows.
    pub zone: Option<Arc<str>>,
    /// How packets reach it, when it is another way than its service's.
    pub forward: Option<Forward>,
    /// The server id in the QUIC connection ids that it gives out.
    pub server_id: Option<ServerId>,
}

/// Everything a registry said at one moment: its services by name, and the endpoints of each.
///
/// A service the registry knows but which has no endpoints is present and empty; one it does not know is absent.
///
/// Whoever says the same list again may share it: who hears it need not look through it.
pub type Snapshot = BTreeMap<String, Arc<[Endpoint]>>;

/// Whether two snapshots are the same; lists that are shared are not looked through.
pub(crate) fn are_same(one: &Snapshot, other: &Snapshot) -> bool {
    let names = || one.keys().eq(other.keys());
    let mut lists = one.values().zip(other.values());
    names() && lists.all(|(one, other)| Arc::ptr_eq(one, other) || one == other)
}

/// What a source tells the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The name of the registry in the configuration.
    pub registry: Arc<str>,
    /// What it said.
    pub report: Report,
}

/// A snapshot, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The whole of what the registry holds now; every earlier problem is over.
    Snapshot(Snapshot),
    /// What the registry declares beyond endpoints has changed. It belongs to the snapshot that follows, and holds from
    /// then on.
    Declared(Arc<Declared>),
    /// The registry could not be read or understood. The last good snapshot stands. The text is for a person: what
    /// was tried, what was found, what to do.
    Problem(String),
}

/// The sending side that a source is given.
#[derive(Debug, Clone)]
pub struct Publisher {
    registry: Arc<str>,
    updates: mpsc::Sender<Update>,
}

impl Publisher {
    /// A publisher for the registry called `registry`. The channel is bounded by whoever made it.
    pub fn new(registry: &str, updates: mpsc::Sender<Update>) -> Self {
        Self { registry: registry.into(), updates }
    }

    /// Publishes everything the registry holds. Returns `false` when nobody listens any more: the source should end.
    pub async fn snapshot(&self, snapshot: Snapshot) -> bool {
        self.send(Report::Snapshot(snapshot)).await
    }

    /// Declares what belongs to the next snapshot. Returns `false` when nobody listens any more.
    pub async fn declared(&self, declared: Arc<Declared>) -> bool {
        self.send(Report::Declared(declared)).await
    }

    /// Says why the registry cannot be read. Returns `false` when nobody listens any more.
    pub async fn problem(&self, problem: impl Into<String> + Send) -> bool {
        self.send(Report::Problem(problem.into())).await
    }

    /// Waits until nobody listens any more, so that a source that has nothing to say ends too.
    pub async fn closed(&self) {
        self.updates.closed().await;
    }

    async fn send(&self, report: Report) -> bool {
        self.updates.send(Update { registry: Arc::clone(&self.registry), report }).await.is_ok()
    }
}

/// A registry that can be followed.
pub trait Source: Send + 'static {
    /// What it is and where, for logs and `weir status`: `file services.d`, `consul http://127.0.0.1:8500`.
    fn describe(&self) -> String;

    /// Follows the registry until nobody listens: publishes a first report at once (a snapshot or a problem), then
    /// one whenever what the registry holds has changed, and a problem when it cannot be read. Waits between failed
    /// tries, longer each time up to a bound. Never ends by itself and never panics on what a registry says.
    fn follow(self: Box<Self>, publisher: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A service that somebody wants of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    /// What the registry calls it.
    pub service: String,
    /// Tags an endpoint must have, all of them; sorted, no duplicates.
    pub tags: Vec<String>,
}

impl Wanted {
    /// Where a [`Snapshot`] has it: the service's name, followed by `#TAG` for every tag asked for.
    pub fn key(&self) -> String {
        self.tags.iter().fold(self.service.clone(), |key, tag| format!("{key}#{tag}"))
    }
}

/// Why packets cannot be sent to `address`, as words that follow it in a message; `None` when they can.
pub(crate) fn unreachable_kind(address: IpAddr) -> Option<String> {
    let kind = match address {
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_multicast() => "a multicast address",
        _ if address.is_loopback() => "a loopback address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V4(_) => return None,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => return Some(format!("an IPv4-mapped address: write {v4}")),
            None if v6.is_unicast_link_local() => "a link-local address",
            None => return None,
        },
    };
    Some(kind.to_owned())
}
