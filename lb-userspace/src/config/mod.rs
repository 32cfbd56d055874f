//! The configuration file: what a person wrote, checked.

mod declared;
mod document;
mod duration;
mod forward;
mod interface;
mod limit;
mod nearest;
mod own;
mod prefix;
mod prime;
mod problem;
mod quic;
mod registry;
mod registry_docker;
mod registry_tls;
mod secret;
mod service;
mod share;
mod slow_start;
mod table;
#[cfg(test)]
mod tests;
mod weir;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) use document::{Document, quoted, read_bytes, read_text};
pub use duration::{parse_duration, show_duration};
pub(crate) use forward::FORWARDS;
pub use forward::Forward;
pub use interface::{Interface, Mode};
pub use limit::{
    DELAY_MAX_MS, Direction, Limit, MAX_BURST_S, MAX_LIMITS, MAX_MERGED_BYTES, MAX_MERGED_PACKETS, Over, Per, Rate,
    Unit, Wrong, check_together,
};
pub(crate) use limit::{LIMIT_KEYS, read_one as read_limit, unit_named as limit_unit};
pub(crate) use nearest::nearest;
pub use prefix::Prefix;
pub use problem::{ConfigError, MAX_PROBLEMS, Problem};
pub use quic::Quic;
pub use registry::{ConsulRegistry, FileRegistry, Identity, Registry, Token};
pub(crate) use registry::{MAX_NAME_BYTES, is_token};
pub use registry_docker::{DockerRegistry, DockerTls, Engine};
pub use secret::Secret;
pub use service::{MAX_SERVICES, Service};
pub use share::{NoShare, Share};
pub use slow_start::SlowStart;
pub(crate) use table::{Table, name, one_of};
pub use weir::{
    ClosedPorts, DEFAULT_MAX_FLOWS, DEFAULT_MAX_SOURCES, DEFAULT_SOCKET, DEFAULT_STATE, DEFAULT_TABLE_SIZE, OnExit,
    Weir,
};

use crate::nexthop::Device;

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

impl Config {
    /// Reads and checks the file at `path`. The error holds everything that is wrong with it, or why it cannot be
    /// read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path, "a configuration: a readable TOML file")
            .map_err(|problem| ConfigError::new(vec![problem]))?;
        Self::parse(&text, path)
    }

    /// Checks `text` as if it had been read from `path`, which messages name and where relative paths start.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let directory = path.parent().unwrap_or(Path::new(""));
        Document::read(path, text, |root| Some(read(root, path, directory)))
    }

    /// What is wrong when interfaces are none of the host's devices; those that are `attached` may be gone just now.
    pub fn missing_device(&self, devices: &BTreeMap<u32, Device>, attached: &[Interface]) -> Option<Problem> {
        let is_there = |wanted: &&Interface| {
            devices.values().any(|device| device.name == wanted.name)
                || attached.iter().any(|attached| attached.name == wanted.name)
        };
        let missing = self.interfaces.iter().find(|wanted| !is_there(wanted))?;
        let known: Vec<&str> = devices.values().map(|device| device.name.as_str()).collect();
        Some(Problem {
            file: self.path.clone(),
            line: Some(missing.line),
            key: format!("interface.{}", missing.name),
            text: format!("found no such device on this host, expected one of {}", known.join(", ")),
        })
    }
}

fn read(mut root: Table<'_, '_>, path: &Path, directory: &Path) -> Config {
    let services = root.count("service");
    let (mut weir, own) = weir::read(&mut root, directory, services);
    let interfaces = interface::read(&mut root);
    let registries = registry::read(&mut root, directory);
    let services = service::read(&mut root, &registries, &weir, &own);
    root.finish();
    weir.expect_snat(services.iter().any(|service| service.forward == Forward::Snat));
    // A registry that is `None` has left a problem, so that nobody sees the configuration without it.
    let registries = registries.into_iter().filter_map(|(name, registry)| Some((name, registry?))).collect();
    Config { path: path.to_owned(), weir, interfaces, registries, services }
}
