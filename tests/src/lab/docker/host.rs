//! A whole Docker host in a lab, and the configuration of its Weir.

use std::path::Path;

use anyhow::Result;

use super::engine::{Engine, Options};
use super::network::NetworkOptions;
use crate::lab::addresses::{VIP_V4_PREFIX, VIP_V6_PREFIX};
use crate::lab::topology::{FRONT, HOST_DEVICE, Lab};

/// The user-defined network that a [`Host`] has, of both families.
pub const NETWORK: &str = "backend";
const NETWORK_V6: &str = "fd00:77::/64";
/// Another one that it has, of both families.
pub const OTHER_NETWORK: &str = "frontend";
const OTHER_NETWORK_V6: &str = "fd00:78::/64";

/// A lab with two clients, whose Weir's host has an engine. Fields are dropped in this order.
#[derive(Debug)]
pub struct Host {
    /// The engine, with the lab's image and both networks; no container.
    pub engine: Engine,
    /// The lab. The second client is the host's default gateway.
    pub lab: Lab,
}

impl Host {
    /// Builds it, with this `lab-server` in the image.
    pub fn build(server: &Path) -> Result<Self> {
        Self::with(server, &Options::default())
    }

    /// The same with an engine that is told more.
    pub fn with(server: &Path, options: &Options) -> Result<Self> {
        let lab = Lab::builder().clients(2).backends(0).build()?;
        // As most hosts it has somebody to send to what it does not know, its own connections to VIPs too.
        let gateway = &lab.clients[1];
        let routes =
            format!("route add default via {}\nroute add default via {} dev {FRONT}\n", gateway.v4, gateway.v6);
        lab.weir.ip_batch(&routes)?;
        // What nobody serves the host would send there, too, and tell the client to do so itself from then on.
        for family in ["ipv4", "ipv6"] {
            for scope in ["all", "default", HOST_DEVICE] {
                lab.clients[0].netns.sysctl(&format!("net/{family}/conf/{scope}/accept_redirects"), "0")?;
            }
        }
        let engine = Engine::start(&lab, &lab.weir, options)?;
        engine.make_image(server)?;
        for (name, subnet) in [(NETWORK, NETWORK_V6), (OTHER_NETWORK, OTHER_NETWORK_V6)] {
            engine.make_network(name, &NetworkOptions { v6: Some(subnet.to_owned()), internal: false })?;
        }
        Ok(Self { engine, lab })
    }

    /// (Small tables: a build that is not optimised takes a tenth of a second for one of the usual size.)
    /// The configuration of a Weir on it: the NIC, and the engine as a registry, `docker`, that may create services of
    /// all the lab's VIPs; then `more`.
    pub fn config(&self, more: &str) -> String {
        self.config_of("docker", more)
    }

    /// The same with a registry of this type, and of this name.
    pub fn config_of(&self, kind: &str, more: &str) -> String {
        format!(
            "[weir]\nsocket = {:?}\nstate = {:?}\non_exit = \"detach\"\ntable_size = 4099\n\n[[interface]]\nname = {FRONT:?}\n\
             mode = \"native\"\n\n[registry.{kind}]\ntype = {kind:?}\naddress = {:?}\n\
             may_create = [{VIP_V4_PREFIX:?}, {VIP_V6_PREFIX:?}]\n{more}",
            self.lab.socket(),
            self.lab.state(),
            self.engine.url(),
        )
    }
}
