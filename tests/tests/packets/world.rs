//! The services, backends and routes that every table of packets finds.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lb_common::Address;
use lb_common::abi::{Delivery, Device, DeviceFlags, Limit, LimitFlags, LimitScope, LimitUnit, Tags};
use lb_common::gcra::TICKS_PER_NS;
use lb_common::tables::{Route, WayOut};
use weir::config::Forward;
use weir::desired::{Desired, DesiredBackend, DesiredService, Way};
use weir::vip::{Protocol, Vip};

/// Where frames come in: the loopback device, as `BPF_PROG_TEST_RUN` has it.
pub(crate) const INGRESS: u32 = 1;

/// The Ethernet addresses towards backends.
pub(crate) const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(crate) const BACK_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// The Ethernet addresses towards clients, in the routes that [`namespace`] makes.
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
pub(crate) const FRONT_MAC: [u8; 6] = [2, 0, 0, 0, 2, 2];

/// Clients with a neighbour entry, and one of each family without.
pub(crate) const CLIENT: &str = "198.51.100.11";
pub(crate) const CLIENT6: &str = "2001:db8:1::11";
pub(crate) const SILENT: &str = "198.51.100.99";
pub(crate) const SILENT6: &str = "2001:db8:1::99";

fn device(ifindex: u32, mtu: u32) -> Way {
    Way {
        delivery: Delivery::DEVICE,
        ifindex,
        mtu,
        mac_destination: BACKEND_MAC,
        mac_source: BACK_MAC,
        tags: Tags::NONE,
    }
}

fn service(backends: &[(&str, u16, Way)], limits: &[Limit]) -> DesiredService {
    let backend = |&(address, port, way): &(&str, u16, Way)| {
        let listens = SocketAddr::new(address.parse().expect("an address"), port);
        (listens, DesiredBackend::new(listens.to_string(), 1, Forward::Nat, way))
    };
    DesiredService {
        name: String::new(),
        seed: 42,
        limits: limits.to_vec(),
        backends: backends.iter().map(backend).collect(),
        ..DesiredService::default()
    }
}

/// One packet a second, strictly.
fn once_a_second(scope: u8) -> Limit {
    let flags = LimitFlags::PLAIN;
    Limit { cost: 1_000_000_000 * TICKS_PER_NS, scope, flags, prefix_v4: 32, prefix_v6: 128, ..Limit::default() }
}

/// A burst of 1,000 bytes, and next to nothing after it.
fn thousand_bytes(scope: u8) -> Limit {
    let cost = 1_000_000_000 * TICKS_PER_NS;
    Limit { depth_ticks: cost * 1000, unit: LimitUnit::BYTES, ..once_a_second(scope) }
}

/// What the data planes shall hold. `ifindex` is a device's that frames for backends are redirected to, `front` the
/// one towards clients.
pub(crate) fn desired(ifindex: u32, front: u32) -> Desired {
    use Protocol::{Tcp, Udp};
    let way = device(ifindex, 1500);
    let turned = Way { delivery: Delivery::REDIRECT, ..device(INGRESS, 1500) };
    let many: Vec<(String, u16)> = (1..=7).map(|n| (format!("10.0.2.{n}"), 80)).collect();
    let many: Vec<(&str, u16, Way)> = many.iter().map(|(address, port)| (address.as_str(), *port, way)).collect();
    let (source, whole) = (LimitScope::SOURCE, LimitScope::SERVICE);
    let services = [
        ("203.0.113.10", 80, Tcp, service(&[("10.0.1.11", 8080, way)], &[])),
        ("2001:db8:f00d::10", 80, Tcp, service(&[("fd00:1::11", 8080, way)], &[])),
        ("203.0.113.10", 53, Udp, service(&[("10.0.1.11", 5353, way)], &[])),
        ("2001:db8:f00d::10", 53, Udp, service(&[("fd00:1::11", 5353, way)], &[])),
        ("203.0.113.11", 80, Tcp, service(&many, &[])),
        ("203.0.113.20", 80, Tcp, service(&[], &[])),
        ("203.0.113.30", 80, Tcp, service(&[("10.0.1.13", 8080, Way::STACK)], &[])),
        ("2001:db8:f00d::30", 80, Tcp, service(&[("fd00:1::13", 8080, Way::STACK)], &[])),
        ("203.0.113.40", 80, Tcp, service(&[("10.0.1.14", 8080, device(INGRESS, 1500))], &[])),
        ("203.0.113.41", 80, Tcp, service(&[("10.0.1.19", 8080, turned)], &[])),
        ("203.0.113.50", 53, Udp, service(&[("10.0.1.15", 53, way)], &[once_a_second(source)])),
        ("203.0.113.51", 53, Udp, service(&[("10.0.1.16", 53, way)], &[once_a_second(whole)])),
        ("203.0.113.52", 53, Udp, service(&[("10.0.1.17", 53, way)], &[once_a_second(source), thousand_bytes(whole)])),
        ("203.0.113.60", 80, Tcp, service(&[("10.0.1.18", 8080, device(ifindex, 1000))], &[])),
        ("203.0.113.70", 80, Tcp, service(&[("10.0.1.20", 8080, way)], &[])),
        ("203.0.113.71", 80, Tcp, service(&[("10.0.1.20", 8080, way)], &[])),
    ];
    let services = services.into_iter().map(|(address, port, protocol, mut service)| {
        let vip = Vip { address: address.parse().expect("an address"), port, protocol };
        service.name = vip.to_string();
        (vip, service)
    });
    let device = |ifindex, flags| (ifindex, Device { flags, link: ifindex, ..Device::default() });
    let devices = [device(front, DeviceFlags::TRANSMIT), device(INGRESS, DeviceFlags::ATTACHED)];
    Desired { services: services.collect(), devices: BTreeMap::from(devices), ..Desired::default() }
}

/// The ways to clients, for the host's tables.
pub(crate) fn routes(front: u32) -> BTreeMap<Address, WayOut> {
    let route = WayOut::Device(Route {
        ifindex: front,
        mac_destination: CLIENT_MAC,
        mac_source: FRONT_MAC,
        delivery: Delivery::DEVICE,
        tags: Tags::NONE,
        scatter: false,
    });
    let client = |text: &str| Address::from(text.parse::<IpAddr>().expect("an address"));
    BTreeMap::from([(client(CLIENT), route), (client(CLIENT6), route)])
}

/// Moves this thread into a network namespace of its own, with the ways to clients that [`routes`] has, and returns
/// the index of the device they leave by, which takes everything: the host's routes know no MTU. The namespace ends with the thread.
pub(crate) fn namespace() -> u32 {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("these tests need root");
    // Files under /proc/sys/net are those of the thread that opens them.
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{key}"), "1").expect("a namespace's own setting");
    }
    let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
    let (front, client) = (mac(FRONT_MAC), mac(CLIENT_MAC));
    let commands = format!(
        "link set lo up\n\
         link add front mtu 65535 address {front} type veth peer name far mtu 65535\n\
         link set far up\n\
         link set front up\n\
         address add 198.51.100.1/24 dev front\n\
         address add 2001:db8:1::1/64 dev front nodad\n\
         neighbour add {CLIENT} lladdr {client} dev front\n\
         neighbour add {CLIENT6} lladdr {client} dev front\n"
    );
    let mut ip = std::process::Command::new("ip")
        .args(["-batch", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("ip is installed by cargo xtask setup");
    std::io::Write::write_all(&mut ip.stdin.take().expect("piped"), commands.as_bytes()).expect("ip reads");
    assert!(ip.wait().expect("ip ends").success());
    nix::net::if_::if_nametoindex("front").expect("just made")
}
