//! Packets from backends to clients.

use lb_common::Refusal;

use crate::frame::{ACK, Frame, SYN, Transport, at, tcp, udp};
use crate::rig::{Fate, Rig, Row, check};
use crate::world::{CLIENT, CLIENT_MAC, CLIENT6, FRONT_MAC, SILENT, SILENT6};

#[test]
fn replies_come_from_the_vip() {
    let mut rig = Rig::new();
    let (client, client6) = (at(CLIENT, 40_000), at(CLIENT6, 40_000));
    let row = |what, frame: Frame, vip| {
        let expected = Frame { source: vip, ..frame.clone() }.sent(CLIENT_MAC, FRONT_MAC);
        Row { what, frame: frame.bytes(), fate: Fate::Redirect(expected.bytes()), refusal: None }
    };
    let plain = Transport::Udp { checksum: false };
    let rows = vec![
        row("SYN ACK", tcp(at("10.0.1.11", 8080), client, SYN | ACK), at("203.0.113.10", 80)),
        row("SYN ACK, IPv6", tcp(at("fd00:1::11", 8080), client6, SYN | ACK), at("2001:db8:f00d::10", 80)),
        row("a datagram", udp(at("10.0.1.11", 5353), client), at("203.0.113.10", 53)),
        row("a datagram, IPv6", udp(at("fd00:1::11", 5353), client6), at("2001:db8:f00d::10", 53)),
        row(
            "a datagram without a checksum",
            Frame { transport: plain, ..udp(at("10.0.1.11", 5353), client) },
            at("203.0.113.10", 53),
        ),
        row(
            "a full segment",
            Frame { payload: vec![0x5a; 1460], ..tcp(at("10.0.1.11", 8080), client, ACK) },
            at("203.0.113.10", 80),
        ),
    ];
    check(&mut rig, rows);
    let traffic = rig.traffic("203.0.113.10:80/tcp");
    assert_eq!((traffic.packets, traffic.reply_packets, traffic.reply_bytes), (0, 2, 45 + 1500));
    rig.backend_traffic();
}

#[test]
fn a_client_without_a_known_neighbour_is_reached_by_the_stack() {
    let mut rig = Rig::new();
    for (backend, client, vip) in [("10.0.1.11", SILENT, "203.0.113.10"), ("fd00:1::11", SILENT6, "2001:db8:f00d::10")]
    {
        let frame = tcp(at(backend, 8080), at(client, 40_000), ACK);
        let expected = Frame { source: at(vip, 80), ..frame.clone() };
        assert_eq!(rig.send(&frame.bytes()), (Fate::Pass(expected.bytes()), None));
    }
}

#[test]
fn only_the_backend_that_the_flow_goes_to_speaks_for_the_vip() {
    let mut rig = Rig::new();
    let mut spoke = 0;
    for last in 1..=7 {
        let frame = tcp(at(&format!("10.0.2.{last}"), 80), at(CLIENT, 40_001), ACK);
        match rig.send(&frame.bytes()) {
            (Fate::Redirect(out), None) => {
                spoke += 1;
                let expected = Frame { source: at("203.0.113.11", 80), ..frame }.sent(CLIENT_MAC, FRONT_MAC);
                assert_eq!(out, expected.bytes());
            }
            (Fate::Pass(out), Some(Refusal::Direct)) => assert_eq!(out, frame.bytes()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(spoke, 1);
}

#[test]
fn backends_of_two_services_answer_for_the_one_that_was_asked() {
    let mut rig = Rig::new();
    let backend = at("10.0.1.20", 8080);
    for (port, vip) in [(50_001, "203.0.113.70"), (50_002, "203.0.113.71")] {
        let (client, vip) = (at(CLIENT, port), at(vip, 80));
        assert!(matches!(rig.send(&tcp(client, vip, SYN).bytes()), (Fate::Redirect(_), None)));
        let reply = tcp(backend, client, SYN | ACK);
        let expected = Frame { source: vip, ..reply.clone() }.sent(CLIENT_MAC, FRONT_MAC);
        assert_eq!(rig.send(&reply.bytes()), (Fate::Redirect(expected.bytes()), None));
    }
}

#[test]
fn a_port_that_was_used_for_one_service_can_be_used_for_the_other_next() {
    let mut rig = Rig::new();
    let (client, backend) = (at(CLIENT, 50_003), at("10.0.1.20", 8080));
    for vip in ["203.0.113.70", "203.0.113.71", "203.0.113.70"].map(|vip| at(vip, 80)) {
        rig.send(&tcp(client, vip, SYN).bytes());
        let reply = tcp(backend, client, SYN | ACK);
        let expected = Frame { source: vip, ..reply.clone() }.sent(CLIENT_MAC, FRONT_MAC);
        assert_eq!(rig.send(&reply.bytes()), (Fate::Redirect(expected.bytes()), None));
    }
}

#[test]
fn what_is_remembered_of_a_service_that_is_gone_translates_nothing() {
    let mut rig = Rig::new();
    let (client, backend) = (at(CLIENT, 50_004), at("10.0.1.20", 8080));
    rig.send(&tcp(client, at("203.0.113.71", 80), SYN).bytes());
    rig.remove("203.0.113.71:80/tcp");
    // The backend still serves the other service, which this connection is not of.
    let reply = tcp(backend, client, ACK);
    assert_eq!(rig.send(&reply.bytes()), (Fate::Pass(reply.bytes()), Some(Refusal::Direct)));
}
