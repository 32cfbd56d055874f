//! Backends that serve several services from one socket.

use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::lab::{HttpLoad, UdpLoad, vip_v4};

use crate::stand::{Service, Stand};

fn vips() -> [SocketAddr; 3] {
    [(vip_v4(10), 80).into(), (vip_v4(11), 80).into(), (vip_v4(10), 8080).into()]
}

fn stand(backends: u8) -> Stand {
    let [one, two, other_port] = vips();
    let services = [
        Service::tcp("one", one),
        Service::tcp("two", two),
        Service::tcp("other-port", other_port),
        Service::udp("echo-one", one),
        Service::udp("echo-two", two),
    ];
    Stand::new(2, backends, &services)
}

/// Every connection has a port of its own. Two that are open at once from one port to one backend through two VIPs
/// look the same to the backend: without translating the client's port as well that cannot work.
fn tcp(backends: u8) {
    let stand = stand(backends);
    std::thread::scope(|scope| {
        for client in &stand.lab.clients {
            scope.spawn(|| {
                let source_ports = (2_000..5_000).collect();
                let load = HttpLoad { targets: vips().to_vec(), source_ports, ..HttpLoad::new(vips()[0], 3_000) };
                let report = HttpLoad { concurrency: 64, ..load }.run(&client.netns);
                assert_eq!((report.failed(), report.answered()), (0, 3_000), "{:?}", report.errors);
            });
        }
    });
    for service in ["one", "two", "other-port"] {
        let packets: u64 = stand.backends(service).iter().map(|row| row.packets).sum();
        // 2,000 connections each, of at least four packets.
        assert!((8_000..=18_000).contains(&packets), "{service}: {packets}");
    }
}

#[test]
fn tcp_of_three_vips_on_one_backend() {
    tcp(1);
}

#[test]
fn tcp_of_three_vips_on_four_backends() {
    tcp(4);
}

#[test]
fn the_same_source_port_serves_one_vip_after_the_other() {
    let stand = stand(2);
    for round in 0..2 {
        for vip in vips() {
            let load = HttpLoad { source_ports: (2_000..2_500).collect(), ..HttpLoad::new(vip, 500) };
            let report = load.run(&stand.lab.clients[0].netns);
            assert_eq!(report.failed(), 0, "round {round}, {vip}: {:?}", report.errors);
        }
    }
}

#[test]
fn udp_of_two_vips_at_once() {
    let stand = stand(2);
    std::thread::scope(|scope| {
        for vip in vips().into_iter().take(2) {
            let client = &stand.lab.clients[0].netns;
            // Sockets that are open at once have ports of their own.
            scope.spawn(move || {
                let load = UdpLoad { flows: 200, ..UdpLoad::new(vip, 2_000, Duration::from_secs(1)) };
                let report = load.run(client).unwrap();
                assert_eq!((report.send_errors, report.answered()), (0, 2_000), "{vip}: {report:?}");
            });
        }
    });
    for service in ["echo-one", "echo-two"] {
        let rows = stand.backends(service);
        let sum = rows.iter().fold((0, 0), |(a, b), row| (a + row.packets, b + row.reply_packets));
        assert_eq!(sum, (2_000, 2_000), "{rows:#?}");
    }
}
