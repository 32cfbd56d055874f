//! Docker's own business is the same before, while and after Weir is there.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use weir_tests::lab::docker::{Container, Run};
use weir_tests::lab::{HTTP_PORT, UdpLoad, WEIR_FRONT_V4, WEIR_FRONT_V6};

use crate::stage::{Host, NETWORK, OTHER, declared, requests};

/// The container that publishes ports and the one that asks.
fn assert_untouched(when: &str, host: &Host, served: &Container<'_>, asking: &Container<'_>) {
    // Published ports, from beyond the NIC and from the host.
    for (address, from) in [
        (SocketAddr::from((WEIR_FRONT_V4, 8081)), host.client()),
        ((WEIR_FRONT_V6, 8081).into(), host.client()),
        ((WEIR_FRONT_V4, 8081).into(), &host.lab.weir),
        ((Ipv4Addr::LOCALHOST, 8081).into(), &host.lab.weir),
    ] {
        let report = requests(from, address, 50);
        assert_eq!((report.failed(), report.share("web-1")), (0, 1.0), "{when}, {address}: {report:?}");
    }
    let report =
        UdpLoad::new((WEIR_FRONT_V4, 8082).into(), 500, Duration::from_millis(200)).run(host.client()).unwrap();
    assert_eq!((report.send_errors, report.answers.get("web-1")), (0, Some(&100)), "{when}: {report:?}");

    // Embedded DNS.
    let said = asking.exec(&["nslookup", "web-1"]).unwrap();
    assert!(said.contains(&served.v4(NETWORK).unwrap().to_string()), "{when}: {said}");

    // A neighbour by its own address; networks apart; the way out, in the host's name.
    let direct = SocketAddr::from((served.v4(NETWORK).unwrap(), HTTP_PORT));
    assert_eq!(asking.get(&format!("http://{direct}/"), 5).unwrap(), ["web-1"; 5], "{when}");
    let apart = host.engine.container("apart").unwrap();
    let ask = ["lab-server", "get", &format!("http://{direct}/"), "--timeout-ms", "500"];
    apart.exec(&ask).unwrap_err();
    let client = &host.lab.clients[0];
    let listener = client.netns.run(|| TcpListener::bind((client.v4, 7_000)).unwrap());
    for container in [asking, &apart] {
        let peer = std::thread::scope(|scope| {
            let accepted = scope.spawn(|| listener.accept().unwrap().1);
            // What is connected to says nothing; it is enough that it was reached.
            let ask = ["nc", "-w", "1", &client.v4.to_string(), "7000"];
            container.exec_output(&ask).unwrap();
            accepted.join().unwrap()
        });
        assert_eq!(peer.ip(), WEIR_FRONT_V4, "{when}: the egress of {} is masqueraded", container.name);
    }
}

#[test]
fn published_ports_dns_and_egress_are_the_same_before_during_and_after() {
    let host = Host::new();
    let publishing = declared("web-1").publish("8081:8080").publish("8082:8080/udp");
    let served = host.run_on(NETWORK, publishing);
    let asking = host.run_on(NETWORK, Run::new("asking"));
    let _apart = host.run_on(OTHER, Run::new("apart"));
    assert_untouched("before", &host, &served, &asking);
    let rules = || host.lab.weir.command("iptables-save", &[]).map(|text| without_counters(&text)).unwrap();
    let before = rules();
    let mut weir = host.weir();
    weir.await_serving("one container", &["web-1"]);
    assert_untouched("during", &host, &served, &asking);
    assert_eq!(rules(), before);
    weir.process.stop().unwrap();
    assert_untouched("after", &host, &served, &asking);
    assert_eq!(rules(), before);
}

/// The rules of iptables-save(8) alone: chains have counters, comments have the time.
fn without_counters(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(" [").next().unwrap().to_owned()).collect()
}
