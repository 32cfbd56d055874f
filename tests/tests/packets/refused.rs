//! Packets that are not forwarded, each under its name.

use lb_common::Refusal;

use crate::frame::{ACK, Frame, SYN, at, tcp, udp};
use crate::rig::{Fate, Rig, Row, check};
use crate::world::{CLIENT, CLIENT6};

fn passed(what: &'static str, frame: Vec<u8>, refusal: Refusal) -> Row {
    Row { what, fate: Fate::Pass(frame.clone()), frame, refusal: Some(refusal) }
}

fn dropped(what: &'static str, frame: Vec<u8>, refusal: Refusal) -> Row {
    Row { what, frame, fate: Fate::Drop, refusal: Some(refusal) }
}

/// A frame with some bytes changed after its checksums were made.
fn bent(frame: &Frame, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = frame.bytes();
    change(&mut bytes);
    bytes
}

#[test]
fn strangers_pass_as_they_came() {
    let mut rig = Rig::new();
    let (client, client6) = (at(CLIENT, 40_000), at(CLIENT6, 40_000));
    let (vip, vip6) = (at("203.0.113.10", 80), at("2001:db8:f00d::10", 80));
    let (web, web6) = (tcp(client, vip, ACK), tcp(client6, vip6, ACK));
    let ether_type = |value: u16| bent(&web, |bytes| bytes[12..14].copy_from_slice(&value.to_be_bytes()));
    let rows = vec![
        passed(
            "to the VIP by broadcast",
            Frame { mac_destination: [0xff; 6], ..web.clone() }.bytes(),
            Refusal::LinkGroup,
        ),
        passed(
            "to the VIP by multicast",
            Frame { mac_destination: [1, 0, 94, 0, 0, 5], ..web.clone() }.bytes(),
            Refusal::LinkGroup,
        ),
        passed(
            "a broadcast of a backend's",
            Frame { mac_destination: [0xff; 6], ..udp(at("10.0.1.11", 5353), at("10.0.1.255", 5353)) }.bytes(),
            Refusal::LinkGroup,
        ),
        passed("an IPv4 VIP in IPv6", udp(client6, at("::ffff:203.0.113.10", 53)).bytes(), Refusal::BadIpHeader),
        passed(
            "an IPv4 client in IPv6",
            tcp(at("::ffff:198.51.100.11", 40_000), vip6, SYN).bytes(),
            Refusal::BadIpHeader,
        ),
        passed("another address", tcp(client, at("192.0.2.1", 80), SYN).bytes(), Refusal::NoService),
        passed("the VIP's address, another port", tcp(client, at("203.0.113.10", 22), SYN).bytes(), Refusal::NoService),
        passed("the VIP's port, another protocol", udp(client, vip).bytes(), Refusal::NoService),
        passed("ARP", ether_type(0x0806), Refusal::NotIp),
        passed("MPLS", ether_type(0x8847), Refusal::NotIp),
        passed("an Ethernet header alone", web.bytes()[..14].to_vec(), Refusal::Truncated),
        passed("an IP header cut short", web.bytes()[..33].to_vec(), Refusal::Truncated),
        passed("half the ports", web.bytes()[..37].to_vec(), Refusal::Truncated),
        passed("an IPv6 header cut short", web6.bytes()[..53].to_vec(), Refusal::Truncated),
        passed(
            "options that are not there",
            bent(&web, |bytes| {
                bytes[14] = 0x4f;
                bytes.truncate(60);
            }),
            Refusal::Truncated,
        ),
    ];
    check(&mut rig, rows);
}

#[test]
fn who_sent_what_is_too_big_or_too_old_is_told() {
    let mut rig = Rig::new();
    let (client, client6) = (at(CLIENT, 40_000), at(CLIENT6, 40_000));
    let web = tcp(client, at("203.0.113.10", 80), ACK);
    let web6 = tcp(client6, at("2001:db8:f00d::10", 80), ACK);
    let full = Frame { fragment: 0x4000, payload: vec![0; 961], ..tcp(client, at("203.0.113.60", 80), ACK) };
    // What they are told, byte by byte, is in the tables of time to live and of sizes.
    for (what, frame, refusal) in [
        ("the last hop", Frame { ttl: 1, ..web.clone() }, Refusal::TtlExpired),
        ("past the last hop", Frame { ttl: 0, ..web }, Refusal::TtlExpired),
        ("the last hop, IPv6", Frame { ttl: 1, ..web6 }, Refusal::TtlExpired),
        ("more than the way takes", full, Refusal::TooBig),
        ("a reply on its last hop", Frame { ttl: 1, ..tcp(at("10.0.1.11", 8080), client, ACK) }, Refusal::TtlExpired),
    ] {
        let before = rig.refused(refusal);
        let (fate, _) = rig.send(&frame.bytes());
        assert!(matches!(fate, Fate::Transmit(_)), "{what}: {fate:?}");
        assert_eq!(rig.refused(refusal), before + 1, "{what}");
    }
}

#[test]
fn what_was_meant_for_a_vip_ends_here() {
    let mut rig = Rig::new();
    let (client, client6) = (at(CLIENT, 40_000), at(CLIENT6, 40_000));
    let (vip, vip6) = (at("203.0.113.10", 80), at("2001:db8:f00d::10", 80));
    let (web, web6) = (tcp(client, vip, ACK), tcp(client6, vip6, ACK));
    let dns = udp(client, at("203.0.113.10", 53));
    let rows = vec![
        dropped("no backend", tcp(client, at("203.0.113.20", 80), SYN).bytes(), Refusal::NoBackend),
        dropped("a frame that ends early", web.bytes()[..web.bytes().len() - 1].to_vec(), Refusal::Malformed),
        dropped("TCP without its checksum", web.bytes()[..46].to_vec(), Refusal::Malformed),
        dropped("a TCP header of 16 bytes", bent(&web, |bytes| bytes[46] = 0x40), Refusal::Malformed),
        dropped("a TCP header past the end", bent(&web, |bytes| bytes[46] = 0xf0), Refusal::Malformed),
        dropped("an IP length of 21", bent(&web, |bytes| bytes[17] = 21), Refusal::Malformed),
        dropped("an IP length of 0", bent(&web, |bytes| bytes[16..18].fill(0)), Refusal::Malformed),
        dropped("an IP length past the frame", bent(&web, |bytes| bytes[16] = 0xff), Refusal::Malformed),
        dropped("an IPv6 length of 0", bent(&web6, |bytes| bytes[18..20].fill(0)), Refusal::Malformed),
        dropped("a UDP length of 7", bent(&dns, |bytes| bytes[38..40].copy_from_slice(&[0, 7])), Refusal::Malformed),
        dropped("a UDP length of 0", bent(&dns, |bytes| bytes[38..40].fill(0)), Refusal::Malformed),
        dropped("a UDP length past the end", bent(&dns, |bytes| bytes[38] = 0xff), Refusal::Malformed),
    ];
    check(&mut rig, rows);
}

#[test]
fn what_no_client_can_have_sent_ends_here() {
    let mut rig = Rig::new();
    let (vip, vip6) = (at("203.0.113.10", 53), at("2001:db8:f00d::10", 53));
    let rows = [
        ("the VIP's own address and port", vip, vip),
        ("the VIP's own address", at("203.0.113.10", 4_000), vip),
        ("another VIP", at("203.0.113.50", 53), vip),
        ("the service's own backend", at("10.0.1.11", 5353), vip),
        ("unspecified", at("0.0.0.0", 4_000), vip),
        ("loopback", at("127.0.0.1", 4_000), vip),
        ("multicast", at("224.0.0.251", 4_000), vip),
        ("broadcast", at("255.255.255.255", 4_000), vip),
        ("the VIP's own address and port, IPv6", vip6, vip6),
        ("unspecified, IPv6", at("::", 4_000), vip6),
        ("loopback, IPv6", at("::1", 4_000), vip6),
        ("multicast, IPv6", at("ff02::1", 4_000), vip6),
        ("link-local, IPv6", at("fe80::1", 4_000), vip6),
    ];
    let row = |(what, source, vip)| dropped(what, udp(source, vip).bytes(), Refusal::MartianSource);
    check(&mut rig, rows.into_iter().map(row).collect());
    let web = at("203.0.113.10", 80);
    check(&mut rig, vec![dropped("land", tcp(web, web, SYN).bytes(), Refusal::MartianSource)]);
}

#[test]
fn just_as_much_as_the_way_takes_is_forwarded() {
    let mut rig = Rig::new();
    let frame = Frame { payload: vec![0; 960], ..tcp(at(CLIENT, 40_000), at("203.0.113.60", 80), ACK) };
    assert!(matches!(rig.send(&frame.bytes()), (Fate::Redirect(_), None)));
}
