//! Packets from clients to VIPs.

use std::net::IpAddr;

use crate::frame::{ACK, FIN, Frame, PSH, RST, SYN, Transport, at, tcp, udp};
use crate::rig::{Fate, Rig, Row, check};
use crate::world::{BACK_MAC, BACKEND_MAC, CLIENT, CLIENT6};

/// A frame whose way leads to a backend from XDP.
fn forwarded(what: &'static str, frame: Frame, to: (IpAddr, u16)) -> Row {
    let expected = Frame { destination: to, ..frame.clone() }.sent(BACKEND_MAC, BACK_MAC);
    Row { what, frame: frame.bytes(), fate: Fate::Redirect(expected.bytes()), refusal: None }
}

#[test]
fn every_kind_is_translated_and_sent() {
    let mut rig = Rig::new();
    let (client, client6) = (at(CLIENT, 40_000), at(CLIENT6, 40_000));
    let (web, web6) = (at("203.0.113.10", 80), at("2001:db8:f00d::10", 80));
    let (dns, dns6) = (at("203.0.113.10", 53), at("2001:db8:f00d::10", 53));
    let (web_at, web6_at) = (at("10.0.1.11", 8080), at("fd00:1::11", 8080));
    let (dns_at, dns6_at) = (at("10.0.1.11", 5353), at("fd00:1::11", 5353));
    let options = vec![0x94, 0x04, 0, 0, 1, 1, 1, 0];
    let rows = vec![
        forwarded("SYN", tcp(client, web, SYN), web_at),
        forwarded("SYN, IPv6", tcp(client6, web6, SYN), web6_at),
        forwarded("data", tcp(client, web, ACK | PSH), web_at),
        forwarded("data, IPv6", tcp(client6, web6, ACK | PSH), web6_at),
        forwarded("FIN", tcp(client, web, ACK | FIN), web_at),
        forwarded("RST", tcp(client, web, RST), web_at),
        forwarded("a datagram", udp(client, dns), dns_at),
        forwarded("a datagram, IPv6", udp(client6, dns6), dns6_at),
        forwarded(
            "a datagram without a checksum keeps none (RFC 768)",
            Frame { transport: Transport::Udp { checksum: false }, ..udp(client, dns) },
            dns_at,
        ),
        forwarded("an empty datagram", Frame { payload: Vec::new(), ..udp(client, dns) }, dns_at),
        forwarded("IPv4 options stay", Frame { options, ..tcp(client, web, ACK) }, web_at),
        forwarded("the last hop but one", Frame { ttl: 2, ..tcp(client, web, ACK) }, web_at),
        forwarded("the last hop but one, IPv6", Frame { ttl: 2, ..tcp(client6, web6, ACK) }, web6_at),
        forwarded("a full segment", Frame { payload: vec![0xa5; 1460], ..tcp(client, web, ACK) }, web_at),
        forwarded("do not fragment", Frame { fragment: 0x4000, ..tcp(client, web, ACK) }, web_at),
    ];
    let tcp_v4 = 20 + 20;
    check(&mut rig, rows);
    let traffic = rig.traffic("203.0.113.10:80/tcp");
    assert_eq!((traffic.packets, traffic.reply_packets), (8, 0));
    assert_eq!(traffic.bytes, 6 * (tcp_v4 + 5) + (tcp_v4 + 8 + 5) + (tcp_v4 + 1460));
    rig.backend_traffic();
}

#[test]
fn udp_checksums_that_come_out_as_zero_are_sent_as_ones() {
    let mut rig = Rig::new();
    let (client, dns) = (at(CLIENT, 40_000), at("203.0.113.10", 53));
    let mut zeroes = 0;
    // Among all values of two bytes of payload is one that makes the new sum zero.
    for value in 0..=u16::MAX {
        let frame = Frame { payload: value.to_be_bytes().to_vec(), ..udp(client, dns) };
        let expected = Frame { destination: at("10.0.1.11", 5353), ..frame.clone() }.sent(BACKEND_MAC, BACK_MAC);
        let expected = expected.bytes();
        if expected[40..42] == [0xff, 0xff] {
            zeroes += 1;
            assert_eq!(rig.send(&frame.bytes()), (Fate::Redirect(expected), None));
        }
    }
    assert!(zeroes > 0);
}

#[test]
fn trailing_bytes_of_a_short_frame_stay() {
    // Ethernet pads frames to 60 bytes; the padding is no part of the packet.
    let mut rig = Rig::new();
    let frame = Frame { payload: Vec::new(), ..tcp(at(CLIENT, 40_000), at("203.0.113.10", 80), ACK) };
    let expected = Frame { destination: at("10.0.1.11", 8080), ..frame.clone() }.sent(BACKEND_MAC, BACK_MAC);
    let padded = |frame: &Frame| [frame.bytes(), vec![0xee; 6]].concat();
    assert_eq!(rig.send(&padded(&frame)), (Fate::Redirect(padded(&expected)), None));
}

#[test]
fn what_the_stack_delivers_keeps_its_time_to_live() {
    let mut rig = Rig::new();
    for (client, vip, backend) in [(CLIENT, "203.0.113.30", "10.0.1.13"), (CLIENT6, "2001:db8:f00d::30", "fd00:1::13")]
    {
        let frame = tcp(at(client, 40_000), at(vip, 80), SYN);
        let expected = Frame { destination: at(backend, 8080), ..frame.clone() };
        assert_eq!(rig.send(&frame.bytes()), (Fate::Pass(expected.bytes()), None));
    }
}

#[test]
fn a_backend_behind_the_same_device_is_answered_there() {
    let mut rig = Rig::new();
    let frame = tcp(at(CLIENT, 40_000), at("203.0.113.40", 80), SYN);
    let expected = Frame { destination: at("10.0.1.14", 8080), ..frame.clone() }.sent(BACKEND_MAC, BACK_MAC);
    assert_eq!(rig.send(&frame.bytes()), (Fate::Transmit(expected.bytes()), None));
    // Unless the device cannot: veth.
    let frame = tcp(at(CLIENT, 40_000), at("203.0.113.41", 80), SYN);
    let expected = Frame { destination: at("10.0.1.19", 8080), ..frame.clone() }.sent(BACKEND_MAC, BACK_MAC);
    assert_eq!(rig.send(&frame.bytes()), (Fate::Redirect(expected.bytes()), None));
}

#[test]
fn flows_spread_and_stay() {
    let mut rig = Rig::new();
    let mut chosen = std::collections::BTreeMap::new();
    for round in 0..2 {
        for port in 20_000..21_000 {
            let frame = tcp(at(CLIENT, port), at("203.0.113.11", 80), if round == 0 { SYN } else { ACK }).bytes();
            let (Fate::Redirect(out), None) = rig.send(&frame) else { panic!("not forwarded") };
            let backend: [u8; 4] = out[30..34].try_into().unwrap();
            assert_eq!(*chosen.entry(port).or_insert(backend), backend);
        }
    }
    let backends: std::collections::BTreeSet<_> = chosen.values().collect();
    assert_eq!(backends.len(), 7);
    rig.backend_traffic();
}
