//! Flows of snat on a fake data plane, by real packets: they end, and what they had is given back.

use std::net::{Ipv4Addr, SocketAddrV4};

use lb_common::Verdict;
use lb_common::abi::{self, AddressFlags};
use lb_common::host::HostFrame;
use lb_common::packet::Packet as _;

use super::stage::{WEB, endpoint, parse, registries};
use super::*;
use crate::api::types::{DrainOrder, Then, Which};
use crate::config::Forward;
use crate::dataplane::{Fake, Faulty};
use crate::nexthop::{Frame, Hop, NextHops, Reached, StackReason};
use crate::source::{Endpoint, Report};

const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 8080);
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x11;

fn segment(from: SocketAddrV4, to: SocketAddrV4, flags: u8) -> Vec<u8> {
    let mut frame = vec![0_u8; 54];
    frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    frame[16..18].copy_from_slice(&40_u16.to_be_bytes());
    (frame[22], frame[23]) = (64, 6);
    frame[26..30].copy_from_slice(&from.ip().octets());
    frame[30..34].copy_from_slice(&to.ip().octets());
    frame[34..36].copy_from_slice(&from.port().to_be_bytes());
    frame[36..38].copy_from_slice(&to.port().to_be_bytes());
    (frame[46], frame[47]) = (0x50, flags);
    frame
}

struct World {
    controller: Controller<Faulty<Fake>>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let weir = "[weir]\nsnat_addresses = [\"192.0.2.5\"]\ntcp_idle = \"60s\"\necho = true\n";
        let config = parse(&(WEB.replace("[weir]\n", weir) + "forward = \"snat\"\n"));
        let plane = Faulty::new(Fake::new(capacity(&config)), 0, 3);
        plane.inner.tables.now_ns.set(1_000_000_000_000);
        let now = Instant::now();
        let controller = Controller::new(config, plane, registries(), now);
        let mut world = Self { controller, now };
        world.says(Some("10.0.0.1"));
        world
    }

    /// The registry lists one backend, or only another one.
    fn says(&mut self, address: Option<&str>) {
        let endpoint = endpoint("b", address.unwrap_or("10.0.0.2"), 1);
        let report = Report::Snapshot([("web".to_owned(), vec![endpoint].into())].into());
        stage::say(&mut self.controller, report, self.now);
    }

    /// Sends a packet, and says where it goes from and to.
    fn send(&self, from: SocketAddrV4, to: SocketAddrV4, flags: u8) -> Option<(SocketAddrV4, SocketAddrV4)> {
        let mut frame = HostFrame::new(&segment(from, to, flags));
        let verdict =
            lb_common::decide(&mut frame, &self.controller.plane.inner.tables, &mut lb_common::Scratch::default(), 1);
        let end = |address: usize, port: usize| {
            let ip = Ipv4Addr::from(frame.read::<4>(address).expect("there"));
            SocketAddrV4::new(ip, u16::from_be_bytes(frame.read(port).expect("there")))
        };
        matches!(verdict, Verdict::Stack | Verdict::Transmit { .. }).then(|| (end(26, 34), end(30, 36)))
    }

    /// A client's packet, and the backend's answer to it; says where the backend saw it come from.
    fn exchange(&self, port: u16, flags: u8) -> SocketAddrV4 {
        let (client, vip) = (SocketAddrV4::new(CLIENT, port), SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 80));
        let (source, to) = self.send(client, vip, flags).expect("forwarded");
        let answer = self.send(to, source, flags | ACK).expect("translated back");
        assert_eq!(answer, (vip, client), "the answer to {source}");
        source
    }

    fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            let clock = &self.controller.plane.inner.tables.now_ns;
            clock.set(clock.get() + 1_000_000_000);
            self.controller.tick(self.now);
        }
    }

    /// Flows, what replies are known by, and ports that are taken.
    fn held(&self) -> (usize, usize, u32) {
        let tables = &self.controller.plane.inner.tables;
        let ports = tables.ports.iter().map(|word| word.get().count_ones()).sum();
        (tables.snats.borrow().len(), tables.snat_replies.borrow().len(), ports)
    }
}

#[test]
fn a_flow_has_its_port_until_it_ends() {
    let mut world = World::new();
    let sources: Vec<SocketAddrV4> = (1..=3).map(|port| world.exchange(port, SYN)).collect();
    assert!(sources.iter().all(|source| *source.ip() == Ipv4Addr::new(192, 0, 2, 5)), "{sources:?}");
    assert_eq!(world.held(), (3, 3, 3));
    (1..=3).for_each(|port| assert_eq!(world.exchange(port, ACK), sources[usize::from(port) - 1]));
    world.pass(3);
    assert_eq!(world.held(), (3, 3, 3), "they go on");
    assert_eq!(world.exchange(1, FIN), sources[0]);
    world.pass(3);
    assert_eq!(world.held(), (2, 2, 2), "one has ended");
    world.pass(62);
    assert_eq!(world.held(), (0, 0, 0), "the others fell silent");
    let known = world.controller.plane.inner.tables.addresses.get(&Ipv4Addr::new(192, 0, 2, 5).octets().into_address());
    assert_eq!(known, Some(&AddressFlags::SNAT));
}

/// Bytes of an address to one of the maps.
trait IntoAddress {
    fn into_address(self) -> lb_common::Address;
}

impl IntoAddress for [u8; 4] {
    fn into_address(self) -> lb_common::Address {
        lb_common::Address::from_v4(self)
    }
}

#[test]
fn a_backend_that_nobody_lists_stays_for_its_flows() {
    let mut world = World::new();
    let source = world.exchange(1, SYN);
    world.exchange(1, ACK);
    world.says(None);
    for _ in 0..20 {
        world.pass(10);
        assert_eq!(world.exchange(1, ACK), source);
    }
    let rows = world.controller.backends(None).expect("rows");
    let states: Vec<_> =
        rows.iter().map(|row| (row.address.as_str(), row.state.as_str(), row.forward.as_str())).collect();
    assert_eq!(states, [("10.0.0.1", "draining", "snat"), ("10.0.0.2", "active", "snat")]);
    assert_eq!(world.controller.snats.flows(), 1);
    world.exchange(1, FIN);
    world.pass(70);
    assert_eq!(world.controller.backends(None).expect("rows").len(), 1);
    assert_eq!(world.held(), (0, 0, 0));
}

#[test]
fn flows_of_a_backend_that_is_taken_out_end() {
    let mut world = World::new();
    world.exchange(1, SYN);
    world.exchange(1, ACK);
    let which = Which { backend: "b".into(), service: None };
    let order = DrainOrder { which, deadline_s: Some(2), then: Some(Then::Remove) };
    let drains = world.controller.drain(&order, world.now).expect("ordered");
    assert_eq!(drains.len(), 1);
    world.pass(1);
    assert_eq!(world.controller.drains(&crate::api::types::DrainsOf::default()).expect("rows")[0].flows, 1);
    world.pass(5);
    assert_eq!(world.held(), (0, 0, 0));
    let client = SocketAddrV4::new(CLIENT, 1);
    assert_eq!(world.send(client, SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 80), ACK), None);
    assert_eq!(world.send(BACKEND, SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 5), 2000), ACK), None);
}

#[test]
fn what_a_data_plane_that_fails_has_left_half_done_is_mended() {
    let mut world = World::new();
    for port in 1..=50 {
        world.exchange(port, SYN);
        world.exchange(port, ACK);
        world.exchange(port, FIN);
    }
    world.controller.plane.fail(1);
    world.pass(4);
    let (flows, replies, ports) = world.held();
    assert!(flows < replies && replies == ports as usize, "half of some flows is there: {:?}", world.held());
    world.controller.plane.heal();
    world.pass(40);
    assert_eq!(world.held(), (0, 0, 0));
}

/// Whoever takes over knows nothing of flows before it has read them.
#[test]
fn flows_outlive_the_controller() {
    let mut world = World::new();
    let source = world.exchange(1, SYN);
    world.exchange(1, ACK);
    world.says(None);
    let Controller { config, plane, capacity, .. } = world.controller;
    let mut registries = Registries::default();
    registries.expect("local", "file services.d".into());
    let controller = Controller::adopt(config, plane, capacity, registries, world.now).expect("adopted");
    let mut world = World { controller, now: world.now };
    world.says(None);
    for _ in 0..10 {
        world.pass(10);
        assert_eq!(world.exchange(1, ACK), source);
    }
    world.exchange(1, FIN);
    world.pass(100);
    assert_eq!(world.held(), (0, 0, 0));
    assert_eq!(world.controller.backends(None).expect("rows").len(), 1);
}

/// What the stack would do for nat cannot be done for those whose packets keep the VIP.
#[test]
fn a_backend_that_nobody_can_send_to_is_said() {
    let mut world = World::new();
    let endpoint = |id: &str, address: &str, forward| Endpoint {
        port: 80,
        forward: Some(forward),
        ..stage::endpoint(id, address, 1)
    };
    let all = [
        endpoint("near", "10.0.0.1", Forward::L2),
        endpoint("far", "10.1.0.1", Forward::L2),
        endpoint("tunnel", "10.0.0.2", Forward::Gue),
    ];
    let report = Report::Snapshot([("web".to_owned(), all.into())].into());
    stage::say(&mut world.controller, report, world.now);
    let mut hops = NextHops::default();
    let frame =
        Frame { ifindex: 3, tags: abi::Tags::vlan(7), source: [2; 6], destination: [4; 6], mtu: 1500, port: None };
    let Frame { ifindex, tags, source, destination, mtu, port: _ } = frame;
    let reached = |hop| Reached { frame: Some(frame), ..Reached::by(hop) };
    let device = || reached(Hop::Device { ifindex, tags, source, destination, mtu });
    let ip = |address: &str| -> IpAddr { address.parse().expect("good") };
    hops.set(ip("10.0.0.1"), device());
    hops.set(ip("10.1.0.1"), Reached { routed: true, ..device() });
    let unresolved = Reached::by(Hop::Stack(StackReason::Unresolved));
    hops.set(ip("10.0.0.2"), Reached { via: Some(1), ..unresolved });
    world.controller.stand_on(Ground { hops: hops.into(), ..Ground::default() }, world.now);
    let rows = world.controller.backends(None).expect("rows");
    let ways: Vec<(&str, &str)> =
        rows.iter().filter(|row| row.state == "active").map(|row| (row.id.as_str(), row.delivery.as_str())).collect();
    let expected = [
        ("near", "xdp a device that is gone vlan 7"),
        ("tunnel", "none: the neighbour does not answer (yet)"),
        ("far", "none: it is behind a router, and l2 reaches backends on the link alone"),
    ];
    assert_eq!(ways, expected);
    let said = world.controller.services().expect("rows").remove(0).problems.join("\n");
    assert!(said.contains("packets cannot be sent to backend tunnel at 10.0.0.2:80 (and 1 more) by gue"), "{said}");
    assert!(said.contains("the route to backend tunnel at 10.0.0.2:80 names no source address"), "{said}");
    assert!(!said.contains("not attached"), "{said}");
}
