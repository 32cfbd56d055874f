//! The ground's rules, one by one.

use super::*;

const BRIDGE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC: [u8; 6] = [2, 0x42, 0xac, 0x11, 0, 2];
const NIC: u32 = 2;
const BRIDGE: u32 = 7;
const VETH: u32 = 8;
const TAP: u32 = 9;

fn address() -> IpAddr {
    "172.17.0.2".parse().unwrap()
}

fn device(name: &str, kind: Option<&str>, link: u32, bridge: Option<u32>) -> (u32, Device) {
    let device = Device {
        name: name.to_owned(),
        can_transmit: kind.is_none(),
        mtu: 1500,
        ethernet: Some(BRIDGE_MAC),
        kind: kind.map(str::to_owned),
        link,
        tags: Tags::NONE,
        can_scatter: false,
        is_up: true,
        bridge,
        has_peer_elsewhere: kind == Some("veth"),
    };
    (link, device)
}

/// A NIC with Weir's programs, and a bridge with two ports; a backend behind one of these, or nobody knows where.
fn ground(port: Option<Port>) -> Ground {
    let mut hops = NextHops::default();
    hops.devices = BTreeMap::from([
        device("eth0", None, NIC, None),
        device("docker0", Some("bridge"), BRIDGE, None),
        device("veth12ab", Some("veth"), VETH, Some(BRIDGE)),
        device("tap0", Some("tun"), TAP, Some(BRIDGE)),
    ]);
    let frame = Frame { ifindex: BRIDGE, tags: Tags::NONE, source: BRIDGE_MAC, destination: MAC, mtu: 1400, port };
    let hop = Hop::Stack(StackReason::CannotTransmit { device: "docker0".to_owned() });
    hops.set(address(), Reached { frame: Some(frame), via: Some(BRIDGE), ..Reached::by(hop) });
    Ground {
        hops: Arc::new(hops),
        attached: [(NIC, Attached::Native)].into(),
        ingress: [NIC, VETH, TAP].into(),
        ..Ground::default()
    }
}

const PEER: Port = Port { ifindex: VETH, peer: true };

#[test]
fn frames_go_to_the_port_that_the_backend_is_behind() {
    for (port, delivery, shown) in [
        (PEER, Delivery::PEER, "peer veth12ab (docker0)"),
        (Port { ifindex: TAP, peer: false }, Delivery::PORT, "port tap0 (docker0)"),
    ] {
        let ground = ground(Some(port));
        let expected = Way {
            delivery,
            ifindex: port.ifindex,
            mtu: 1400,
            mac_destination: MAC,
            mac_source: BRIDGE_MAC,
            tags: Tags::NONE,
        };
        for forward in [Forward::Nat, Forward::Snat, Forward::L2, Forward::Ipip, Forward::Gue] {
            assert_eq!(ground.way(address(), forward), expected);
            assert_eq!(ground.describe(address(), forward), shown);
        }
    }
}

#[test]
fn a_nic_that_is_the_port_is_sent_from_by_xdp() {
    let mut ground = ground(Some(Port { ifindex: NIC, peer: false }));
    Arc::make_mut(&mut ground.hops).devices.get_mut(&NIC).unwrap().bridge = Some(BRIDGE);
    assert_eq!(ground.way(address(), Forward::Nat).delivery, Delivery::REDIRECT);
    assert_eq!(ground.describe(address(), Forward::Nat), "xdp eth0 (docker0)");
    let rows = ground.devices();
    assert_eq!(rows[&NIC].flags & DeviceFlags::PORT, 0, "XDP has decided");
    assert_eq!((rows[&NIC].upper, rows[&NIC].networks), (BRIDGE, Networks::OUTSIDE));
}

#[test]
fn a_bridge_finds_the_port_that_is_not_known_while_all_of_its_ports_are_watched() {
    let all = ground(None);
    let way = all.way(address(), Forward::Nat);
    assert_eq!((way.delivery, way.ifindex), (Delivery::PORT, BRIDGE));
    assert_eq!(all.describe(address(), Forward::Nat), "port docker0");
    let mut not_all = all.clone();
    not_all.ingress.remove(&TAP);
    assert_eq!(not_all.way(address(), Forward::Nat), Way::STACK, "its reply would not be translated");
    for (before, after) in [(&all, &not_all), (&not_all, &all)] {
        assert_eq!(before.changed(after), Some([address()].into()));
    }
}

#[test]
fn why_a_port_is_not_sent_to() {
    let mut unknown = ground(None);
    unknown.ingress.remove(&TAP);
    let not_at = |missing: u32| {
        let mut ground = ground(Some(PEER));
        ground.ingress.remove(&missing);
        ground
    };
    for (ground, reason) in [
        (unknown, "docker0 is a bridge, and the port of 02:42:ac:11:00:02 is not known (yet)"),
        (not_at(VETH), "Weir is not attached (yet) to veth12ab, a port of the bridge docker0"),
        (not_at(NIC), "Weir's program for bridges is not attached (yet) to eth0"),
    ] {
        assert_eq!(ground.way(address(), Forward::Nat), Way::STACK);
        assert_eq!(ground.way(address(), Forward::Gue), Way::NONE);
        assert_eq!(ground.describe(address(), Forward::Nat), format!("stack: {reason}"));
        assert_eq!(ground.describe(address(), Forward::L2), format!("none: {reason}"));
    }
}

#[test]
fn what_the_packet_path_is_told_of_ports_and_bridges() {
    let mut ground = ground(Some(PEER));
    ground.networks = [(VETH, 0b110)].into();
    ground.ingress.remove(&TAP);
    let rows = ground.devices();
    let row = |ifindex: u32| {
        let abi::Device { flags, networks, upper, mac, .. } = rows[&ifindex];
        assert_eq!(mac, BRIDGE_MAC);
        (flags & (DeviceFlags::PORT | DeviceFlags::BRIDGE | DeviceFlags::ATTACHED), networks, upper)
    };
    assert_eq!(row(NIC), (DeviceFlags::ATTACHED, Networks::OUTSIDE, NIC));
    assert_eq!(row(BRIDGE), (DeviceFlags::BRIDGE, 0, BRIDGE));
    assert_eq!(row(VETH), (DeviceFlags::ATTACHED | DeviceFlags::PORT, 0b110, BRIDGE));
    assert!(!rows.contains_key(&TAP), "there is nothing to say of it");
    assert!(!ground.seen().contains("docker0"), "replies may come by the port without the program");
    ground.ingress.insert(TAP);
    assert!(ground.seen().contains("docker0"));
    ground.outside.insert(BRIDGE);
    assert_eq!(ground.devices()[&TAP].networks, Networks::OUTSIDE);
    assert_eq!(ground.devices()[&VETH].networks, 0b111);
    ground.ingress.remove(&NIC);
    assert!(!ground.devices().contains_key(&BRIDGE), "nothing would come to it that XDP hands over");
}

#[test]
fn a_port_that_comes_has_only_those_judged_again_who_are_behind_it() {
    let before = ground(Some(PEER));
    let with = |change: &dyn Fn(&mut Ground)| {
        let mut after = before.clone();
        change(&mut after);
        before.changed(&after)
    };
    let hops = |change: &dyn Fn(&mut NextHops)| with(&|ground| change(Arc::make_mut(&mut ground.hops)));
    let veth = |ifindex| device("another", Some("veth"), ifindex, Some(BRIDGE)).1;
    assert_eq!(with(&|_| ()), Some([].into()));
    assert_eq!(hops(&|hops| assert!(hops.devices.insert(10, veth(10)).is_none())), Some([].into()));
    assert_eq!(with(&|ground| assert!(ground.ingress.insert(10))), Some([].into()));
    assert_eq!(hops(&|hops| assert!(hops.devices.remove(&TAP).is_some())), Some([].into()));
    for changed in [
        hops(&|hops| assert!(hops.devices.insert(VETH, veth(VETH)).is_some())),
        hops(&|hops| hops.devices.get_mut(&BRIDGE).unwrap().mtu = 1300),
        with(&|ground| assert!(ground.ingress.remove(&VETH))),
    ] {
        assert_eq!(changed, Some([address()].into()));
    }
    assert_eq!(with(&|ground| assert!(ground.ingress.remove(&NIC))), None);
    assert_eq!(with(&|ground| assert!(ground.attached.remove(&NIC).is_some())), None);
}
