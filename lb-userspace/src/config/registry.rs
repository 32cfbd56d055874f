//! `[registry.NAME]`: where backends are known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::document::quoted;
use super::registry_docker::{self, DockerRegistry};
use super::registry_tls::TlsFiles;
use super::secret::Secret;
use super::table::{Table, describe};

/// The longest name of a registry, a service or a backend, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 255;
/// How many registries a configuration may name.
const MAX_REGISTRIES: usize = 64;
/// The longest token, in bytes; Consul's are UUIDs.
const MAX_TOKEN_BYTES: usize = 4096;

/// `[registry.NAME]`: where backends are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registry {
    /// A TOML file or a directory of them.
    File(FileRegistry),
    /// A Consul agent.
    Consul(ConsulRegistry),
    /// A Docker engine.
    Docker(DockerRegistry),
    /// A Docker engine that is a manager of a swarm.
    Swarm(DockerRegistry),
}

impl Registry {
    /// Whether it knows at every moment which endpoints there are: one that it does not name any more is gone, and where
    /// it was something else may be.
    pub const fn is_authoritative(&self) -> bool {
        matches!(self, Self::Docker(_) | Self::Swarm(_))
    }

    /// Whether it tells all that it has and may create services, so that it is followed though no service names it.
    pub const fn declares(&self) -> bool {
        matches!(self, Self::Docker(_) | Self::Swarm(_))
    }
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
    /// The agent's URL: `http` or `https`, a host, perhaps a port; nothing more.
    pub address: String,
    /// What the agent is shown in `X-Consul-Token`.
    pub token: Option<Token>,
    /// The certificates (PEM) that may sign the agent's; `None` trusts what the host trusts.
    pub ca_file: Option<PathBuf>,
    /// What Weir shows an agent that asks who it is.
    pub identity: Option<Identity>,
    /// The datacenter to ask about; `None` is the agent's own.
    pub datacenter: Option<String>,
}

/// An ACL token of Consul's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// In the configuration.
    Inline(Secret),
    /// In a file of its own, read anew for every request, so that it can be replaced.
    File(PathBuf),
}

/// A client certificate and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, with those that signed it.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    File,
    Consul,
    Docker,
    Swarm,
}

const KINDS: [(&str, Kind); 4] =
    [("file", Kind::File), ("consul", Kind::Consul), ("docker", Kind::Docker), ("swarm", Kind::Swarm)];

/// Reads every `[registry.NAME]`; paths in it start at `directory`. A registry that is wrong is `None`: services may
/// name it all the same.
pub(super) fn read(root: &mut Table<'_, '_>, directory: &Path) -> BTreeMap<String, Option<Registry>> {
    let mut registries = BTreeMap::new();
    let Some(table) = root.table("registry", "tables, each written [registry.NAME]") else { return registries };
    for (index, (name, line)) in table.names().enumerate() {
        if index >= MAX_REGISTRIES {
            table.problem(line, name, format!("found more registries, expected at most {MAX_REGISTRIES}"));
            break;
        }
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            let text = format!("found {}, expected a name of 1 to {MAX_NAME_BYTES} bytes", quoted(name));
            table.problem(line, name, text);
            continue;
        }
        let registry =
            table.named(name, &format!("a table [registry.{name}]")).and_then(|table| read_one(table, directory));
        registries.insert(name.to_owned(), registry);
    }
    registries
}

fn read_one(mut table: Table<'_, '_>, directory: &Path) -> Option<Registry> {
    let kind = match table.choice("type", &KINDS) {
        Some(found) => found.value,
        // Of an unknown type no key can be judged.
        None if table.has("type") => return None,
        None => Kind::File,
    };
    let registry = match kind {
        Kind::File => read_file(&mut table, directory).map(Registry::File),
        Kind::Consul => read_consul(&mut table, directory).map(Registry::Consul),
        Kind::Docker => registry_docker::read(&mut table, directory).map(Registry::Docker),
        Kind::Swarm => registry_docker::read(&mut table, directory).map(Registry::Swarm),
    };
    table.finish();
    registry
}

fn read_file(table: &mut Table<'_, '_>, directory: &Path) -> Option<FileRegistry> {
    let expected = "the path of a TOML file or of a directory of them";
    table.require("path", expected);
    Some(FileRegistry { path: directory.join(table.string("path", expected, usize::MAX)?.value) })
}

fn read_consul(table: &mut Table<'_, '_>, directory: &Path) -> Option<ConsulRegistry> {
    let expected = "the agent's URL, such as \"http://127.0.0.1:8500\" or \"https://consul.example:8501\"";
    table.require("address", expected);
    let address = table.get("address", expected, |value| match value.as_str() {
        Some(text) => agent_url(text).map(|url| (text.trim_end_matches('/').to_owned(), url.scheme() == "https")),
        None => Err(describe(value)),
    });
    let token = read_token(table, directory);
    let files = TlsFiles::read(table, directory);
    let datacenter = table.string("datacenter", "the name of a datacenter", MAX_NAME_BYTES);
    if matches!(address, Some(ref found) if !found.value.1) {
        files.refuse(table, "found beside an http:// address, expected only with https://");
    }
    if files.cert.is_some() && !table.has("key_file") {
        table.require("key_file", "the path of a PEM private key, as there is a cert_file");
    }
    if files.key.is_some() && !table.has("cert_file") {
        table.require("cert_file", "the path of a PEM certificate, as there is a key_file");
    }
    let (ca_file, identity) = files.into_parts();
    Some(ConsulRegistry {
        address: address?.value.0,
        token,
        ca_file,
        identity,
        datacenter: datacenter.map(|found| found.value.to_owned()),
    })
}

fn read_token(table: &mut Table<'_, '_>, directory: &Path) -> Option<Token> {
    // What is found here is never repeated: it may be a secret in the wrong shape.
    let expected = format!("an ACL token of 1 to {MAX_TOKEN_BYTES} visible ASCII characters");
    let token = table.get("token", &expected, |value| match value.as_str() {
        Some(text) if is_token(text) => Ok(Secret::new(text)),
        Some(_) => Err("a string that cannot be one".to_owned()),
        None => Err("no string at all".to_owned()),
    });
    let file = table.string("token_file", "the path of a file that holds an ACL token", usize::MAX);
    match (token, file) {
        (Some(_), Some(file)) => {
            table.problem(file.line, "token_file", "found beside token, expected only one of the two");
            None
        }
        (Some(token), None) => Some(Token::Inline(token.value)),
        (None, file) => file.map(|file| Token::File(directory.join(file.value))),
    }
}

/// Whether `text` can be a token, and so the value of a header.
pub(crate) fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// An agent's URL, or what is wrong with it. Nothing of a URL with a password is repeated.
fn agent_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{} ({error})", quoted(text)))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with a user or a password in it".to_owned());
    }
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(quoted(text));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{}, with a path, a query or a fragment", quoted(text)));
    }
    Ok(url)
}
