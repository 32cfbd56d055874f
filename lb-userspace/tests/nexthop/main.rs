//! The follower against a real kernel: routes, neighbours and devices in namespaces, changed while it watches. Root.

#[path = "../support/mod.rs"]
mod support;
mod watch;

mod bridges;

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::abi::Tags;
use support::Lab;
use watch::{DEADLINE, Watch, index_of, ip, mac_of};
use weir::nexthop::{Hop, MAX_FOLLOWED, StackReason};

#[test]
fn on_link_and_by_routers_of_either_family() {
    let lab = Lab::new();
    lab.host.run(
        "ip route add 192.0.2.0/24 via 10.77.0.2; ip -6 route add 2001:db8::/64 via fd77::2 mtu 1400; \
         ip route add 198.51.100.0/24 via inet6 fd77::2 dev h0",
    );
    let addresses = ["10.77.0.2", "fd77::2", "192.0.2.9", "198.51.100.9", "2001:db8::9"];
    let mut watch = Watch::new(&lab, &addresses);
    let (own, peer) = (mac_of(&lab.host, "h0"), mac_of(&lab.peer, "p0"));
    for address in addresses {
        let next = watch.until_sent_to(address, peer);
        let mtu = if address == "2001:db8::9" { 1400 } else { 1500 };
        let expected =
            Hop::Device { ifindex: index_of(&next, "h0"), tags: Tags::NONE, source: own, destination: peer, mtu };
        assert_eq!(next.hop(&ip(address)), Some(&expected), "{address}");
        assert_eq!(next.via(&ip(address)).unwrap(), "h0");
        assert!(next.frame(&ip(address)).is_some());
    }
    let shown = lab.host.run("ip neigh show");
    assert!(!shown.contains("PERMANENT") && !shown.contains("managed") && !shown.contains("extern_learn"), "{shown}");
}

/// Needs the kernel's 802.1Q devices (`CONFIG_VLAN_8021Q`); without them there is nothing to follow, and the table's own
/// tests have to do.
#[test]
fn through_vlan_devices_frames_leave_from_below_them_with_their_tags() {
    let lab = Lab::new();
    let tried = lab.host.run("ip link add link h0 name h0.100 type vlan id 100 2>&1 || echo refused");
    if tried.contains("refused") {
        println!("this kernel has no VLAN devices: {}", tried.trim());
        return;
    }
    lab.host.run("ip link add link h0.100 name h0.200 type vlan id 200");
    lab.peer.run(
        "ip link add link p0 name p0.100 type vlan id 100; ip link add link p0.100 name p0.200 type vlan id 200; \
         ip address add 10.78.0.2/24 dev p0.100; ip address add 10.79.0.2/24 dev p0.200; ip link set p0.100 up; \
         ip link set p0.200 up",
    );
    lab.host.run(
        "ip link set h0.100 mtu 1400; ip address add 10.78.0.1/24 dev h0.100; ip address add 10.79.0.1/24 dev h0.200; \
         ip link set h0.100 up; ip link set h0.200 up",
    );
    let mut watch = Watch::new(&lab, &["10.78.0.2", "10.79.0.2"]);
    let peer = mac_of(&lab.peer, "p0");
    let (one, two) = (Tags::vlan(100), Tags([Tags::vlan(100).0[0], Tags::vlan(200).0[0]]));
    for (address, device, tags) in [("10.78.0.2", "h0.100", one), ("10.79.0.2", "h0.200", two)] {
        let next = watch.until_sent_to(address, peer);
        let source = mac_of(&lab.host, device);
        let expected = Hop::Device { ifindex: index_of(&next, "h0"), tags, source, destination: peer, mtu: 1400 };
        assert_eq!(next.hop(&ip(address)), Some(&expected), "{address}");
        assert_eq!(next.via(&ip(address)).unwrap(), device);
    }
}

#[test]
fn where_this_hosts_own_packets_come_from() {
    let lab = Lab::new();
    lab.host.run("ip address add 10.77.0.7/32 dev lo; ip route add 192.0.2.0/24 via 10.77.0.2 src 10.77.0.7");
    let mut watch = Watch::new(&lab, &["192.0.2.9", "10.77.0.2", "fd77::2"]);
    let next =
        watch.until("all routes", |next| next.iter().filter(|(_, reached)| reached.source.is_some()).count() == 3);
    let sources = ["192.0.2.9", "10.77.0.2", "fd77::2"].map(|address| next.source(&ip(address)).unwrap());
    assert_eq!(sources, [ip("10.77.0.7"), ip("10.77.0.1"), ip("fd77::1")]);
    let routed: Vec<IpAddr> = next.iter().filter(|(_, reached)| reached.routed).map(|(address, _)| *address).collect();
    assert_eq!(routed, [ip("192.0.2.9")]);
}

#[test]
fn nowhere_here_and_nobody() {
    let lab = Lab::new();
    lab.host.run("ip route add unreachable 192.0.2.0/24; ip route add blackhole 198.51.100.0/24");
    lab.host.run("ip -6 route add prohibit 2001:db8::/64");
    let addresses = ["203.0.113.1", "192.0.2.1", "198.51.100.1", "2001:db8::1", "10.77.0.1", "fd77::1", "10.77.0.99"];
    let mut watch = Watch::new(&lab, &addresses);
    for address in &addresses[..4] {
        watch.until_hop(address, &Hop::Stack(StackReason::NoRoute));
    }
    for address in &addresses[4..6] {
        watch.until_hop(address, &Hop::Stack(StackReason::Local));
    }
    watch.until_hop("10.77.0.99", &Hop::Stack(StackReason::Unresolved));
    // Somebody turns up there: found although nothing is ever sent.
    lab.peer.run("ip address add 10.77.0.99/24 dev p0");
    watch.until_sent_to("10.77.0.99", mac_of(&lab.peer, "p0"));
    // And an address of somebody else's becomes this host's.
    lab.host.run("ip address add 203.0.113.1/32 dev lo");
    watch.until_hop("203.0.113.1", &Hop::Stack(StackReason::Local));
}

#[test]
fn a_neighbour_that_announces_its_new_address() {
    let lab = Lab::new();
    let mut watch = Watch::new(&lab, &["10.77.0.2"]);
    watch.until_sent_to("10.77.0.2", mac_of(&lab.peer, "p0"));
    lab.peer.run("echo 1 > /proc/sys/net/ipv4/conf/p0/arp_notify; ip link set p0 address 02:00:00:00:77:01");
    watch.until_sent_to("10.77.0.2", [2, 0, 0, 0, 0x77, 1]);
}

#[test]
fn a_neighbour_that_changes_its_address_silently_or_dies() {
    let lab = Lab::new();
    // The host's neighbour entries age in seconds rather than minutes.
    lab.host.run(
        "cd /proc/sys/net/ipv4/neigh/h0; echo 500 > base_reachable_time_ms; echo 1 > delay_first_probe_time; \
         echo 50 > retrans_time_ms",
    );
    let mut watch = Watch::new(&lab, &["10.77.0.2"]);
    watch.until_sent_to("10.77.0.2", mac_of(&lab.peer, "p0"));
    // Nothing is sent to it, so only the follower can make the kernel notice.
    lab.peer.run("ip link set p0 address 02:00:00:00:77:02");
    watch.until_sent_to("10.77.0.2", [2, 0, 0, 0, 0x77, 2]);
    lab.peer.run("ip link set p0 arp off");
    watch.until_hop("10.77.0.2", &Hop::Stack(StackReason::Unresolved));
}

#[test]
fn a_permanent_neighbour_stays_permanent() {
    let lab = Lab::new();
    lab.host.run("ip neigh add 10.77.0.50 dev h0 lladdr 02:00:00:00:00:50 nud permanent");
    let mut watch = Watch::new(&lab, &["10.77.0.50", "10.77.0.51"]);
    watch.until_sent_to("10.77.0.50", [2, 0, 0, 0, 0, 0x50]);
    // Its neighbour was asked for, in the same round.
    watch.until_hop("10.77.0.51", &Hop::Stack(StackReason::Unresolved));
    assert!(lab.host.run("ip neigh show 10.77.0.50").contains("PERMANENT"));
    lab.host.run("ip neigh del 10.77.0.50 dev h0");
    watch.until_hop("10.77.0.50", &Hop::Stack(StackReason::Unresolved));
}

#[test]
fn routes_and_rules_that_move() {
    let lab = Lab::new();
    lab.host.run(&format!("ip link add h1 type veth peer name p1 netns {}", lab.peer.name()));
    lab.peer.run("ethtool -K p1 gro on; ip address add 10.78.0.2/24 dev p1; ip link set p1 up");
    lab.host.run("ip address add 10.78.0.1/24 dev h1; ip link set h1 up; ip route add 192.0.2.0/24 via 10.77.0.2");
    let mut watch = Watch::new(&lab, &["192.0.2.1"]);
    let (first, second) = (mac_of(&lab.peer, "p0"), mac_of(&lab.peer, "p1"));
    watch.until_sent_to("192.0.2.1", first);
    lab.host.run("ip route replace 192.0.2.0/24 via 10.78.0.2");
    let next = watch.until_sent_to("192.0.2.1", second);
    assert_eq!(next.via(&ip("192.0.2.1")).unwrap(), "h1");
    // A rule takes precedence, and gives way again.
    lab.host.run("ip route add 192.0.2.0/24 via 10.77.0.2 table 77; ip rule add to 192.0.2.0/24 table 77");
    watch.until_sent_to("192.0.2.1", first);
    lab.host.run("ip rule del to 192.0.2.0/24 table 77");
    watch.until_sent_to("192.0.2.1", second);
    // The kernel takes IPv4 routes down with their device without a word about them.
    lab.host.run("ip link set h1 down");
    watch.until_hop("192.0.2.1", &Hop::Stack(StackReason::NoRoute));
}

#[test]
fn a_device_that_goes_and_comes_back_under_its_name() {
    let lab = Lab::new();
    let mut watch = Watch::new(&lab, &["10.77.0.2", "fd77::2"]);
    let before = watch.until_sent_to("10.77.0.2", mac_of(&lab.peer, "p0"));
    lab.host.run("ip link del h0");
    watch.until_hop("10.77.0.2", &Hop::Stack(StackReason::NoRoute));
    let gone = watch.until("h0 gone", |next| next.devices.values().all(|device| device.name != "h0"));
    assert!(gone.iter().all(|(_, reached)| reached.via.is_none()));
    lab.wire();
    for address in ["10.77.0.2", "fd77::2"] {
        let after = watch.until_sent_to(address, mac_of(&lab.peer, "p0"));
        assert_ne!(index_of(&before, "h0"), index_of(&after, "h0"));
    }
}

#[test]
fn a_veth_transmits_while_its_peer_has_gro() {
    let lab = Lab::new();
    let mut watch = Watch::new(&lab, &["10.77.0.2"]);
    let mac = mac_of(&lab.peer, "p0");
    watch.until_sent_to("10.77.0.2", mac);
    lab.peer.run("ethtool -K p0 gro off");
    watch.until_hop("10.77.0.2", &Hop::Stack(StackReason::CannotTransmit { device: "h0".into() }));
    lab.peer.run("ethtool -K p0 gro on");
    watch.until_sent_to("10.77.0.2", mac);
}

#[test]
fn a_storm_of_changes_ends_in_the_right_picture() {
    let lab = Lab::new();
    lab.peer.run("ip address add 10.77.0.3/24 dev p0");
    let mut watch = Watch::new(&lab, &["192.0.2.1", "10.77.0.2"]);
    watch.until_sent_to("10.77.0.2", mac_of(&lab.peer, "p0"));
    watch.until_hop("192.0.2.1", &Hop::Stack(StackReason::NoRoute));
    let before = watch.follower.requests();
    // 6,000 changes that matter, as fast as they can be made, and the last one decides.
    lab.host.run(
        "for n in $(seq 3000); do echo route replace 192.0.2.0/24 via 10.77.0.2; echo route replace unreachable \
         192.0.2.0/24; done | ip -batch -; ip route replace 192.0.2.0/24 via 10.77.0.3 mtu 1300",
    );
    watch.until("the last route", |next| matches!(next.hop(&ip("192.0.2.1")), Some(Hop::Device { mtu: 1300, .. })));
    let requests = watch.follower.requests() - before;
    println!("6,000 route changes: {requests} requests");
    assert!(requests < 1000, "{requests} requests");
}

#[test]
fn what_is_no_longer_followed_is_gone() {
    let lab = Lab::new();
    let mut watch = Watch::new(&lab, &["10.77.0.2", "fd77::2"]);
    watch.until_sent_to("fd77::2", mac_of(&lab.peer, "p0"));
    watch.follower.follow([ip("10.77.0.2")].into()).unwrap();
    let next = watch.until("one address", |next| next.iter().count() == 1);
    assert!(next.frame(&ip("fd77::2")).is_none());
    let many: BTreeSet<_> = (0_u32..).take(MAX_FOLLOWED + 1).map(|n| IpAddr::V4(n.into())).collect();
    let refused = watch.follower.follow(many).unwrap_err().to_string();
    assert!(refused.contains("131073") && refused.contains("131072"), "{refused}");
    // Dropped, it ends, and whoever listens learns so.
    let Watch { follower, mut changes, runtime } = watch;
    drop(follower);
    let ended = async { while changes.changed().await.is_ok() {} };
    runtime.block_on(async { tokio::time::timeout(DEADLINE, ended).await }).expect("the follower ends");
}

#[test]
fn two_thousand_addresses_take_two_thousand_lookups() {
    let lab = Lab::new();
    // The peer answers for a whole /24 on the link, and routes the rest.
    lab.peer.run("ip route add local 10.79.0.0/24 dev lo");
    lab.host.run("ip route add 10.79.0.0/24 dev h0; ip route add 10.80.0.0/16 via 10.77.0.2");
    let mut watch = Watch::new(&lab, &[]);
    let on_link = (1..=100).map(|n| IpAddr::from([10, 79, 0, n]));
    let routed = (0..1900_u32).map(|n| IpAddr::V4((u32::from_be_bytes([10, 80, 0, 0]) + n).into()));
    let addresses: BTreeSet<_> = on_link.chain(routed).collect();
    assert_eq!(addresses.len(), 2000);

    let before = watch.follower.requests();
    let began = std::time::Instant::now();
    watch.follower.follow(addresses).unwrap();
    watch.until("all of them by XDP", |next| {
        next.iter().count() == 2000 && next.iter().all(|(_, reached)| matches!(reached.hop, Hop::Device { .. }))
    });
    let (requests, took) = (watch.follower.requests() - before, began.elapsed());
    println!("2,000 addresses: {requests} requests, {took:?}");
    // A lookup each; for each of 101 neighbours what is known, and to resolve it. A device that is still settling in
    // the lab may have them looked up once more; any more, and something repeats.
    assert!((2202..2 * 2202).contains(&requests), "{requests} requests");

    // A route to 16 of them moves: those are looked up, not the rest. A device or an address that is still settling in
    // the lab has all of them looked up meanwhile, so that is seen within a few moves.
    let moves = (1..=4).map(|n| {
        let before = watch.follower.requests();
        lab.host.run(&format!("ip route add 10.80.{n}.16/28 via 10.77.0.3"));
        watch.until("sixteen more unresolved", |next| {
            next.iter().filter(|(_, reached)| reached.hop == Hop::Stack(StackReason::Unresolved)).count() == 16 * n
        });
        watch.follower.requests() - before
    });
    let requests: Vec<_> = moves.collect();
    println!("routes to 16 of them: {requests:?} requests");
    assert!(requests.iter().any(|&requests| requests < 50), "{requests:?} requests");
}
