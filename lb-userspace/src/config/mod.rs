//! The configuration file: what a person wrote, checked.

mod document;
mod duration;
mod interface;
mod limit;
mod nearest;
mod prime;
mod problem;
mod registry;
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

pub(crate) use document::{Document, read_bytes, read_text};
pub use duration::{parse_duration, show_duration};
pub use interface::{Interface, Mode};
pub use limit::{Limit, MAX_BURST_S, MAX_LIMITS, MAX_PACKET_RATE, MAX_RATE, Per, Unit};
pub use problem::{ConfigError, MAX_PROBLEMS, Problem};
pub use registry::{ConsulRegistry, FileRegistry, Identity, Registry, Token};
pub(crate) use registry::{MAX_NAME_BYTES, is_token};
pub use secret::Secret;
pub use service::{Forward, MAX_SERVICES, Service};
pub use share::{NoShare, Share};
pub use slow_start::SlowStart;
pub(crate) use table::{Table, name};
pub use weir::{
    DEFAULT_MAX_FLOWS, DEFAULT_MAX_SOURCES, DEFAULT_SOCKET, DEFAULT_STATE, DEFAULT_TABLE_SIZE, OnExit, Weir,
};

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
}

fn read(mut root: Table<'_, '_>, path: &Path, directory: &Path) -> Config {
    let services = root.count("service");
    let weir = weir::read(&mut root, directory, services);
    let interfaces = interface::read(&mut root);
    let registries = registry::read(&mut root, directory);
    let services = service::read(&mut root, &registries, &weir);
    root.finish();
    // A registry that is `None` has left a problem, so that nobody sees the configuration without it.
    let registries = registries.into_iter().filter_map(|(name, registry)| Some((name, registry?))).collect();
    Config { path: path.to_owned(), weir, interfaces, registries, services }
}
