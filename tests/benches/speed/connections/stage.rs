//! The lab of all balancers: clients, the balancers' host, servers.

use std::net::SocketAddrV4;

use anyhow::Result;
use weir_tests::lab::{HOST_DEVICE, Lab, Netns, WEIR_FRONT_V4};

use super::balancer::Kind;
use super::server::{BACKLOG, Servers, anywhere};

/// The services' and the servers' port.
pub(super) const PORT: u16 = 80;
/// How many servers there are.
const SERVERS: u8 = 4;

/// Fields are dropped in this order.
pub(super) struct Stage {
    _servers: Servers,
    pub(super) lab: Lab,
}

impl Stage {
    pub(super) fn build() -> Result<Self> {
        let lab = Lab::builder().clients(1).backends(SERVERS).build()?;
        let everyone =
            [&lab.weir, &lab.clients[0].netns].into_iter().chain(lab.backends.iter().map(|host| &host.netns));
        for netns in everyone {
            tune(netns)?;
        }
        for vip in Kind::proxies() {
            lab.weir.ip(&format!("addr add {}/32 dev lo", vip.ip()))?;
        }
        let client = &lab.clients[0].netns;
        for (kind, source) in Kind::ALL.into_iter().filter_map(|kind| Some((kind, kind.client()?))) {
            client.ip(&format!("addr add {source}/24 dev {HOST_DEVICE}"))?;
            client.ip(&format!("route add {}/32 via {WEIR_FRONT_V4} src {source}", kind.vip().ip()))?;
        }
        let places: Vec<(Netns, SocketAddrV4)> =
            lab.backends.iter().map(|backend| (backend.netns.clone(), anywhere(PORT))).collect();
        Ok(Self { _servers: Servers::start(&places)?, lab })
    }

    /// The clients' namespace.
    pub(super) fn client(&self) -> &Netns {
        &self.lab.clients[0].netns
    }
}

/// Room for many connections, the same for all who have any.
fn tune(netns: &Netns) -> Result<()> {
    let backlog = BACKLOG.to_string();
    for (key, value) in [
        ("net/core/somaxconn", backlog.as_str()),
        ("net/ipv4/tcp_max_syn_backlog", &backlog),
        // Proxies open connections, too.
        ("net/ipv4/ip_local_port_range", "16384 65535"),
    ] {
        netns.sysctl(key, value)?;
    }
    Ok(())
}
