//! Which endpoints can serve a service, by the way packets reach them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::{Config, Forward, Service};
use crate::source::Endpoint;
use crate::vip::{Protocol, Vip};

/// The VIPs of a configuration, by their addresses.
#[derive(Debug, Default)]
pub struct Vips(BTreeMap<IpAddr, Vec<Vip>>);

impl Vips {
    /// All of them.
    pub fn of(config: &Config) -> Self {
        let mut vips: BTreeMap<IpAddr, Vec<Vip>> = BTreeMap::new();
        for Service { vip, .. } in &config.services {
            vips.entry(vip.address).or_default().push(*vip);
        }
        Self(vips)
    }
}

/// How packets for a service reach an endpoint.
pub(super) fn forward(service: &Service, endpoint: &Endpoint) -> Forward {
    endpoint.forward.unwrap_or(service.forward)
}

/// Why an endpoint cannot serve a service.
pub(super) fn unfit(config: &Config, service: &Service, endpoint: &Endpoint, vips: &Vips) -> Option<String> {
    let (vip, address, forward) = (&service.vip, endpoint.address, forward(service, endpoint));
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Some("no host can be reached at such an address".to_owned());
    }
    if vip.protocol == Protocol::Sctp && !forward.is_direct() {
        let name = forward.name();
        return Some(format!(
            "SCTP is forwarded by l2, ipip and gue, and not by {name}, which would have to rewrite it"
        ));
    }
    if vip.address.is_ipv4() != address.is_ipv4() && !forward.is_tunnel() {
        let name = forward.name();
        return Some(format!(
            "the VIP is of the other address family, and `{name}` does not translate between them; `ipip` and `gue` would do"
        ));
    }
    let of_family = |own: &IpAddr| own.is_ipv4() == vip.address.is_ipv4();
    if forward == Forward::Snat && !config.weir.snat_addresses.iter().any(of_family) {
        return Some(
            "`snat_addresses` under [weir] has no address of the VIP's family, which packets to it would come from"
                .to_owned(),
        );
    }
    unfit_port(service, endpoint, forward).or_else(|| goes_round(config, service, endpoint, forward, vips))
}

/// Why it does not listen where packets would come to it.
fn unfit_port(service: &Service, endpoint: &Endpoint, forward: Forward) -> Option<String> {
    match (service.vip.port, endpoint.port) {
        (0, listens) if !forward.is_direct() && listens != 0 => Some(format!(
            "it is listed with port {listens}, and the service is for every port: its replies would not tell which; list it \
             with port 0"
        )),
        (0, _) => None,
        (port, listens) if forward.is_direct() && listens != port => Some(format!(
            "it is listed with port {listens}, and `{}` leaves the VIP's port, {port}: have it listen there",
            forward.name()
        )),
        (_, 0) => Some("it is listed without a port, which is for services of every port alone".to_owned()),
        _ => None,
    }
}

/// Why its packets would come back here.
fn goes_round(
    config: &Config,
    service: &Service,
    endpoint: &Endpoint,
    forward: Forward,
    vips: &Vips,
) -> Option<String> {
    let (address, protocol) = (endpoint.address, service.vip.protocol);
    let own = config.weir.snat_addresses.iter().chain(&config.weir.tunnel_sources);
    if own.into_iter().any(|own| *own == address) {
        return Some("the address is Weir's own: packets to backends come from there".to_owned());
    }
    // Whoever keeps the VIP's address in the packet, or puts it in another one, is reached at an address of its own.
    let is_vip = |vip: &Vip| {
        let port = forward.is_direct() || vip.port == endpoint.port || vip.port == 0 || endpoint.port == 0;
        port && (forward.is_direct() || vip.protocol == protocol)
    };
    let found = vips.0.get(&address).is_some_and(|vips| vips.iter().any(is_vip));
    found.then(|| "a VIP listens there, and packets would go round for ever".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CONFIG: &str = r#"
interface = [{ name = "eth0" }]
registry.local = { path = "services.d" }
[weir]
snat_addresses = ["192.0.2.5"]
tunnel_sources = ["192.0.2.6"]
[[service]]
name = "web"
vip = "203.0.113.10"
port = 80
protocol = "tcp"
[[service]]
name = "all"
vip = "203.0.113.11"
port = 0
protocol = "udp"
[[service]]
name = "six"
vip = "2001:db8::10"
port = 80
protocol = "tcp"
[[service]]
name = "signals"
vip = "203.0.113.12"
port = 2905
protocol = "sctp"
forward = "l2"
"#;

    /// A service's name, how packets reach an endpoint if not as the service says, where it is; and what is wrong with it.
    const ROWS: &[(&str, Option<Forward>, &str, Option<&str>)] = &[
        ("web", None, "10.0.0.1:8080", None),
        ("web", Some(Forward::Snat), "10.0.0.1:8080", None),
        ("web", Some(Forward::L2), "10.0.0.1:80", None),
        ("web", Some(Forward::Gue), "[2001:db8::1]:80", None),
        ("six", Some(Forward::Ipip), "10.0.0.1:80", None),
        ("all", None, "10.0.0.1:0", None),
        ("all", Some(Forward::L2), "10.0.0.1:7", None),
        ("signals", None, "10.0.0.1:2905", None),
        ("web", None, "127.0.0.1:80", Some("no host can be reached")),
        ("web", None, "[2001:db8::1]:80", Some("`nat` does not translate")),
        ("web", Some(Forward::L2), "[2001:db8::1]:80", Some("`l2` does not translate")),
        ("six", Some(Forward::Snat), "[2001:db8::1]:80", Some("`snat_addresses` under [weir] has no address")),
        (
            "web",
            Some(Forward::Ipip),
            "10.0.0.1:8080",
            Some("listed with port 8080, and `ipip` leaves the VIP's port, 80"),
        ),
        ("web", None, "10.0.0.1:0", Some("listed without a port")),
        ("signals", Some(Forward::Nat), "10.0.0.1:2905", Some("SCTP is forwarded by l2, ipip and gue, and not by nat")),
        ("web", None, "192.0.2.5:80", Some("Weir's own")),
        ("web", Some(Forward::Gue), "192.0.2.6:80", Some("Weir's own")),
        ("web", None, "203.0.113.10:80", Some("a VIP listens there")),
        ("web", None, "203.0.113.10:81", None),
        ("web", Some(Forward::Ipip), "203.0.113.12:80", Some("a VIP listens there")),
        ("all", None, "203.0.113.11:0", Some("a VIP listens there")),
        ("all", Some(Forward::Snat), "10.0.0.1:7", Some("list it with port 0")),
    ];

    #[test]
    fn every_mode_says_whom_it_cannot_serve() {
        let config = Config::parse(CONFIG, Path::new("weir.toml")).expect("good");
        for &(name, forward, at, expected) in ROWS {
            let service = config.services.iter().find(|service| service.name == name).expect("configured");
            let at: std::net::SocketAddr = at.parse().expect("good");
            let endpoint = Endpoint {
                id: "b".into(),
                address: at.ip(),
                port: at.port(),
                weight: 1,
                zone: None,
                forward,
                server_id: None,
            };
            match (unfit(&config, service, &endpoint, &Vips::of(&config)), expected) {
                (None, None) => {}
                (Some(found), Some(expected)) => assert!(found.contains(expected), "{at} for {name}: {found}"),
                (found, _) => panic!("{at} for {name}: {found:?}, expected {expected:?}"),
            }
        }
    }
}
