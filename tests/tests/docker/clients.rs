//! Every client: beyond the NIC, in a container of the same bridge and of another one, on the host; TCP and UDP, IPv4
//! and IPv6. The containers publish nothing.

use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::lab::docker::{Container, Run};
use weir_tests::lab::{Netns, UdpLoad};

use crate::stage::{ECHO, Host, NETWORK, OTHER, declared, requests, vips, web};

fn from_netns(who: &str, netns: &Netns) {
    for vip in vips() {
        let report = requests(netns, (vip, 80).into(), 100);
        assert_eq!((report.failed(), report.answers.len()), (0, 2), "{who}, {vip}: {report:?}");
        let load = UdpLoad::new((vip, ECHO).into(), 500, Duration::from_millis(200));
        let report = load.run(netns).unwrap();
        assert_eq!((report.send_errors, report.answered()), (0, 100), "{who}, {vip}: {report:?}");
    }
}

fn from_container(container: &Container<'_>, servers: usize) {
    for vip in vips() {
        let mut tcp = container.get(&format!("http://{}/", SocketAddr::new(vip, 80)), 40).unwrap();
        let mut udp = container.udp(&SocketAddr::new(vip, ECHO).to_string(), 40).unwrap();
        for (what, answers) in [("TCP", &mut tcp), ("UDP", &mut udp)] {
            assert_eq!(answers.len(), 40);
            answers.sort_unstable();
            answers.dedup();
            // New UDP flows go to who was there before for a while: nobody can tell them from old ones.
            let expected = if what == "TCP" { servers..=servers } else { 1..=servers };
            assert!(expected.contains(&answers.len()), "{what} from {} to {vip}: {answers:?}", container.name);
        }
    }
}

#[test]
fn everybody_reaches_a_vip_whose_backends_are_on_bridges() {
    let host = Host::new();
    let weir = host.weir();
    let everybody = format!("{NETWORK},{OTHER},outside");
    let web =
        ["web-1", "web-2"].map(|name| host.run_on(NETWORK, declared(name).label("weir.allow_networks", &everybody)));
    weir.await_serving("two containers", &["web-1", "web-2"]);

    from_netns("a client", host.client());
    from_netns("the host", &host.lab.weir);
    let same = host.run_on(NETWORK, Run::new("same-bridge"));
    from_container(&same, 2);
    let other = host.run_on(OTHER, Run::new("other-bridge"));
    from_container(&other, 2);
    // A backend that asks its own VIP gets the other one and itself.
    from_container(&web[0], 2);
    web[1].remove().unwrap();
    weir.await_serving("one is gone", &["web-1"]);
    from_container(&web[0], 1);
    from_container(&same, 1);
}

#[test]
fn a_vip_that_is_the_hosts_own_address_is_reached_by_the_host_too() {
    let host = Host::new();
    let [v4, v6] = vips();
    host.lab.weir.ip_batch(&format!("addr add {v4}/32 dev lo\naddr add {v6}/128 dev lo\n")).unwrap();
    // Replies come from an address of the host's own then: docs/operating.md, "The host itself".
    host.lab.weir.sysctl("net/ipv4/conf/lo/accept_local", "1").unwrap();
    let weir = host.weir();
    let _web = ["web-1", "web-2"].map(|name| host.run_on(NETWORK, declared(name)));
    weir.await_serving("two containers", &["web-1", "web-2"]);
    from_netns("the host", &host.lab.weir);
    from_netns("a client", host.client());
    from_container(&host.run_on(NETWORK, Run::new("same-bridge")), 2);
}

/// A container on two bridges whose default route is on the one that Weir does not send on.
#[test]
fn a_container_on_several_networks_is_reached_on_the_one_it_names() {
    let host = Host::new();
    let weir = host.weir();
    let two = declared("web-1").network(OTHER).network(NETWORK).label("weir.network", NETWORK);
    let container = host.engine.run(&two).unwrap();
    weir.await_serving("a container on two networks", &["web-1"]);
    let rows: Vec<weir::api::types::BackendRow> = weir.rows(&["backends", "web"]);
    assert_eq!(rows[0].address, container.v4(NETWORK).unwrap().to_string());
    for target in web() {
        let report = requests(host.client(), target, 100);
        assert_eq!(report.failed(), 0, "{report:?}");
    }
}
