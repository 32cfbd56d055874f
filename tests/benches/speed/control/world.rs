//! What the control plane is measured with: services of a hundred backends each, made up.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context as _, Result};
use weir::config::Config;
use weir::source::{Endpoint, Snapshot};

/// Backends of a service, unless something else is measured.
pub(super) const BACKENDS: u32 = 100;
/// Backends at one address, on ports of their own, as containers on a host are.
const AT_ONE_ADDRESS: u32 = 10;
/// The network that all backends are in: 10.64.0.0/10.
const NETWORK: u32 = 0x0a40_0000;
/// The network that all VIPs are in: 198.18.0.0/15 (RFC 2544).
const VIPS: u32 = 0xc612_0000;
/// What the registry is called.
pub(super) const REGISTRY: &str = "bench";

/// So many services, each with so many backends.
#[derive(Debug, Clone, Copy)]
pub(super) struct World {
    /// How many services.
    pub(super) services: u32,
    /// How many backends each of them has.
    pub(super) backends: u32,
}

impl World {
    /// Services of [`BACKENDS`] backends.
    pub(super) const fn of(services: u32) -> Self {
        Self { services, backends: BACKENDS }
    }

    /// The name of a service.
    pub(super) fn name(service: u32) -> String {
        format!("service-{service:04}")
    }

    /// The configuration of these services, as text: `head` has everything but services and sizes.
    pub(super) fn config(self, head: &str, weir: &str) -> String {
        // Room for another backend of every service; those that drain have as much again.
        let max = (self.services * (self.backends + 1)).max(1024);
        let mut text = format!("{head}\n[weir]\nmax_backends = {max}\n{weir}\n");
        for service in 0..self.services {
            let (name, vip) = (Self::name(service), self.vip(service));
            writeln!(text, "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = 80\nprotocol = \"tcp\"")
                .expect(TEXT);
        }
        text
    }

    /// The same, read; nothing is attached with it.
    pub(super) fn parsed(self) -> Result<Config> {
        let head = format!("interface = [{{ name = \"front\" }}]\nregistry.{REGISTRY} = {{ path = \"services.d\" }}");
        Config::parse(&self.config(&head, ""), Path::new("weir.toml")).context("the bench's own configuration")
    }

    /// The address of a service's VIP.
    pub(super) fn vip(self, service: u32) -> IpAddr {
        Ipv4Addr::from(VIPS + service).into()
    }

    /// Where a backend listens.
    fn at(self, service: u32, backend: u32) -> (IpAddr, u16) {
        // The one that comes and goes has an address of its own.
        let number = service * (self.backends + AT_ONE_ADDRESS).next_multiple_of(AT_ONE_ADDRESS) + backend;
        let port = u16::try_from(8000 + number % AT_ONE_ADDRESS).expect("a small number");
        (Ipv4Addr::from(NETWORK + number / AT_ONE_ADDRESS).into(), port)
    }

    /// A backend.
    fn endpoint(self, service: u32, backend: u32) -> Endpoint {
        let (address, port) = self.at(service, backend);
        let id = format!("{}-{backend}", Self::name(service));
        Endpoint { id: id.into(), address, port, weight: 100, zone: None, forward: None, server_id: None }
    }

    /// A service's backends, and `more` than those.
    pub(super) fn endpoints(self, service: u32, more: u32) -> Vec<Endpoint> {
        (0..self.backends + more).map(|backend| self.endpoint(service, backend)).collect()
    }

    /// All of it, as a registry says it.
    pub(super) fn snapshot(self) -> Snapshot {
        (0..self.services).map(|service| (Self::name(service), self.endpoints(service, 0).into())).collect()
    }

    /// A service's file in a registry, with its backends and `more` than those.
    pub(super) fn file(self, service: u32, more: u32) -> String {
        let mut text = format!("service = \"{}\"\n", Self::name(service));
        for Endpoint { id, address, port, weight, .. } in self.endpoints(service, more) {
            write!(text, "[[backend]]\nid = \"{id}\"\naddress = \"{address}\"\nport = {port}\nweight = {weight}\n")
                .expect(TEXT);
        }
        text
    }
}

const TEXT: &str = "a string takes whatever is written";
