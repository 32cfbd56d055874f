//! The way to backends changes while traffic flows.

use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::lab::{
    BACK, FRONT, HOST_DEVICE, HttpLoad, HttpReport, WEIR_FRONT_V4, WEIR_FRONT_V6, vip_v4, vip_v6, wait_until,
};

use crate::stand::{SOON, Service, Stand};

fn vips() -> [SocketAddr; 2] {
    [(vip_v4(10), 80).into(), (vip_v6(10), 80).into()]
}

fn stand() -> Stand {
    let [web, web6] = vips();
    Stand::new(1, 2, &[Service::tcp("web", web), Service::tcp("web6", web6)])
}

fn load(stand: &Stand, requests: usize, timeout: Duration) -> HttpReport {
    let load = HttpLoad { targets: vips().to_vec(), timeout, ..HttpLoad::new(vips()[0], requests) };
    load.run(&stand.lab.clients[0].netns)
}

fn works(stand: &Stand) {
    let report = load(stand, 300, SOON);
    assert_eq!((report.failed(), report.answers.len()), (0, 2), "{:?}", report.errors);
}

fn await_works(stand: &Stand, what: &str) {
    wait_until(what, 4 * SOON, || (load(stand, 32, Duration::from_millis(500)).failed() == 0).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {:#?}\n{:#?}", stand.backends("web"), stand.status()));
    works(stand);
}

fn await_delivery(stand: &Stand, begins: &str) {
    for service in ["web", "web6"] {
        stand.await_backends(service, &format!("{service} to leave by {begins}"), |rows| {
            rows.len() == 2 && rows.iter().all(|row| row.delivery.starts_with(begins))
        });
    }
}

#[test]
fn a_backend_with_another_mac_is_found_again() {
    let stand = stand();
    works(&stand);
    let backend = &stand.lab.backends[0].netns;
    // As a machine that is replaced does: it says who it is now (RFC 5227 §3, RFC 4861 §7.2.6). Weir's host believes
    // it at once, not only when its last answer is a second old.
    for key in ["net/ipv4/conf/net0/arp_notify", "net/ipv6/conf/net0/ndisc_notify"] {
        backend.sysctl(key, "1").unwrap();
    }
    stand.lab.weir.sysctl(&format!("net/ipv4/neigh/{BACK}/locktime"), "0").unwrap();
    let mut mac = backend.mac(HOST_DEVICE).unwrap();
    mac[5] ^= 0xff;
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    backend.ip(&format!("link set dev {HOST_DEVICE} address {mac}")).unwrap();
    await_works(&stand, "both backends to answer, one at its new hardware address");
    await_delivery(&stand, "xdp back");
}

#[test]
fn a_device_that_takes_no_frames_from_xdp_is_passed_over_by_the_stack() {
    let stand = stand();
    await_delivery(&stand, "xdp back");
    // Without GRO, and without a program, the other end of a veth does not poll for what XDP sends.
    stand.lab.switch.command("ethtool", &["-K", "weir-back", "gro", "off"]).unwrap();
    await_delivery(&stand, "stack: back");
    works(&stand);
    let stacked: u64 = stand.backends("web").iter().map(|row| row.packets).sum();
    assert!(stacked >= 4 * 150, "{stacked}");
    stand.lab.switch.command("ethtool", &["-K", "weir-back", "gro", "on"]).unwrap();
    await_delivery(&stand, "xdp back");
    works(&stand);
}

#[test]
fn a_device_that_goes_and_comes_back_is_attached_to_again() {
    let stand = stand();
    works(&stand);
    let (weir, switch) = (&stand.lab.weir, &stand.lab.switch);
    let mac = weir.mac(FRONT).unwrap().map(|byte| format!("{byte:02x}")).join(":");
    weir.ip(&format!("link del {FRONT}")).unwrap();
    let mode = || stand.status().interfaces.into_iter().find(|row| row.name == FRONT).unwrap().mode;
    wait_until("front to be missed", SOON, || (mode() == "absent").then_some(())).unwrap();
    assert!(stand.status().problems.iter().any(|problem| problem.contains(FRONT)), "{:?}", stand.status());
    assert_eq!(load(&stand, 1, Duration::from_millis(100)).answered(), 0);

    weir.ip(&format!("link add name {FRONT} address {mac} type veth peer name weir-front netns {}", switch.name()))
        .unwrap();
    for (netns, device) in [(weir, FRONT), (switch, "weir-front")] {
        netns.command("ethtool", &["-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "on"]).unwrap();
    }
    switch.ip("link set dev weir-front master br-front up").unwrap();
    weir.ip_batch(&format!(
        "addr add {WEIR_FRONT_V4}/24 dev {FRONT}\naddr add {WEIR_FRONT_V6}/64 dev {FRONT} nodad\nlink set dev {FRONT} up\n"
    ))
    .unwrap();
    wait_until("Weir to be attached to the new front", SOON, || (mode() == "native").then_some(())).unwrap();
    await_works(&stand, "traffic through the new front");
    assert_eq!(stand.status().problems, [""; 0]);
}
