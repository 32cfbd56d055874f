//! Connections through VIPs: who answers, how often, and what is counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use weir::api::types::BackendRow;
use weir_tests::lab::{FrameSocket, HOST_DEVICE, HTTP_PORT, HttpLoad, Netns, UdpLoad, vip_v4, vip_v6};

use crate::bulk::{self, BULK_PORT};
use crate::stand::{SOON, Service, Stand, row};

const WEIGHTS: [u16; 4] = [100, 200, 300, 400];
const SERVICES: [&str; 4] = ["web", "web6", "echo", "echo6"];

fn http(v6: bool) -> SocketAddr {
    (if v6 { vip_v6(10) } else { vip_v4(10) }, 80).into()
}

fn echo(v6: bool) -> SocketAddr {
    (if v6 { vip_v6(20) } else { vip_v4(20) }, 7).into()
}

fn services() -> [Service; 4] {
    [
        Service::tcp(SERVICES[0], http(false)).weights(&WEIGHTS),
        Service::tcp(SERVICES[1], http(true)).weights(&WEIGHTS),
        Service::udp(SERVICES[2], echo(false)).weights(&WEIGHTS),
        Service::udp(SERVICES[3], echo(true)).weights(&WEIGHTS),
    ]
}

/// Every share of `total` independent flows is within five standard deviations of its weight's: that fails by chance
/// once in a million runs.
fn assert_shares(answers: &BTreeMap<String, u64>, flows: u64) {
    let (total, all) = (answers.values().sum::<u64>() as f64, f64::from(WEIGHTS.iter().sum::<u16>()));
    for (number, weight) in (1..).zip(WEIGHTS) {
        let part = f64::from(weight) / all;
        let share = answers.get(&format!("b{number}")).copied().unwrap_or_default() as f64 / total;
        let deviation = (part * (1.0 - part) / flows as f64).sqrt();
        assert!((share - part).abs() < 5.0 * deviation, "b{number} has {share:.4}, wants {part:.4}: {answers:?}");
    }
}

fn assert_slots(rows: &[BackendRow]) {
    assert_eq!(rows.iter().map(|row| row.slots).sum::<u32>(), 65_537, "{rows:#?}");
    for (number, weight) in (1..).zip(WEIGHTS) {
        let wanted = 65_537 * u32::from(weight) / u32::from(WEIGHTS.iter().sum::<u16>());
        assert!(row(rows, &format!("b{number}")).slots.abs_diff(wanted) <= 4, "{rows:#?}");
    }
}

#[test]
fn tcp_is_spread_by_weight_and_every_answer_is_right() {
    let stand = Stand::new(1, 4, &services());
    for (v6, service) in [(false, "web"), (true, "web6")] {
        let report = HttpLoad::new(http(v6), 2_000).run(&stand.lab.clients[0].netns);
        assert_eq!((report.failed(), report.answered()), (0, 2_000), "{:?}", report.errors);
        assert_shares(&report.answers, 2_000);
        let rows = stand.backends(service);
        assert_slots(&rows);
        for row in &rows {
            // A connection is SYN, ACK, the request and FIN at least; answers are as many, and none is lost here.
            let connections = report.answers[&row.id];
            assert!((4 * connections..=9 * connections).contains(&row.packets), "{connections}: {row:?}");
            assert!((3 * connections..=9 * connections).contains(&row.reply_packets), "{connections}: {row:?}");
        }
    }
    let served: u64 = stand.servers.iter().map(weir_tests::lab::HttpServer::connections).sum();
    assert_eq!(served, 4_000);
}

#[test]
fn udp_is_spread_by_weight_and_counted_to_the_packet() {
    let stand = Stand::new(1, 4, &services());
    for (v6, service, header) in [(false, "echo", 28), (true, "echo6", 48)] {
        let before: Vec<u64> = stand.echoes.iter().map(weir_tests::lab::UdpEcho::received).collect();
        let load = UdpLoad { flows: 400, ..UdpLoad::new(echo(v6), 4_000, Duration::from_millis(500)) };
        let report = load.run(&stand.lab.clients[0].netns).unwrap();
        assert_eq!((report.sent, report.send_errors, report.answered()), (2_000, 0, 2_000));
        assert_shares(&report.answers, 400);
        let rows = stand.backends(service);
        assert_slots(&rows);
        for ((backend, server), before) in stand.lab.backends.iter().zip(&stand.echoes).zip(before) {
            let datagrams = server.received() - before;
            let row = row(&rows, &backend.name);
            assert_eq!((row.packets, row.bytes), (datagrams, datagrams * (header + 32)), "{row:?}");
            // The answer has the backend's name and a space before the rest.
            assert_eq!((row.reply_packets, row.reply_bytes), (datagrams, datagrams * (header + 3 + 32)), "{row:?}");
        }
    }
}

/// TCP frames to and from a backend, as its own device sees them, are what `weir backends` counts.
#[test]
fn tcp_is_counted_to_the_packet_and_the_clients_address_is_kept() {
    let stand = Stand::new(1, 1, &services());
    let backend = &stand.lab.backends[0];
    // Otherwise the kernel may join two packets before the socket sees them.
    backend.netns.command("ethtool", &["-K", HOST_DEVICE, "gro", "off"]).unwrap();
    let wire = FrameSocket::open(&backend.netns, HOST_DEVICE).unwrap();
    let report = HttpLoad::new(http(false), 20).run(&stand.lab.clients[0].netns);
    assert_eq!((report.failed(), report.answered()), (0, 20), "{:?}", report.errors);
    let (mut packets, mut bytes) = (0, 0);
    while let Some(frame) = wire.receive(Duration::from_millis(100)).unwrap() {
        let to_server = frame.get(36..38) == Some(&HTTP_PORT.to_be_bytes());
        if frame[12..14] == [0x08, 0x00] && frame[23] == 6 && to_server {
            assert_eq!(frame[26..30], stand.lab.clients[0].v4.octets());
            assert_eq!(frame[30..34], backend.v4.octets());
            // 64 as it left the client, lowered once.
            assert_eq!(frame[22], 63);
            packets += 1;
            bytes += u64::from(u16::from_be_bytes([frame[16], frame[17]]));
        }
    }
    let rows = stand.backends("web");
    assert_eq!((rows[0].packets, rows[0].bytes), (packets, bytes), "{rows:#?}");
}

#[test]
fn megabytes_come_back_as_they_went() {
    let bulk4 = Service::tcp("bulk", (vip_v4(30), 80).into());
    let bulk6 = Service::tcp("bulk6", (vip_v6(30), 80).into());
    let stand = Stand::new(1, 2, &[bulk4.clone(), bulk6.clone()]);
    let _servers: Vec<_> = stand.lab.backends.iter().map(|backend| bulk::serve(&backend.netns)).collect();
    for (name, service) in [("bulk", &bulk4), ("bulk6", &bulk6)] {
        let mut entries = service.entries(&stand.lab);
        entries.iter_mut().for_each(|entry| entry.port = BULK_PORT);
        stand.registry.publish(name, &entries).unwrap();
        stand.await_backends(name, "the other port", |rows| {
            rows.iter().filter(|row| row.port == BULK_PORT && row.slots > 0).count() == 2
                && rows.iter().all(|row| row.port == BULK_PORT || row.slots == 0)
        });
    }
    const BYTES: usize = 5_000_000;
    let client: &Netns = &stand.lab.clients[0].netns;
    for (name, vip) in [("bulk", (vip_v4(30), 80)), ("bulk6", (vip_v6(30), 80))] {
        for _ in 0..2 {
            bulk::exchange(client, vip.into(), BYTES, 4 * SOON);
        }
        let rows = stand.backends(name);
        let (sent, answered) = rows.iter().fold((0, 0), |(a, b), row| (a + row.bytes, b + row.reply_bytes));
        assert!(sent > 2 * BYTES as u64 && answered > 2 * BYTES as u64, "{rows:#?}");
    }
    assert_eq!(stand.refused("malformed") + stand.refused("too_big"), 0);
}
