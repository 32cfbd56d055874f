//! The shape of the lab: who is where, with what address, and what connects them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};

use anyhow::{Result, ensure};

use super::addresses::{
    HOP_FAR_V4, HOP_FAR_V6, VIP_V4_PREFIX, VIP_V6_PREFIX, WEIR_BACK_V4, WEIR_BACK_V6, WEIR_FRONT_V4, WEIR_FRONT_V6,
    back_v4, back_v6, far_v4, far_v6, front_v4, front_v6,
};
use super::cabling::{await_links, batch, bridges, cable, host_addresses, offload, quieten, weir_addresses};
use super::cleanup::{Kept, Resources, sweep};
use super::hop;
use super::netns::Netns;
use super::turn::Turn;

/// The device of Weir's host that clients are behind.
pub const FRONT: &str = "front";
/// The device of Weir's host that backends are behind.
pub const BACK: &str = "back";
/// The one device of a client and of a backend. Not `eth0`: a slip must not reach the machine's own.
pub const HOST_DEVICE: &str = "net0";

/// A client: a namespace with one device, [`HOST_DEVICE`].
#[derive(Debug, Clone)]
pub struct Client {
    /// Its name in the lab: `c1`, `c2`, …
    pub name: String,
    /// Its namespace.
    pub netns: Netns,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

/// A backend: a namespace with one device, [`HOST_DEVICE`]. Servers are started in it by whoever needs them.
#[derive(Debug)]
pub struct Backend {
    /// Its name: the lab's prefix for backends and its number, from 1.
    pub name: String,
    /// Its namespace.
    pub netns: Netns,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

/// What a lab is to have.
#[derive(Debug, Clone)]
pub struct Builder {
    clients: u8,
    backends: u8,
    backend_prefix: String,
    hop_mtu: Option<u16>,
}

/// A laboratory that stands until it is dropped. As many stand at once in one process as the machine can drive
/// without disturbing each other's timing; [`Builder::build`] waits for its turn.
#[derive(Debug)]
pub struct Lab {
    /// Weir's host: forwards, has [`FRONT`] and [`BACK`].
    pub weir: Netns,
    /// Where the bridges are, `front` and `back`, and `far` behind a hop.
    pub switch: Netns,
    /// The router between Weir's host and the backends, if there is one.
    pub hop: Option<Netns>,
    /// The clients.
    pub clients: Vec<Client>,
    /// The backends.
    pub backends: Vec<Backend>,
    resources: Arc<Resources>,
    // Last, so that the next lab starts when all else is gone.
    _turn: Turn,
}

/// The namespaces of a lab.
struct Hosts {
    weir: Netns,
    switch: Netns,
    hop: Option<Netns>,
    clients: Vec<Client>,
    backends: Vec<Backend>,
}

impl Lab {
    /// One client and two backends, unless more is said.
    pub fn builder() -> Builder {
        Builder { clients: 1, backends: 2, backend_prefix: "b".to_owned(), hop_mtu: None }
    }

    /// A directory that goes away with the lab.
    pub fn dir(&self) -> &Path {
        self.resources.dir()
    }

    /// Where `weir run` in this lab has its control socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("weir.sock")
    }

    /// What the configuration of a Weir in this lab has for `state`: a folder, which Weir makes, of a BPF file system
    /// that is the lab's own. What is pinned there goes away with the lab.
    pub fn state(&self) -> PathBuf {
        self.resources.bpffs().join("weir")
    }

    /// Leaves the lab standing when this process ends: namespaces, child processes and files. Servers that are
    /// threads of this process end with it. `sweep(Kept::Goes)` takes it away.
    pub fn keep(&self) -> Result<()> {
        self.resources.keep()
    }

    pub(crate) fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.resources.tear_down();
    }
}

impl Builder {
    /// How many clients, at most 100.
    #[must_use]
    pub fn clients(self, clients: u8) -> Self {
        Self { clients, ..self }
    }

    /// How many backends, at most 100.
    #[must_use]
    pub fn backends(self, backends: u8) -> Self {
        Self { backends, ..self }
    }

    /// What the backends' names begin with: `web-` gives `web-1`, `web-2`, … Short: a device is called so too.
    #[must_use]
    pub fn backend_prefix(self, prefix: &str) -> Self {
        Self { backend_prefix: prefix.to_owned(), ..self }
    }

    /// A router between Weir's host and the backends, which forwards to them nothing larger than this, and says so. What
    /// they send may be larger.
    #[must_use]
    pub fn hop_mtu(self, bytes: u16) -> Self {
        Self { hop_mtu: Some(bytes), ..self }
    }

    /// Builds it; sweeps away first what dead runs of the lab left.
    pub fn build(self) -> Result<Lab> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();

        ensure!(self.clients <= 100 && self.backends <= 100, "a lab has at most 100 clients and 100 backends");
        ensure!(self.backend_prefix.len() <= 12, "{:?} is too long a beginning for a device", self.backend_prefix);
        let turn = Turn::take();
        let mut result = Ok(());
        SWEPT.call_once(|| result = sweep(Kept::Stays).map(drop));
        result?;

        let resources = Resources::new(NUMBER.fetch_add(1, Ordering::Relaxed))?;
        match self.furnish(&resources) {
            Ok(Hosts { weir, switch, hop, clients, backends }) => {
                Ok(Lab { weir, switch, hop, clients, backends, resources, _turn: turn })
            }
            Err(error) => {
                resources.tear_down();
                Err(error)
            }
        }
    }

    fn furnish(&self, resources: &Resources) -> Result<Hosts> {
        resources.mount_bpffs()?;
        let client_names: Vec<String> = (1..=self.clients).map(|number| format!("c{number}")).collect();
        let backend_names: Vec<String> =
            (1..=self.backends).map(|number| format!("{}{number}", self.backend_prefix)).collect();
        let hosts = || client_names.iter().chain(&backend_names);

        let roles =
            ["weir", "switch"].into_iter().chain(self.hop_mtu.map(|_| "hop")).chain(hosts().map(String::as_str));
        let names: Vec<String> = roles.map(|role| resources.namespace_name(role)).collect();
        let lines: String = names.iter().fold(String::new(), |lines, name| lines + "netns add " + name + "\n");
        resources.make_namespaces(&names, || batch(&lines))?;

        let open = |role: &str| Netns::open(&resources.namespace_name(role));
        let (weir, switch) = (open("weir")?, open("switch")?);
        let hop = self.hop_mtu.map(|_| open("hop")).transpose()?;
        let clients = client_names.iter().zip(11..).map(|(name, host)| {
            Ok(Client { name: name.clone(), netns: open(name)?, v4: front_v4(host), v6: front_v6(host) })
        });
        let clients: Vec<Client> = clients.collect::<Result<_>>()?;
        let backends = backend_names.iter().zip(11..).map(|(name, host)| {
            let (v4, v6) = if hop.is_some() { (far_v4(host), far_v6(host)) } else { (back_v4(host), back_v6(host)) };
            Ok(Backend { name: name.clone(), netns: open(name)?, v4, v6 })
        });
        let backends: Vec<Backend> = backends.collect::<Result<_>>()?;

        // Devices inherit these when they are made.
        quieten(&switch, true)?;
        quieten(&weir, false)?;
        for netns in clients.iter().map(|client| &client.netns).chain(backends.iter().map(|backend| &backend.netns)) {
            quieten(netns, false)?;
        }
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            weir.sysctl(key, "1")?;
        }
        for client in &clients {
            // Twenty thousand connections from one address take more ports than the default range has. Those below
            // are for tests that choose their ports.
            client.netns.sysctl("net/ipv4/ip_local_port_range", "16384 65535")?;
        }

        let mut lines = String::new();
        for (device, port) in [(FRONT, "weir-front"), (BACK, "weir-back")] {
            cable(&mut lines, weir.name(), device, switch.name(), port);
        }
        for role in hosts() {
            cable(&mut lines, &resources.namespace_name(role), HOST_DEVICE, switch.name(), role);
        }
        batch(&lines)?;

        switch.ip_batch(&bridges(&client_names, &backend_names))?;
        weir.ip_batch(&weir_addresses())?;
        if let (Some(hop), Some(mtu)) = (&hop, self.hop_mtu) {
            hop::furnish(&weir, &switch, hop, mtu, &backend_names)?;
        }
        for client in &clients {
            let routes = [
                format!("route add {VIP_V4_PREFIX} via {WEIR_FRONT_V4}\nroute add 10.0.0.0/8 via {WEIR_FRONT_V4}"),
                format!("route add {VIP_V6_PREFIX} via {WEIR_FRONT_V6}\nroute add fd00::/8 via {WEIR_FRONT_V6}"),
            ];
            client.netns.ip_batch(&host_addresses(client.v4, client.v6, &routes))?;
        }
        for backend in &backends {
            let (v4, v6) = if hop.is_some() { (HOP_FAR_V4, HOP_FAR_V6) } else { (WEIR_BACK_V4, WEIR_BACK_V6) };
            let routes = [format!("route add default via {v4}"), format!("route add default via {v6}")];
            backend.netns.ip_batch(&host_addresses(backend.v4, backend.v6, &routes))?;
        }

        offload(&weir, &[FRONT, BACK])?;
        let ports: Vec<&str> = ["weir-front", "weir-back"].into_iter().chain(hosts().map(String::as_str)).collect();
        offload(&switch, &ports)?;
        for netns in clients.iter().map(|client| &client.netns).chain(backends.iter().map(|backend| &backend.netns)) {
            offload(netns, &[HOST_DEVICE])?;
        }
        let ports = ports.len() + if hop.is_some() { hop::PORTS } else { 0 };
        for (netns, devices) in [(&weir, 2), (&switch, ports)] {
            await_links(netns, devices)?;
        }
        for netns in clients.iter().map(|client| &client.netns).chain(backends.iter().map(|backend| &backend.netns)) {
            await_links(netns, 1)?;
        }
        Ok(Hosts { weir, switch, hop, clients, backends })
    }
}
