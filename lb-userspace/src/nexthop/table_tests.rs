//! The table's rules, one by one.

use std::time::Duration;

use super::*;
use crate::nexthop::search::{ANEW_INTERVAL, USE_INTERVAL};

#[path = "search_tests.rs"]
mod search;

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const REACHABLE: u16 = 0x02;
const STALE: u16 = 0x04;
const FAILED: u16 = 0x20;
const PERMANENT: u16 = 0x80;

/// What follows from a table.
fn next(table: &Table) -> NextHops {
    table.next_hops(&NextHops::default())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(ifindex: u32, kind: Option<&str>) -> Link {
    Link {
        ifindex,
        name: format!("dev{ifindex}"),
        mtu: 1500,
        ethernet: Some(OWN),
        kind: kind.map(str::to_owned),
        flags: 0x1_0041,
        lower: None,
        tag: None,
        controller: None,
        elsewhere: false,
        xdp: None,
    }
}

fn path(ifindex: u32, gateway: Option<&str>) -> Option<Lookup> {
    Some(Lookup::Path(Path { ifindex, gateway: gateway.map(ip), mtu: None, source: None, encapsulates: false }))
}

/// One device that can transmit, one address on its link, looked up.
fn table(address: &str) -> Table {
    let mut table = Table::default();
    table.set_links([link(3, Some("veth"))]);
    table.set_all_features(Some([(3, XDP_NDO_XMIT)].into()));
    table.follow(&[ip(address)].into());
    table.set_route(ip(address), path(3, None));
    assert_eq!(table.unknown_neighbours(), [Key { ifindex: 3, address: ip(address) }]);
    table
}

fn state(state: u16) -> Option<Neighbour> {
    Some(Neighbour { state, mac: Some(PEER) })
}

/// Resolved or confirmed in its turn.
fn in_turn(key: Key) -> Due {
    Due { key, anew: false }
}

#[test]
fn an_address_has_no_hop_before_it_was_looked_up() {
    let mut table = Table::default();
    table.follow(&[ip("10.0.0.2")].into());
    assert_eq!(table.outdated(), [ip("10.0.0.2")]);
    assert!(next(&table).iter().next().is_none());
    table.set_route(ip("10.0.0.2"), None);
    assert_eq!(table.outdated(), [ip("10.0.0.2")], "an unanswered lookup is asked again");
    table.set_route(ip("10.0.0.2"), Some(Lookup::NoRoute));
    assert_eq!(*next(&table).hop(&ip("10.0.0.2")).unwrap(), Hop::Stack(StackReason::NoRoute));
}

#[test]
fn the_neighbours_life() {
    let address = ip("10.0.0.2");
    let key = Key { ifindex: 3, address };
    let start = Instant::now();
    let mut table = table("10.0.0.2");
    assert!(table.due(start).is_empty(), "not before the kernel said what it has");
    table.set_neighbour(key, None);
    assert_eq!(*next(&table).hop(&address).unwrap(), Hop::Stack(StackReason::Unresolved));
    assert_eq!(table.due(start), [in_turn(key)]);
    assert!(table.due(start + USE_INTERVAL / 2).is_empty(), "asked already");

    let device = Hop::Device { ifindex: 3, tags: Tags::NONE, source: OWN, destination: PEER, mtu: 1500 };
    assert!(table.set_neighbour(key, state(REACHABLE)));
    assert!(!table.set_neighbour(key, state(REACHABLE)), "nothing new");
    assert_eq!(*next(&table).hop(&address).unwrap(), device);
    assert!(table.due(start + USE_INTERVAL).is_empty(), "fresh");

    table.set_neighbour(key, state(STALE));
    assert_eq!(*next(&table).hop(&address).unwrap(), device, "a stale address is used");
    assert_eq!(table.due(start + USE_INTERVAL), [in_turn(key)], "and confirmed");

    table.set_neighbour(key, state(FAILED));
    assert_eq!(*next(&table).hop(&address).unwrap(), Hop::Stack(StackReason::Unresolved));
    assert_eq!(table.due(start + USE_INTERVAL * 2), [in_turn(key)]);

    table.set_neighbour(key, state(PERMANENT));
    assert!(table.due(start + USE_INTERVAL * 3).is_empty(), "asking would strip it of its permanence");
}

#[test]
fn neighbours_are_asked_for_in_turns() {
    let mut table = table("10.0.0.2");
    let addresses: BTreeSet<_> =
        (0..=u32::try_from(MAX_USES).unwrap()).map(|n| IpAddr::V4((0x0a01_0000 + n).into())).collect();
    table.follow(&addresses);
    for address in &addresses {
        table.set_route(*address, path(3, None));
    }
    for key in table.unknown_neighbours() {
        table.set_neighbour(key, None);
    }
    let now = Instant::now();
    let (first, second) = (table.due(now), table.due(now));
    assert_eq!((first.len(), second.len()), (MAX_USES, 1));
    assert!(!first.contains(&second[0]));
}

#[test]
fn addresses_behind_one_router_share_its_neighbour() {
    let mut table = table("10.0.0.2");
    table.follow(&[ip("192.0.2.1"), ip("192.0.2.2")].into());
    table.set_route(ip("192.0.2.1"), path(3, Some("10.0.0.1")));
    table.set_route(ip("192.0.2.2"), path(3, Some("10.0.0.1")));
    let router = Key { ifindex: 3, address: ip("10.0.0.1") };
    assert_eq!(table.unknown_neighbours(), [router]);
    table.set_neighbour(router, state(REACHABLE));
    assert_eq!(next(&table).iter().filter(|(_, reached)| reached.frame.is_some()).count(), 2);
    assert!(!table.set_neighbour(Key { ifindex: 3, address: ip("10.0.0.2") }, state(REACHABLE)), "no longer used");
}

#[test]
fn a_device_that_cannot_transmit_still_has_its_frame() {
    let address = ip("fd00::2");
    let mut table = table("fd00::2");
    table.set_neighbour(Key { ifindex: 3, address }, state(REACHABLE));
    assert!(table.set_features(3, Some(0)));
    let next = next(&table);
    assert_eq!(*next.hop(&address).unwrap(), Hop::Stack(StackReason::CannotTransmit { device: "dev3".into() }));
    assert_eq!(next.frame(&address).unwrap().destination, PEER);
    assert_eq!(next.via(&address).unwrap(), "dev3");
}

#[test]
fn a_device_without_ethernet_has_no_neighbours() {
    let mut table = Table::default();
    let mut tunnel = link(4, Some("tun"));
    tunnel.ethernet = None;
    table.set_links([tunnel]);
    table.follow(&[ip("10.0.0.2")].into());
    table.set_route(ip("10.0.0.2"), path(4, None));
    assert!(table.unknown_neighbours().is_empty());
    assert_eq!(
        *next(&table).hop(&ip("10.0.0.2")).unwrap(),
        Hop::Stack(StackReason::CannotTransmit { device: "dev4".into() })
    );
}

#[test]
fn a_route_that_encapsulates_is_the_stacks() {
    let mut table = table("10.0.0.2");
    let lookup = Path { ifindex: 3, gateway: None, mtu: None, source: None, encapsulates: true };
    table.set_route(ip("10.0.0.2"), Some(Lookup::Path(lookup)));
    assert!(table.unknown_neighbours().is_empty());
    let next = next(&table);
    assert!(matches!(*next.hop(&ip("10.0.0.2")).unwrap(), Hop::Stack(StackReason::CannotTransmit { .. })));
    assert!(next.iter().all(|(_, reached)| reached.frame.is_none()));
}

#[test]
fn the_routes_mtu_goes_before_the_devices() {
    let mut table = table("10.0.0.2");
    let lookup = Path { ifindex: 3, gateway: None, mtu: Some(1400), source: None, encapsulates: false };
    table.set_route(ip("10.0.0.2"), Some(Lookup::Path(lookup)));
    table.set_neighbour(Key { ifindex: 3, address: ip("10.0.0.2") }, state(REACHABLE));
    assert!(matches!(*next(&table).hop(&ip("10.0.0.2")).unwrap(), Hop::Device { mtu: 1400, .. }));
}

#[test]
fn an_older_kernel_is_judged_by_the_kind_of_device() {
    let mut table = Table::default();
    table.set_all_features(None);
    for (kind, expected) in [(None, true), (Some("veth"), true), (Some("bond"), true), (Some("bridge"), false)] {
        table.set_links([link(5, kind)]);
        assert_eq!(next(&table).devices[&5].can_transmit, expected, "{kind:?}");
    }
}

#[test]
fn events_outdate_only_what_they_can_change() {
    let mut table = table("10.0.0.2");
    assert!(table.outdated().is_empty());
    assert!(!table.outdate(ip("10.0.1.0"), ip("10.0.1.255")), "somebody else's route");
    assert!(!table.outdate(ip("::"), IpAddr::V6(u128::MAX.into())), "the other family");
    assert!(table.outdate(ip("0.0.0.0"), ip("255.255.255.255")));
    table.set_route(ip("10.0.0.2"), path(3, None));

    assert!(!table.set_link(link(3, Some("veth"))), "the same as before");
    assert!(table.outdated().is_empty());
    assert!(table.remove_link(3));
    assert_eq!(table.outdated(), [ip("10.0.0.2")]);
    assert_eq!(*next(&table).hop(&ip("10.0.0.2")).unwrap(), Hop::Stack(StackReason::NoRoute));
}

/// A VLAN device on another one.
fn vlan(ifindex: u32, lower: u32, id: u16) -> Link {
    Link { mtu: 1400, lower: Some(lower), tag: Some(Tags::vlan(id).0[0]), ..link(ifindex, Some("vlan")) }
}

#[test]
fn a_vlan_devices_frames_leave_from_the_device_below_with_its_tag() {
    let address = ip("10.0.0.2");
    let mut table = table("10.0.0.2");
    table.set_links([link(3, Some("veth")), vlan(4, 3, 100), vlan(5, 4, 200), vlan(6, 5, 300)]);
    let tags = |outer: u16, inner: u16| Tags([Tags::vlan(outer).0[0], Tags::vlan(inner).0[0]]);
    for (ifindex, expected) in [(4, Tags::vlan(100)), (5, tags(100, 200))] {
        table.set_route(address, path(ifindex, None));
        table.unknown_neighbours();
        table.set_neighbour(Key { ifindex, address }, state(REACHABLE));
        let next = next(&table);
        let device = Hop::Device { ifindex: 3, tags: expected, source: OWN, destination: PEER, mtu: 1400 };
        assert_eq!(*next.hop(&address).unwrap(), device);
        assert_eq!((next.devices[&ifindex].link, next.devices[&ifindex].tags), (3, expected));
        assert_eq!(next.via(&address).unwrap(), format!("dev{ifindex}"));
    }
    // More tags than a frame of ours has: the stack's.
    table.set_route(address, path(6, None));
    assert!(matches!(*next(&table).hop(&address).unwrap(), Hop::Stack(StackReason::CannotTransmit { .. })));
    // The device below is in another namespace: its index says nothing here.
    table.set_links([link(3, Some("veth")), Link { elsewhere: true, ..vlan(4, 3, 100) }]);
    assert!(!next(&table).devices[&4].can_transmit);
    assert_eq!(next(&table).devices[&4].tags, Tags::NONE);
}

#[test]
fn what_the_driver_below_can_do_counts_for_a_vlan_device() {
    let mut table = table("10.0.0.2");
    table.set_links([link(3, Some("veth")), vlan(4, 3, 100)]);
    for (features, expected) in
        [(0, (false, false)), (XDP_NDO_XMIT, (true, false)), (XDP_NDO_XMIT | XDP_NDO_XMIT_SG, (true, true))]
    {
        // The kernel says of VLAN devices that they can do nothing.
        table.set_all_features(Some([(3, features), (4, 0)].into()));
        let device = &next(&table).devices[&4];
        assert_eq!((device.can_transmit, device.can_scatter), expected, "{features}");
    }
}

#[test]
fn where_packets_come_from_and_whether_a_router_is_between() {
    let mut table = table("10.0.0.2");
    table.follow(&[ip("10.0.0.2"), ip("192.0.2.1")].into());
    let near = Path { ifindex: 3, gateway: None, mtu: None, source: Some(ip("10.0.0.9")), encapsulates: false };
    table.set_route(ip("192.0.2.1"), Some(Lookup::Path(Path { gateway: Some(ip("10.0.0.1")), ..near })));
    table.set_route(ip("10.0.0.2"), Some(Lookup::Path(near)));
    let next = next(&table);
    assert_eq!(["10.0.0.2", "192.0.2.1"].map(|address| next.is_routed(&ip(address))), [false, true]);
    assert_eq!(["10.0.0.2", "192.0.2.1"].map(|address| next.source(&ip(address))), [Some(ip("10.0.0.9")); 2]);
}

/// A bridge with two ports: a veth whose peer is elsewhere, and another device.
fn bridged(address: &str) -> Table {
    let mut table = table(address);
    let port = |ifindex, kind, elsewhere| Link { controller: Some(7), elsewhere, ..link(ifindex, kind) };
    table.set_links([
        link(3, Some("veth")),
        Link { mtu: 9000, ..link(7, Some("bridge")) },
        Link { mtu: 1400, ..port(8, Some("veth"), true) },
        port(9, Some("tun"), false),
    ]);
    table.set_route(ip(address), path(7, None));
    table.unknown_neighbours();
    table.set_neighbour(Key { ifindex: 7, address: ip(address) }, state(REACHABLE));
    table
}

const AT: fdb::Entry = fdb::Entry { bridge: 7, port: 8, mac: PEER };

#[test]
fn behind_a_bridge_the_port_is_what_its_forwarding_database_says() {
    let address = ip("10.0.0.2");
    let mut table = bridged("10.0.0.2");
    let frame = |table: &Table| *next(table).frame(&address).unwrap();
    assert_eq!((frame(&table).port, frame(&table).mtu), (None, 9000), "not heard yet");
    assert!(table.learn(AT) && !table.learn(AT));
    let port = Port { ifindex: 8, peer: true };
    assert_eq!((frame(&table).port, frame(&table).mtu, frame(&table).ifindex), (Some(port), 1400, 7));
    let told = next(&table);
    assert_eq!(*told.hop(&address).unwrap(), Hop::Stack(StackReason::CannotTransmit { device: "dev7".into() }));
    assert_eq!((told.port_of(7, PEER), told.macs_of(8).collect::<Vec<_>>()), (Some(8), vec![PEER]));
    assert_eq!((told.bridges(), told.devices[&8].bridge, told.devices[&3].bridge), ([7].into(), Some(7), None));
    assert!(told.devices[&8].has_peer_elsewhere && !told.devices[&9].has_peer_elsewhere);

    assert!(table.learn(fdb::Entry { port: 9, ..AT }), "it moves");
    assert_eq!((frame(&table).port, frame(&table).mtu), (Some(Port { ifindex: 9, peer: false }), 1500));
    assert!(table.learn(fdb::Entry { bridge: 6, ..AT }), "heard on another bridge");
    assert_eq!(frame(&table).port, Some(Port { ifindex: 9, peer: false }));
}

#[test]
fn a_port_that_leaves_its_bridge_leaves_nobody_behind_it() {
    let address = ip("10.0.0.2");
    let port = |table: &Table| next(table).frame(&address).unwrap().port;
    for leave in [
        |table: &mut Table| table.set_link(Link { elsewhere: true, ..link(8, Some("veth")) }),
        |table: &mut Table| table.set_link(Link { controller: Some(6), ..link(8, Some("veth")) }),
        |table: &mut Table| table.remove_link(8),
        |table: &mut Table| {
            table.set_links([link(3, Some("veth")), link(7, Some("bridge"))]);
            true
        },
    ] {
        let mut table = bridged("10.0.0.2");
        assert!(table.learn(AT));
        assert!(port(&table).is_some());
        // Its state changes, and it stays where it is.
        table.set_link(Link { controller: Some(7), elsewhere: true, flags: 0, ..link(8, Some("veth")) });
        assert!(port(&table).is_some());
        assert!(leave(&mut table));
        assert_eq!((port(&table), next(&table).macs_of(8).count()), (None, 0));
    }
}

#[test]
fn what_is_heard_before_its_port_is_known_is_kept() {
    let mut table = bridged("10.0.0.2");
    table.learn(fdb::Entry { port: 11, ..AT });
    assert_eq!(next(&table).frame(&ip("10.0.0.2")).unwrap().port, None);
    table.set_link(Link { controller: Some(7), elsewhere: true, ..link(11, Some("veth")) });
    assert_eq!(next(&table).frame(&ip("10.0.0.2")).unwrap().port, Some(Port { ifindex: 11, peer: true }));
}
