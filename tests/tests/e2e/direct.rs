//! Connections to a backend's own address, past every VIP: their replies are none of Weir's business, although they
//! come from where a service's replies come from.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir_tests::lab::{HTTP_PORT, HttpLoad, HttpReport, Netns, UDP_PORT, UdpLoad, vip_v4, vip_v6};

use crate::stand::{Service, Stand};

const PORTS: std::ops::Range<u16> = 2_000..3_000;

fn http() -> [SocketAddr; 2] {
    [(vip_v4(10), 80).into(), (vip_v6(10), 80).into()]
}

fn echo() -> [SocketAddr; 2] {
    [(vip_v4(20), 7).into(), (vip_v6(20), 7).into()]
}

fn stand(backends: u8) -> Stand {
    let [http4, http6] = http();
    let [echo4, echo6] = echo();
    let services = [
        Service::tcp("web", http4),
        Service::tcp("web6", http6),
        Service::udp("echo", echo4),
        Service::udp("echo6", echo6),
    ];
    Stand::new(1, backends, &services)
}

/// The backends' own addresses, in one family.
fn listening(stand: &Stand, v6: bool, port: u16) -> Vec<SocketAddr> {
    let address = |backend: &weir_tests::lab::Backend| {
        let address: IpAddr = if v6 { backend.v6.into() } else { backend.v4.into() };
        SocketAddr::new(address, port)
    };
    stand.lab.backends.iter().map(address).collect()
}

fn all_answered(
    netns: &Netns,
    targets: Vec<SocketAddr>,
    ports: impl IntoIterator<Item = u16>,
    what: &str,
) -> HttpReport {
    let source_ports: Vec<u16> = ports.into_iter().collect();
    let load = HttpLoad { targets, ..HttpLoad::new(([0; 4], 0).into(), source_ports.len()) };
    let report = HttpLoad { source_ports, ..load }.run(netns);
    assert_eq!(report.failed(), 0, "{what}: {:?}", report.errors);
    report
}

/// Request `i` went to target `i` modulo their number, and exactly that backend answered.
fn each_by_its_own(report: &HttpReport, backends: usize) {
    for (number, name) in &report.by_request {
        assert_eq!(*name, format!("b{}", number % backends + 1), "request {number}");
    }
}

fn tcp_past_and_through_the_vip(backends: u8) {
    let stand = stand(backends);
    let client = &stand.lab.clients[0].netns;
    for v6 in [false, true] {
        let own = listening(&stand, v6, HTTP_PORT);
        let vip = vec![http()[usize::from(v6)]];
        let direct = all_answered(client, own.clone(), PORTS, "direct");
        each_by_its_own(&direct, own.len());
        all_answered(client, vip.clone(), PORTS, "through the VIP, from ports that were used directly");
        let again = all_answered(client, own.clone(), PORTS, "direct again, from ports that used the VIP");
        each_by_its_own(&again, own.len());
        // Both at once, from ports of their own.
        std::thread::scope(|scope| {
            scope.spawn(|| all_answered(client, own.clone(), 4_000..4_500, "direct beside the VIP"));
            all_answered(client, vip, 5_000..5_500, "the VIP beside direct");
        });
    }
    let through = stand.backends("web").iter().chain(&stand.backends("web6")).map(|row| row.packets).sum::<u64>();
    let connections = stand.servers.iter().map(weir_tests::lab::HttpServer::connections).sum::<u64>();
    assert_eq!(connections, 2 * 4_000);
    assert!(through <= 9 * 2 * 1_500, "direct packets are counted as a service's: {through}");
}

#[test]
fn tcp_to_the_only_backend_of_a_service() {
    tcp_past_and_through_the_vip(1);
}

#[test]
fn tcp_to_one_of_four_backends() {
    tcp_past_and_through_the_vip(4);
}

fn udp_past_the_vip(backends: u8) {
    let stand = stand(backends);
    let client = &stand.lab.clients[0].netns;
    for v6 in [false, true] {
        let flood = |target| {
            // Sockets that are open at once have ports of their own.
            let load = UdpLoad { flows: 200, ..UdpLoad::new(target, 2_000, Duration::from_millis(500)) };
            let report = load.run(client).unwrap();
            assert_eq!((report.send_errors, report.answered()), (0, report.sent), "{target}: {report:?}");
            report
        };
        std::thread::scope(|scope| {
            scope.spawn(|| flood(echo()[usize::from(v6)]));
            for (index, target) in listening(&stand, v6, UDP_PORT).into_iter().enumerate() {
                let report = flood(target);
                assert_eq!(report.answers.keys().collect::<Vec<_>>(), [&format!("b{}", index + 1)]);
            }
        });
    }
    let service = ["echo", "echo6"].map(|service| stand.backends(service).iter().map(|row| row.packets).sum::<u64>());
    assert_eq!(service, [1_000, 1_000], "what was sent through the VIPs, and nothing else, is counted");
}

#[test]
fn udp_to_the_only_backend_of_a_service() {
    udp_past_the_vip(1);
}

#[test]
fn udp_to_one_of_four_backends() {
    udp_past_the_vip(4);
}

#[test]
fn weirs_own_host_to_the_only_backend_of_a_service() {
    let stand = stand(1);
    let host = &stand.lab.weir;
    for v6 in [false, true] {
        let own = listening(&stand, v6, HTTP_PORT);
        all_answered(host, own, PORTS, "from Weir's host");
        let load = UdpLoad {
            flows: 200,
            ..UdpLoad::new(listening(&stand, v6, UDP_PORT)[0], 2_000, Duration::from_millis(500))
        };
        let report = load.run(host).unwrap();
        assert_eq!((report.send_errors, report.answered()), (0, 1_000), "{report:?}");
    }
    all_answered(&stand.lab.clients[0].netns, http().to_vec(), PORTS, "through the VIPs meanwhile");
}
