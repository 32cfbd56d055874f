//! What most tests stand on: a lab with servers on every backend, a file registry, and Weir running.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::de::DeserializeOwned;
use weir::api::client::Client;
use weir::api::types::{BackendRow, DrainRow, Ledger, LimitRow, Status};
use weir_tests::lab::{
    BACK, Entry, FRONT, FileRegistry, HTTP_PORT, HttpServer, Lab, UDP_PORT, UdpEcho, WeirProcess, wait_until,
    weir_binary,
};

/// How long something may take that is to happen soon. Generous: how soon is the demonstration's to show.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// Where flows come from both ends of which are rewritten.
pub(crate) const SNAT: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 5)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 5))];

/// A service as a test wants it. Its backends are all of the lab's, at the port their servers have.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    name: &'static str,
    vip: SocketAddr,
    protocol: &'static str,
    port: Option<u16>,
    forward: &'static str,
    backends: std::ops::Range<usize>,
    tunnel_v6: Option<bool>,
    more: String,
    weights: Vec<u16>,
}

impl Service {
    pub(crate) fn tcp(name: &'static str, vip: SocketAddr) -> Self {
        Self {
            name,
            vip,
            protocol: "tcp",
            port: None,
            forward: "nat",
            backends: 0..usize::MAX,
            tunnel_v6: None,
            more: String::new(),
            weights: vec![],
        }
    }

    pub(crate) fn udp(name: &'static str, vip: SocketAddr) -> Self {
        Self { protocol: "udp", ..Self::tcp(name, vip) }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// More lines of its configuration.
    pub(crate) fn with(self, more: &str) -> Self {
        Self { more: format!("{}{more}\n", self.more), ..self }
    }

    /// How it is forwarded, instead of by `nat`.
    pub(crate) fn forward(self, forward: &'static str) -> Self {
        Self { forward, ..self }
    }

    /// Its backends are these of the lab's, by their places.
    pub(crate) fn backends(self, backends: std::ops::Range<usize>) -> Self {
        Self { backends, ..self }
    }

    /// Its backends are reached by a tunnel over this family, whatever the VIP's.
    pub(crate) fn tunnel_v6(self, tunnel_v6: bool) -> Self {
        Self { tunnel_v6: Some(tunnel_v6), ..self }
    }

    /// Its backends listen here.
    pub(crate) fn at(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }

    /// The weights of its backends, in the lab's order; 100 for those beyond.
    pub(crate) fn weights(self, weights: &[u16]) -> Self {
        Self { weights: weights.to_vec(), ..self }
    }

    /// Its backends as the registry has them at first.
    pub(crate) fn entries(&self, lab: &Lab) -> Vec<Entry> {
        let port = self.port.unwrap_or(if self.protocol == "tcp" { HTTP_PORT } else { UDP_PORT });
        let entry = |(index, backend): (usize, &weir_tests::lab::Backend)| {
            let v6 = self.tunnel_v6.unwrap_or(self.vip.is_ipv6());
            let address: IpAddr = if v6 { backend.v6.into() } else { backend.v4.into() };
            Entry::new(&backend.name, address, port, self.weights.get(index).copied().unwrap_or(100))
        };
        lab.backends.iter().enumerate().filter(|(index, _)| self.backends.contains(index)).map(entry).collect()
    }

    fn config(&self) -> String {
        let Self { name, vip, protocol, forward, more, .. } = self;
        let (address, port) = (vip.ip(), vip.port());
        let registry = if more.contains("registry = ") { "" } else { "registry = \"local\"\n" };
        format!(
            "\n[[service]]\nname = {name:?}\nvip = \"{address}\"\nport = {port}\nprotocol = {protocol:?}\n\
             forward = {forward:?}\n{registry}{more}"
        )
    }
}

/// The configuration of a lab's Weir: both devices, the file registry `services.d`, these services.
pub(crate) fn config(lab: &Lab, services: &[Service]) -> String {
    let mut text = format!("[weir]\nsocket = {:?}\nstate = {:?}\n", lab.socket(), lab.state());
    if services.iter().any(|service| service.forward == "snat") {
        text += &format!("snat_addresses = {:?}\n", SNAT.map(|address| address.to_string()));
    }
    for device in [FRONT, BACK] {
        text += &format!("\n[[interface]]\nname = {device:?}\nmode = \"native\"\n");
    }
    text += "\n[registry.local]\ntype = \"file\"\npath = \"services.d\"\n";
    services.iter().fold(text, |text, service| text + &service.config())
}

/// Weir at work. Fields are dropped in this order.
pub(crate) struct Stand {
    pub(crate) weir: WeirProcess,
    pub(crate) registry: FileRegistry,
    pub(crate) servers: Vec<HttpServer>,
    pub(crate) echoes: Vec<UdpEcho>,
    pub(crate) lab: Lab,
}

impl Stand {
    /// Builds it and waits until Weir is ready.
    pub(crate) fn new(clients: u8, backends: u8, services: &[Service]) -> Self {
        Self::in_lab(Lab::builder().clients(clients).backends(backends).build().unwrap(), services)
    }

    /// The same in a lab that stands.
    pub(crate) fn in_lab(lab: Lab, services: &[Service]) -> Self {
        Self::with_config(lab, services, "")
    }

    /// The same with more tables in the configuration.
    pub(crate) fn with_config(lab: Lab, services: &[Service], more: &str) -> Self {
        let text = config(&lab, services) + more;
        Self::with_text(lab, services, &text)
    }

    /// The same with this configuration, in which these services are.
    pub(crate) fn with_text(lab: Lab, services: &[Service], text: &str) -> Self {
        let (mut servers, mut echoes) = (vec![], vec![]);
        for backend in &lab.backends {
            servers.push(HttpServer::start(&backend.netns, &backend.name, HTTP_PORT).unwrap());
            echoes.push(UdpEcho::start(&backend.netns, &backend.name, UDP_PORT).unwrap());
        }
        let registry = FileRegistry::new(&lab).unwrap();
        for service in services {
            registry.publish(service.name, &service.entries(&lab)).unwrap();
        }
        let weir = WeirProcess::start(&lab, &weir_binary(), text).unwrap();
        Self { weir, registry, servers, echoes, lab }
    }

    /// `weir VERB… -o json`.
    pub(crate) fn rows<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        serde_json::from_value(self.weir.json(arguments).unwrap()).unwrap()
    }

    pub(crate) fn backends(&self, service: &str) -> Vec<BackendRow> {
        self.rows(&["backends", service])
    }

    /// How far drains are: all of them, or those of one backend.
    pub(crate) fn drains(&self, backend: Option<&str>) -> Vec<DrainRow> {
        let query: Vec<(&str, &str)> = backend.iter().map(|backend| ("backend", *backend)).collect();
        let client = Client::new(&self.lab.socket()).unwrap();
        self.lab.weir.block_on(|| async { client.get("drains", &query).await }).unwrap()
    }

    /// Puts another configuration in place of the one that Weir was started with; nobody reads it by itself.
    pub(crate) fn write_config(&self, text: &str) {
        std::fs::write(self.lab.dir().join("weir.toml"), text).unwrap();
    }

    pub(crate) fn limits(&self) -> Vec<LimitRow> {
        self.rows(&["limits"])
    }

    pub(crate) fn status(&self) -> Status {
        self.rows(&["status"])
    }

    /// How many packets were refused for this reason.
    pub(crate) fn refused(&self, name: &str) -> u64 {
        let Ledger { refusals: rows, .. } = self.rows(&["refusals"]);
        rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no refusal {name:?}: {rows:?}")).packets
    }

    /// Waits until `weir backends SERVICE` is as it shall be, and returns it.
    pub(crate) fn await_backends(
        &self,
        service: &str,
        what: &str,
        is_it: impl Fn(&[BackendRow]) -> bool,
    ) -> Vec<BackendRow> {
        let mut last = vec![];
        let found = wait_until(what, SOON, || {
            last = self.backends(service);
            is_it(&last).then_some(())
        });
        found.unwrap_or_else(|error| panic!("{error}; it is {last:#?}\n{:#?}", self.status()));
        last
    }
}

/// The row of one backend.
pub(crate) fn row<'a>(rows: &'a [BackendRow], id: &str) -> &'a BackendRow {
    rows.iter().find(|row| row.id == id).unwrap_or_else(|| panic!("no backend {id}: {rows:#?}"))
}
