//! The doctor's eyes, in namespaces where it is known what there is to see. Root.

mod support;

use support::Lab;
use weir::config::Mode;
use weir::doctor::{Facts, Level, Wanted, findings, gather};

fn look(lab: &Lab, interfaces: &[&str]) -> Facts {
    let interfaces = interfaces.iter().map(|name| ((*name).to_owned(), Mode::Auto)).collect();
    let wanted =
        Wanted { interfaces: Some(interfaces), ipv4: Some(true), ipv6: Some(true), state: "/proc/weir".into() };
    lab.host.inside(|| gather(&wanted))
}

#[test]
fn sysctls_are_the_namespaces_own() {
    let lab = Lab::new();
    lab.host.run("cd /proc/sys/net; echo 0 > ipv4/ip_forward; echo 1 > ipv4/conf/h0/rp_filter");
    lab.host.run("echo 0 > /proc/sys/net/ipv6/conf/all/forwarding");
    let facts = look(&lab, &["h0"]);
    assert_eq!((facts.forwarding_ipv4, facts.forwarding_ipv6), (Some(0), Some(0)));
    assert_eq!(facts.interfaces[0].device.as_ref().unwrap().rp_filter, Some(1));
    // The advice that is given, taken.
    for finding in findings(&facts).iter().filter(|finding| finding.level != Level::Good) {
        if let Some(advice) = finding.advice.as_ref().filter(|advice| advice.starts_with("sysctl")) {
            lab.host.run(advice.split(" (").next().unwrap());
        }
    }
    let facts = look(&lab, &["h0"]);
    assert_eq!((facts.forwarding_ipv4, facts.forwarding_ipv6), (Some(1), Some(1)));
    let ailing: Vec<_> = findings(&facts).into_iter().filter(|finding| finding.level != Level::Good).collect();
    let [state] = &ailing[..] else { panic!("{ailing:#?}") };
    assert!(state.check == "state" && state.found.contains("found proc at /proc"), "{state:#?}");
}

#[test]
fn devices_are_seen_as_they_are() {
    let lab = Lab::new();
    lab.host.run("ip link set h0 mtu 1400");
    let facts = look(&lab, &["h0", "lo", "nosuch"]);
    assert_eq!(facts.netlink_error, None);
    let [h0, lo, nosuch] = &facts.interfaces[..] else { panic!("{facts:#?}") };
    let h0 = h0.device.as_ref().unwrap();
    assert!(h0.is_up && h0.has_carrier && h0.is_ethernet);
    assert_eq!((h0.driver.as_deref(), h0.mtu), (Some("veth"), 1400));
    assert_eq!(h0.xdp_features.unwrap() & 0b111, 0b111, "a veth whose peer has GRO");
    assert_eq!(h0.program, None);
    assert!(!lo.device.as_ref().unwrap().is_ethernet);
    assert_eq!(nosuch.device, None);
    assert!(facts.deaf_veths.is_empty());

    // GRO off at the other end; down; and the offloads as they are now.
    lab.peer.run("ethtool -K p0 gro off");
    lab.host.run("ethtool -K h0 gro on");
    let facts = look(&lab, &["h0"]);
    assert_eq!(facts.deaf_veths, ["h0".to_owned()].into());
    assert!(facts.interfaces[0].device.as_ref().unwrap().offloads.as_ref().unwrap().contains("rx-gro"));
    lab.host.run("ethtool -K h0 gro off; ip link set h0 down");
    let facts = look(&lab, &["h0"]);
    let h0 = facts.interfaces[0].device.as_ref().unwrap();
    assert!(!h0.is_up && !h0.offloads.as_ref().unwrap().contains("rx-gro"));
}

#[test]
fn without_a_configuration_ports_of_bridges_are_left_out() {
    let lab = Lab::new();
    lab.host.run("ip link add br0 type bridge; ip link set br0 up; ip link set h0 master br0");
    let wanted = Wanted::of(None);
    let facts = lab.host.inside(|| gather(&wanted));
    let names: Vec<_> = facts.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!(names, ["br0"]);
}
