//! Networks of the engine.

use anyhow::{Context, Result};

use super::engine::Engine;

/// What a network may be told.
#[derive(Debug, Clone, Default)]
pub struct NetworkOptions {
    /// Its IPv6 subnet; without one it has IPv4 alone.
    pub v6: Option<String>,
    /// Whether nothing leads out of it.
    pub internal: bool,
}

/// A network: a bridge of the engine's namespace. It goes with the engine, or by [`Engine::cli`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id, 64 hex digits.
    pub id: String,
    /// The bridge's device.
    pub bridge: String,
}

impl Engine {
    /// Makes a network of the driver `bridge`.
    pub fn make_network(&self, name: &str, options: &NetworkOptions) -> Result<Network> {
        let mut arguments = vec!["network", "create", "--driver", "bridge"];
        if let Some(subnet) = &options.v6 {
            arguments.extend(["--ipv6", "--subnet", subnet]);
        }
        if options.internal {
            arguments.push("--internal");
        }
        arguments.push(name);
        self.cli(&arguments)?;
        self.network(name)
    }

    /// A network that is there: `bridge` is the one of `docker0`.
    pub fn network(&self, name: &str) -> Result<Network> {
        let shown = self.inspect(name)?;
        let id = shown["Id"].as_str().with_context(|| format!("the network {name} has no id: {shown}"))?.to_owned();
        let named = shown["Options"]["com.docker.network.bridge.name"].as_str();
        let bridge = named.map_or_else(|| format!("br-{}", &id[..12]), str::to_owned);
        Ok(Network { name: name.to_owned(), id, bridge })
    }

    /// Puts a container on a network.
    pub fn connect(&self, network: &str, container: &str) -> Result<()> {
        self.cli(&["network", "connect", network, container]).map(drop)
    }

    /// Takes a container off a network.
    pub fn disconnect(&self, network: &str, container: &str) -> Result<()> {
        self.cli(&["network", "disconnect", network, container]).map(drop)
    }
}
