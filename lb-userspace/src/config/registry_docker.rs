//! `[registry.NAME]` of `type = "docker"`, the containers of a Docker engine, and of `type = "swarm"`, the tasks of a swarm.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;
use toml::de::DeValue;

use super::document::quoted;
use super::prefix::Prefix;
use super::registry::Identity;
use super::registry_tls::TlsFiles;
use super::table::{Table, describe};

/// Where Docker listens unless it is told otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// The ports of Docker's API, without TLS and with it (IANA).
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;
/// How many prefixes `may_create` may have.
const MAX_PREFIXES: usize = 256;

/// `type = "docker"` or `type = "swarm"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerRegistry {
    /// Where the engine is.
    pub engine: Engine,
    /// The addresses that labels may make VIPs of.
    pub may_create: Vec<Prefix>,
}

/// How a Docker engine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// Over a Unix socket, by its path.
    Socket(PathBuf),
    /// Over TCP.
    Tcp {
        /// `HOST:PORT`.
        host: String,
        /// Without it whoever reaches the port rules the engine's host.
        tls: Option<DockerTls>,
    },
}

/// What TLS needs: as the engine's clients have it in `ca.pem`, `cert.pem` and `key.pem`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerTls {
    /// The certificates (PEM) that may sign the engine's, beside those that the host trusts.
    pub ca_file: PathBuf,
    /// What Weir shows the engine.
    pub identity: Identity,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, tls: Some(_) } => write!(f, "tcp://{host}"),
            Self::Tcp { host, tls: None } => write!(f, "tcp://{host}, insecure: without TLS"),
        }
    }
}

enum Address {
    Socket(PathBuf),
    Tcp(Url),
}

/// Reads what belongs to the type; paths in it start at `directory`.
pub(super) fn read(table: &mut Table<'_, '_>, directory: &Path) -> Option<DockerRegistry> {
    let expected = "the engine's address, such as \"unix:///var/run/docker.sock\" or \"tcp://docker.example:2376\"";
    let given = table.has("address");
    let address = table.get("address", expected, |value| match value.as_str() {
        Some(text) => engine_address(text, directory),
        None => Err(describe(value)),
    });
    let files = TlsFiles::read(table, directory);
    let is_tcp = matches!(&address, Some(found) if matches!(found.value, Address::Tcp(_)));
    if is_tcp && TlsFiles::KEYS.iter().any(|key| table.has(key)) {
        for key in TlsFiles::KEYS {
            table.require(key, "its path: TLS with a Docker engine takes ca_file, cert_file and key_file");
        }
    } else if address.is_some() || !given {
        files.refuse(table, "found with a Unix socket, expected only with tcp://");
    }
    let may_create = read_prefixes(table);
    let (ca_file, identity) = files.into_parts();
    let tls = ca_file.zip(identity).map(|(ca_file, identity)| DockerTls { ca_file, identity });
    let engine = match address.map(|found| found.value) {
        Some(Address::Socket(path)) => Engine::Socket(path),
        Some(Address::Tcp(url)) => {
            let port = url.port().unwrap_or(if tls.is_some() { TLS_PORT } else { PLAIN_PORT });
            Engine::Tcp { host: format!("{}:{port}", url.host_str()?), tls }
        }
        None if given => return None,
        None => Engine::Socket(DEFAULT_SOCKET.into()),
    };
    Some(DockerRegistry { engine, may_create })
}

/// An engine's address, or what is wrong with it.
fn engine_address(text: &str, directory: &Path) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix://") {
        let good = !path.is_empty() && !path.chars().any(char::is_control);
        return if good { Ok(Address::Socket(directory.join(path))) } else { Err(quoted(text)) };
    }
    // Only of schemes that it knows Url understands hosts as names and addresses.
    let Some(rest) = text.strip_prefix("tcp://") else { return Err(quoted(text)) };
    let url = Url::parse(&format!("http://{rest}")).map_err(|error| format!("{} ({error})", quoted(text)))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address with a user or a password in it".to_owned());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{}, with a path, a query or a fragment", quoted(text)));
    }
    Ok(Address::Tcp(url))
}

fn read_prefixes(table: &mut Table<'_, '_>) -> Vec<Prefix> {
    let expected =
        format!("an array of at most {MAX_PREFIXES} prefixes, such as [\"192.0.2.0/24\", \"2001:db8::/64\"]");
    let found = table.get("may_create", &expected, |value| match value {
        DeValue::Array(values) if values.len() > MAX_PREFIXES => Err(format!("{} of them", values.len())),
        DeValue::Array(values) => values
            .iter()
            .map(|value| match value.get_ref().as_str() {
                Some(text) => text.parse(),
                None => Err(describe(value.get_ref())),
            })
            .collect(),
        other => Err(describe(other)),
    });
    found.map(|found| found.value).unwrap_or_default()
}
