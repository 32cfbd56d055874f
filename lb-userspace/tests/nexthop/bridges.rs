//! Bridges, and who is behind which of their ports.

use std::net::UdpSocket;

use weir::nexthop::{Hop, NextHops, Port, StackReason};

use crate::support::Lab;
use crate::watch::{DEADLINE, Watch, index_of, ip, mac_of};

#[test]
fn a_bridge_cannot_transmit_and_its_port_can() {
    let lab = Lab::new();
    lab.host.run("ip address flush dev h0; ip link add br0 type bridge; ip link set br0 up");
    lab.host.run("ip link set h0 master br0; ip address add 10.77.0.1/24 dev br0");
    let mut watch = Watch::new(&lab, &["10.77.0.2"]);
    watch.until_hop("10.77.0.2", &Hop::Stack(StackReason::CannotTransmit { device: "br0".into() }));
    let next = watch.until("the frame for the bridge", |next| next.frame(&ip("10.77.0.2")).is_some());
    assert_eq!(next.frame(&ip("10.77.0.2")).unwrap().destination, mac_of(&lab.peer, "p0"));
    let bridge = &next.devices[&index_of(&next, "br0")];
    assert_eq!((bridge.kind.as_deref(), bridge.can_transmit), (Some("bridge"), false));
    assert!(next.devices[&index_of(&next, "h0")].can_transmit);
    assert!(!next.devices[&index_of(&next, "lo")].can_transmit && next.devices[&1].ethernet.is_none());
    // A port that leaves its bridge is announced as a deleted link of the bridge's family.
    lab.host.run("ip link set h0 nomaster; ip link del br0; ip address add 10.77.0.1/24 dev h0");
    watch.until_sent_to("10.77.0.2", mac_of(&lab.peer, "p0"));
}

#[test]
fn the_port_of_a_bridge_is_found_moves_and_is_kept_until_it_leaves() {
    let lab = Lab::new();
    // A bridge with an address of its own, as the engine makes them: another has that of one of its ports, and forgets all its
    // neighbours when that port leaves.
    let peer = lab.peer.name();
    lab.host.run(&format!(
        "ip link add br0 address 02:00:00:00:90:01 type bridge forward_delay 0; ip address add 10.90.0.1/24 dev br0; \
         ip link set br0 up; \
         ip link add c0 mtu 1400 type veth peer name e0 mtu 1400 netns {peer}; ip link set c0 master br0 up; \
         ip link add c1 type veth peer name e1 netns {peer}; ip link set c1 master br0 up; \
         ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 master br0 up; \
         ip link set br0 mtu 1500"
    ));
    lab.peer.run("ip link set e0 address 02:00:00:00:90:02; ip address add 10.90.0.2/24 dev e0; ip link set e0 up");
    let address = ip("10.90.0.2");
    let mut watch = Watch::new(&lab, &["10.90.0.2"]);
    let port = |next: &NextHops| Some(next.frame(&address)?.port?.ifindex);
    let next = watch.until("the port", |next| port(next).is_some());
    let frame = *next.frame(&address).unwrap();
    assert_eq!(frame.port, Some(Port { ifindex: index_of(&next, "c0"), peer: true }));
    assert_eq!((frame.mtu, frame.source), (1400, mac_of(&lab.host, "br0")));
    let (br0, c0, c1) = (index_of(&next, "br0"), index_of(&next, "c0"), index_of(&next, "c1"));
    assert_eq!((next.port_of(br0, frame.destination), next.bridges()), (Some(c0), [br0].into()));
    assert_eq!((next.devices[&c0].bridge, next.devices[&br0].bridge), (Some(br0), None));
    let elsewhere = ["c0", "d1"].map(|name| next.devices[&index_of(&next, name)].has_peer_elsewhere);
    assert_eq!(elsewhere, [true, false]);

    // The same container, started anew behind another port.
    lab.peer.run(
        "ip link set e0 down; ip address flush dev e0; ip link set e1 address 02:00:00:00:90:02; \
         echo 1 > /proc/sys/net/ipv4/conf/e1/arp_notify; ip address add 10.90.0.2/24 dev e1; ip link set e1 up",
    );
    let next = watch.until("the other port", |next| port(next) == Some(c1));
    assert_eq!(next.frame(&address).unwrap().mtu, 1500);
    assert!(
        next.macs_of(c1).any(|mac| mac == frame.destination) && next.macs_of(c0).all(|mac| mac != frame.destination)
    );

    // The bridge forgets; what is behind the port stays there. Who is silent is no neighbour for long unless a person says so,
    // nor is anyone when no port is left.
    lab.host.run("ip neigh replace 10.90.0.2 dev br0 lladdr 02:00:00:00:90:02 nud permanent");
    lab.peer.run("ip link set e1 arp off; ip link set e1 multicast off");
    lab.host.run("ip link set c1 type bridge_slave learning off; ip link set c1 type bridge_slave fdb_flush");
    assert!(!lab.host.run("bridge fdb show br br0").contains("02:00:00:00:90:02 dev c1"));
    lab.host.run("ip link set d1 mtu 1300");
    let d1 = index_of(&next, "d1");
    let next = watch.until("another device's change", |next| next.devices[&d1].mtu == 1300);
    assert_eq!(port(&next), Some(c1));

    lab.host.run("ip link set c1 nomaster");
    let next = watch.until("no port", |next| next.frame(&address).is_some_and(|frame| frame.port.is_none()));
    assert_eq!(next.macs_of(c1).count(), 0);
    lab.host.run("ip link set c1 master br0");
    lab.peer.run("ip link set e1 arp on; ip link set e1 down; ip link set e1 up");
    watch.until("the port again", |next| port(next) == Some(c1));
    lab.host.run("ip link del c1");
    watch.until("a port that is gone", |next| !next.devices.contains_key(&c1) && port(next).is_none());
}

/// A list that was there before: the bridge is not heard, but asked.
#[test]
fn who_starts_late_asks_the_bridge() {
    let lab = Lab::new();
    lab.host.run(&format!(
        "ip link add br0 type bridge forward_delay 0; ip address add 10.90.0.1/24 dev br0; ip link set br0 up; \
         ip link add c0 type veth peer name e0 netns {}; ip link set c0 master br0 up",
        lab.peer.name()
    ));
    lab.peer.run("ip address add 10.90.0.2/24 dev e0; ip link set e0 up; ping -c 1 -W 5 10.90.0.1");
    let watch = Watch::new(&lab, &[]);
    let next = watch.changes.borrow().clone();
    let [br0, c0] = ["br0", "c0"].map(|name| index_of(&next, name));
    assert_eq!(next.port_of(br0, mac_of(&lab.peer, "e0")), Some(c0));
    assert!(next.macs_of(c0).all(|mac| mac != mac_of(&lab.host, "c0")), "its own is no one's behind it");
}

/// The kernel repeats what was lost after a second; here after a minute, so that only a search begun anew ends in time.
#[test]
fn a_search_that_began_before_its_port_was_up_begins_anew_and_loses_nothing() {
    let lab = Lab::new();
    let peer = lab.peer.name();
    lab.host.run(&format!(
        "ip link add br0 address 02:00:00:00:90:01 type bridge forward_delay 0; ip link set br0 up; \
         for family in ipv4 ipv6; do echo 60000 > /proc/sys/net/$family/neigh/br0/retrans_time_ms; done; \
         ip address add 10.90.0.1/24 dev br0; ip address add fd90::1/64 dev br0 nodad; \
         ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 master br0 up; \
         ip link add c0 type veth peer name e0 netns {peer}; ip link set c0 master br0 up"
    ));
    lab.peer.run(
        "ip link set e0 address 02:00:00:00:90:02; ip address add 10.90.0.2/24 dev e0; \
         ip address add fd90::2/64 dev e0 nodad",
    );
    let addresses = ["10.90.0.2", "fd90::2"];
    let mut watch = Watch::new(&lab, &addresses);
    let receivers = lab.peer.inside(|| ["0.0.0.0:9", "[::]:10"].map(bind));
    let senders = lab.host.inside(|| ["0.0.0.0:0", "[::]:0"].map(bind));
    for (sender, to) in senders.iter().zip(addresses.into_iter().zip([9, 10])) {
        sender.send_to(b"waits", to).unwrap();
    }
    watch.until("both addresses", |next| addresses.iter().all(|address| next.hop(&ip(address)).is_some()));
    let shown = lab.host.run("ip neigh show dev br0");
    assert_eq!(shown.matches("INCOMPLETE").count(), 2, "{shown}");
    lab.peer.run("ip link set e0 up");
    let mac = mac_of(&lab.peer, "e0");
    watch.until("both neighbours", |next| {
        addresses.iter().all(|address| next.frame(&ip(address)).is_some_and(|frame| frame.destination == mac))
    });
    for receiver in receivers {
        let mut datagram = [0; 16];
        assert_eq!(receiver.recv(&mut datagram).unwrap(), 5, "what waited for the answer is sent");
    }
}

fn bind(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}
