//! Every judgement, on facts that need no host.

use super::*;
use crate::config::Mode;
use crate::dataplane::kernel::pins::Found;

fn device() -> DeviceFacts {
    DeviceFacts {
        is_up: true,
        has_carrier: true,
        is_ethernet: true,
        driver: Some("ixgbe".into()),
        mtu: 1500,
        xdp_features: Some(0b111),
        program: None,
        offloads: Some(["rx-gro".to_owned()].into()),
        rp_filter: Some(0),
        forwarding_ipv4: Some(1),
        vlans: [].into(),
    }
}

/// A host on which all is well.
fn healthy() -> Facts {
    let interface = InterfaceFacts { name: "eth0".into(), mode: Mode::Auto, device: Some(device()) };
    Facts {
        wanted: Wanted { interfaces: None, ipv4: Some(true), ipv6: Some(true), state: "/sys/fs/bpf/weir".into() },
        release: Some("6.18.44-cloud".into()),
        btf: true,
        capabilities: Some((1 << 12) | (1 << 38) | (1 << 39)),
        initial_user_namespace: Some(true),
        jit: Some(1),
        forwarding_ipv4: Some(1),
        forwarding_ipv6: Some(1),
        rp_filter_all: Some(0),
        state: Found::Nothing,
        netlink_error: None,
        devices: ["lo".to_owned(), "eth0".to_owned()].into(),
        deaf_veths: [].into(),
        interfaces: vec![interface],
    }
}

/// What is wrong after a change to the healthy host.
fn ails(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Level, String)> {
    let mut facts = healthy();
    change(&mut facts);
    let ailing = findings(&facts).into_iter().filter(|finding| finding.level != Level::Good);
    ailing.map(|finding| (finding.check, finding.level, finding.advice.unwrap_or_default())).collect()
}

/// The same for a change to the interface.
fn device_ails(change: impl FnOnce(&mut DeviceFacts)) -> Vec<(&'static str, Level, String)> {
    ails(|facts| change(facts.interfaces[0].device.as_mut().unwrap()))
}

/// Asserts that exactly one thing is wrong, and what is to be done.
fn one(ails: &[(&'static str, Level, String)], check: &str, level: Level, advice: &str) {
    assert_eq!(ails.len(), 1, "{ails:?}");
    let (found, found_level, found_advice) = &ails[0];
    assert_eq!((*found, *found_level), (check, level), "{ails:?}");
    assert!(found_advice.contains(advice), "{found_advice:?} has no {advice:?}");
}

#[test]
fn a_healthy_host_has_nothing() {
    assert_eq!(ails(|_| {}), []);
    let all = findings(&healthy());
    assert!(all.len() >= 8);
    assert!(all.iter().all(|finding| finding.advice.is_none()), "{all:#?}");
    assert!(all.iter().any(|finding| finding.subject.as_deref() == Some("eth0")));
}

#[test]
fn kernels() {
    for release in ["6.6.0", "6.6", "6.18.44-fc", "7.0.0-rc1", "10.1+"] {
        assert_eq!(ails(|facts| facts.release = Some(release.into())), [], "{release}");
    }
    for release in ["6.5.13-generic", "5.15.0", "4.19", "weird"] {
        one(&ails(|facts| facts.release = Some(release.into())), "kernel", Level::Bad, "6.6");
    }
    one(&ails(|facts| facts.btf = false), "btf", Level::Advice, "CONFIG_DEBUG_INFO_BTF");
    one(&ails(|facts| facts.jit = Some(0)), "jit", Level::Advice, "sysctl -w net.core.bpf_jit_enable=1");
    assert_eq!(ails(|facts| facts.jit = None), []);
}

#[test]
fn privileges() {
    assert_eq!(
        ails(|facts| facts.capabilities = Some((1 << 12) | (1 << 21))),
        [],
        "SYS_ADMIN stands for BPF and PERFMON"
    );
    for held in [0, 1 << 12, (1 << 38) | (1 << 39), (1 << 12) | (1 << 39)] {
        one(&ails(|facts| facts.capabilities = Some(held)), "privileges", Level::Bad, "AmbientCapabilities=");
    }
    one(&ails(|facts| facts.initial_user_namespace = Some(false)), "privileges", Level::Bad, "user namespaces");
}

#[test]
fn forwarding() {
    one(
        &ails(|facts| facts.forwarding_ipv4 = Some(0)),
        "forwarding-ipv4",
        Level::Bad,
        "sysctl -w net.ipv4.ip_forward=1",
    );
    let off = |facts: &mut Facts| facts.forwarding_ipv6 = Some(0);
    one(&ails(off), "forwarding-ipv6", Level::Bad, "sysctl -w net.ipv6.conf.all.forwarding=1");
    let unknown = |facts: &mut Facts| (facts.forwarding_ipv6, facts.wanted.ipv6) = (Some(0), None);
    one(&ails(unknown), "forwarding-ipv6", Level::Advice, "accept_ra=2");
    assert_eq!(ails(|facts| (facts.forwarding_ipv6, facts.wanted.ipv6) = (Some(0), Some(false))), []);
    one(&ails(|facts| facts.forwarding_ipv6 = None), "forwarding-ipv6", Level::Bad, "ipv6.disable");
    let here = device_ails(|device| device.forwarding_ipv4 = Some(0));
    one(&here, "forwarding-ipv4", Level::Bad, "sysctl -w net.ipv4.conf.eth0.forwarding=1");
}

#[test]
fn interfaces() {
    one(&ails(|facts| facts.interfaces[0].device = None), "interface", Level::Bad, "eth0, lo");
    one(&device_ails(|device| device.is_up = false), "interface", Level::Bad, "ip link set eth0 up");
    one(&device_ails(|device| device.has_carrier = false), "interface", Level::Advice, "cable");
    one(&device_ails(|device| device.is_ethernet = false), "interface", Level::Bad, "[[interface]]");
    let unseen = |facts: &mut Facts| {
        facts.netlink_error = Some("permission denied".into());
        facts.interfaces[0].device = None;
    };
    one(&ails(unseen), "netlink", Level::Bad, "root");
}

#[test]
fn drivers() {
    one(&device_ails(|device| device.xdp_features = Some(0)), "xdp", Level::Advice, "");
    one(&device_ails(|device| device.xdp_features = Some(0b001)), "xdp", Level::Advice, "skb");
    one(&device_ails(|device| device.xdp_features = None), "xdp", Level::Advice, "auto");
    one(&ails(|facts| facts.interfaces[0].mode = Mode::Skb), "xdp", Level::Advice, "auto");
    let native = |facts: &mut Facts| {
        facts.interfaces[0].mode = Mode::Native;
        facts.interfaces[0].device.as_mut().unwrap().xdp_features = Some(0);
    };
    one(&ails(native), "xdp", Level::Bad, "auto");
    one(&device_ails(|device| device.mtu = 9000), "mtu", Level::Advice, "ip link set eth0 mtu 3498");
    assert_eq!(device_ails(|device| device.mtu = 3498), []);
    let merging =
        |device: &mut DeviceFacts| device.offloads = Some(["rx-lro".to_owned(), "rx-gro-hw".to_owned()].into());
    one(&device_ails(merging), "offloads", Level::Advice, "ethtool -K eth0 lro off rx-gro-hw off");
}

#[test]
fn programs() {
    let program = |name: &str| Some(Program { id: 7, name: Some(name.into()) });
    one(&device_ails(|device| device.program = program("xdp_firewall")), "program", Level::Bad, "xdp off");
    one(
        &device_ails(|device| device.program = Some(Program { id: 7, name: None })),
        "program",
        Level::Advice,
        "as root",
    );
    assert_eq!(device_ails(|device| device.program = program("weir_xdp")), []);
}

#[test]
fn the_larger_reverse_path_filter_counts() {
    let strict = "sysctl -w net.ipv4.conf.eth0.rp_filter=2";
    one(&ails(|facts| facts.rp_filter_all = Some(1)), "rp-filter", Level::Advice, strict);
    one(&device_ails(|device| device.rp_filter = Some(1)), "rp-filter", Level::Advice, strict);
    let loose = |facts: &mut Facts| {
        facts.rp_filter_all = Some(1);
        facts.interfaces[0].device.as_mut().unwrap().rp_filter = Some(2);
    };
    assert_eq!(ails(loose), []);
    let dotted = |facts: &mut Facts| (facts.rp_filter_all, facts.interfaces[0].name) = (Some(1), "eth0.5".into());
    one(&ails(dotted), "rp-filter", Level::Advice, "sysctl -w net/ipv4/conf/eth0.5/rp_filter=2");
}

#[test]
fn vlans_and_veths() {
    one(&device_ails(|device| device.vlans = ["eth0.5".to_owned()].into()), "vlan", Level::Advice, "rxvlan off");
    let many = |facts: &mut Facts| facts.deaf_veths = (0..9).map(|n| format!("veth{n}")).collect();
    one(&ails(many), "veth-gro", Level::Advice, "gro on");
    let mut facts = healthy();
    many(&mut facts);
    let finding = findings(&facts).into_iter().find(|finding| finding.check == "veth-gro").unwrap();
    assert!(finding.found.contains("veth4 and 4 more"), "{}", finding.found);
}

#[test]
fn what_is_pinned() {
    let refused = |facts: &mut Facts| facts.state = Found::Refused("found sysfs, mount -t bpf".into());
    one(&ails(refused), "state", Level::Bad, "does not start");
    let pinned = |version| {
        move |facts: &mut Facts| {
            facts.state = Found::Pinned { version, maps: 19, links: 4, holder: Some(7) };
        }
    };
    assert_eq!(ails(pinned(lb_common::abi::VERSION)), []);
    one(&ails(pinned(99)), "state", Level::Bad, "weir detach --state /sys/fs/bpf/weir");
    let mut facts = healthy();
    pinned(99)(&mut facts);
    let finding = findings(&facts).into_iter().find(|finding| finding.check == "state").unwrap();
    assert!(finding.found.contains("version 99") && finding.found.contains("process 7"), "{}", finding.found);
}

#[test]
fn findings_are_json() {
    let finding = Finding::advice("mtu", "MTU 9000", "ip link set eth0 mtu 3498").about("eth0");
    let expected =
        r#"{"check":"mtu","subject":"eth0","level":"advice","found":"MTU 9000","advice":"ip link set eth0 mtu 3498"}"#;
    assert_eq!(serde_json::to_string(&finding).unwrap(), expected);
}

#[test]
fn a_bridge_needs_neither_xdp_nor_ports() {
    let bridge = |device: &mut DeviceFacts| {
        *device =
            DeviceFacts { driver: Some("bridge".into()), has_carrier: false, xdp_features: Some(0), ..device.clone() };
    };
    assert_eq!(device_ails(bridge), []);
    let down = device_ails(|device| {
        bridge(device);
        device.is_up = false;
    });
    one(&down, "interface", Level::Bad, "ip link set eth0 up");
}
