//! The configuration file: what a person wrote, checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::vip::Vip;

/// A whole configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// `[weir]`.
    pub weir: Weir,
    /// `[[interface]]`, in the file's order; never empty.
    pub interfaces: Vec<Interface>,
    /// `[registry.NAME]`.
    pub registries: BTreeMap<String, Registry>,
    /// `[[service]]`, in the file's order; names and VIPs are unique.
    pub services: Vec<Service>,
}

/// `[weir]`: the controller itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weir {
    /// Where the control socket is.
    pub socket: PathBuf,
    /// What SIGTERM leaves behind.
    pub on_exit: OnExit,
    /// Mixed into every flow's hash. Balancers that share traffic (ECMP) need the same one.
    pub hash_seed: u64,
    /// Slots of a service's Maglev table: a prime.
    pub table_size: u32,
    /// How many sources all per-source limits together remember.
    pub max_sources: u32,
}

/// What SIGTERM leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// Nothing: the host is as it was.
    Detach,
}

/// `[[interface]]`: a device to attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// How to attach.
    pub mode: Mode,
}

/// How the program is attached to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, or generically where the driver has no XDP.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// Generically, in the stack.
    Skb,
}

/// `[registry.NAME]`: where backends are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registry {
    /// A TOML file or a directory of them.
    File(FileRegistry),
    /// A Consul agent.
    Consul(ConsulRegistry),
}

/// `type = "file"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRegistry {
    /// The file or directory, absolute or as found from the working directory.
    pub path: PathBuf,
}

/// `type = "consul"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulRegistry {
    /// The agent's URL.
    pub address: String,
}

/// `[[service]]`: a VIP and everything said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// What it listens on.
    pub vip: Vip,
    /// The registry that knows its backends.
    pub registry: String,
    /// What the registry calls it.
    pub registry_service: String,
    /// How packets reach its backends.
    pub forward: Forward,
    /// Its rate limits, at most [`MAX_LIMITS`].
    pub limits: Vec<Limit>,
}

/// How many limits a service may have.
pub const MAX_LIMITS: usize = 4;

/// How packets reach a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Destination address and port are rewritten; replies come back through this host and are translated back.
    Nat,
}

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What has a bucket of its own.
    pub per: Per,
    /// Units a second, at least 1.
    pub rate: u64,
    /// What is counted.
    pub unit: Unit,
    /// How many units may come at once; `None` is the strict leaky bucket, which spaces them evenly.
    pub burst: Option<u64>,
}

/// What has a bucket of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// The service as a whole.
    Service,
    /// Each source address.
    Source,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Packets.
    Packets,
    /// Bytes of layer 3: what is left of a frame without its Ethernet header.
    Bytes,
}
