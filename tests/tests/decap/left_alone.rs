//! What is not a tunnel's that ends here: the host's, byte for byte.

use lb_common::decap::DecapOutcome;

use crate::frame::{CLIENT, GUE, Ip, OURS, OURS6, SENDER, SENDER6, UDP, VIP, ip, request, udp};
use crate::rig::{Rig, check, passes};

#[test]
fn strangers_pass_by_name() {
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 2, 0x08, 0x06], &[0; 28]].concat();
    let mut tags = request(true).ipip(SENDER, OURS).tagged(&[[0x88, 0xa8, 0, 7], [0x81, 0, 0, 42], [0x81, 0, 0, 43]]);
    tags.truncate(80);
    let inner = request(true);
    check(
        &mut Rig::new(),
        vec![
            passes("ARP", arp, DecapOutcome::NotIp),
            passes("three tags", tags, DecapOutcome::NotIp),
            passes("TCP", request(true).frame(), DecapOutcome::NotTunnel),
            passes("TCP over v6", request(false).frame(), DecapOutcome::NotTunnel),
            passes("GRE", ip(SENDER, OURS, 47, vec![0; 40]).frame(), DecapOutcome::NotTunnel),
            passes("DNS", udp(SENDER, OURS, [GUE, 53], b"x").frame(), DecapOutcome::OtherPort),
            passes("DNS over v6", udp(SENDER6, OURS6, [GUE, 53], b"x").frame(), DecapOutcome::OtherPort),
            passes("to another", inner.ipip(SENDER, VIP).frame(), DecapOutcome::NotOurs),
            passes("gue to another", inner.gue(SENDER, VIP).frame(), DecapOutcome::NotOurs),
            passes("from another", inner.ipip(CLIENT, OURS).frame(), DecapOutcome::UnknownSender),
            passes("gue from another", inner.gue(CLIENT, OURS).frame(), DecapOutcome::UnknownSender),
            passes("gue from another, v6", inner.gue("fd00::6", OURS6).frame(), DecapOutcome::UnknownSender),
        ],
    );
}

#[test]
fn control_messages_and_variant_0_are_not_ours() {
    let gue = |payload: &[u8]| udp(SENDER, OURS, [50_000, GUE], payload).frame();
    check(
        &mut Rig::new(),
        vec![
            passes("variant 0", gue(&[0, 4, 0, 0, 0x45, 0, 0, 20]), DecapOutcome::OtherGue),
            passes("a control message", gue(&[0x20, 1, 0, 0]), DecapOutcome::OtherGue),
            passes("variant 1, but IP version 5", gue(&[0x55; 40]), DecapOutcome::OtherGue),
            passes("variant 1, but IP version 7", gue(&[0x75; 40]), DecapOutcome::OtherGue),
            passes("variants to come", gue(&[0x85; 40]), DecapOutcome::OtherGue),
            passes("nothing", gue(&[]), DecapOutcome::OtherGue),
        ],
    );
}

#[test]
fn outer_fragments_and_extension_headers_are_the_stacks() {
    let inner = request(true);
    let (ipip, gue) = (inner.ipip(SENDER, OURS), inner.gue(SENDER, OURS));
    let fragment = |packet: &Ip, fragment| Ip { fragment, ..packet.clone() }.frame();
    let v6 =
        |kind: u8, first: [u8; 8], rest: &Ip| ip(SENDER6, OURS6, kind, [&first[..], &rest.payload].concat()).frame();
    let gue6 = inner.gue(SENDER6, OURS6);
    check(
        &mut Rig::new(),
        vec![
            passes("the first", fragment(&ipip, 0x2000), DecapOutcome::OuterFragment),
            passes("a later one", fragment(&ipip, 0x2010), DecapOutcome::OuterFragment),
            passes("the last one", fragment(&ipip, 0x0010), DecapOutcome::OuterFragment),
            passes("of gue, the first", fragment(&gue, 0x2000), DecapOutcome::OuterFragment),
            passes("of gue, the last", fragment(&gue, 0x0010), DecapOutcome::OuterFragment),
            passes("v6, the first", v6(44, [UDP, 0, 0, 1, 0, 0, 0, 9], &gue6), DecapOutcome::OuterFragment),
            passes("v6, the last", v6(44, [4, 0, 0, 16, 0, 0, 0, 9], &ipip), DecapOutcome::OuterFragment),
            passes("a stranger's", fragment(&inner.ipip(CLIENT, OURS), 0x2000), DecapOutcome::UnknownSender),
            passes("of TCP", v6(44, [6, 0, 0, 1, 0, 0, 0, 9], &request(false)), DecapOutcome::NotTunnel),
            passes("options", v6(60, [UDP, 0, 1, 4, 0, 0, 0, 0], &gue6), DecapOutcome::ExtensionHeader),
            passes("hop by hop", v6(0, [4, 0, 1, 4, 0, 0, 0, 0], &ipip), DecapOutcome::ExtensionHeader),
            passes("a routing header", v6(43, [4, 0, 4, 0, 0, 0, 0, 0], &ipip), DecapOutcome::ExtensionHeader),
        ],
    );
    // Not to be fragmented is no fragment.
    let whole = fragment(&ipip, 0x4000);
    assert_eq!(Rig::new().send(&whole).1, DecapOutcome::Ipip);
}

#[test]
fn outer_headers_that_lie() {
    let inner = request(true);
    let changed = |packet: &Ip, at: usize, to: u8| {
        let mut frame = packet.frame();
        frame[14 + at] = to;
        frame
    };
    let (ipip, gue, ipip6) = (inner.ipip(SENDER, OURS), inner.gue(SENDER, OURS), inner.ipip(SENDER6, OURS6));
    let udp_length = |length: u16| {
        let mut packet = gue.clone();
        packet.payload[4..6].copy_from_slice(&length.to_be_bytes());
        packet.frame()
    };
    let carried = u16::try_from(gue.payload.len()).unwrap();
    let bad = DecapOutcome::BadIpHeader;
    check(
        &mut Rig::new(),
        vec![
            passes("version 5", changed(&ipip, 0, 0x55), bad),
            passes("version 6 behind IPv4's ethertype", changed(&ipip, 0, 0x65), bad),
            passes("a header of 16 bytes", changed(&ipip, 0, 0x44), bad),
            passes("a header of 60 bytes that are not its own", changed(&ipip, 0, 0x4f), bad),
            passes("longer than the frame", changed(&ipip, 2, 0x40), bad),
            passes("shorter than its header", ip(SENDER, OURS, 4, vec![]).frame_of_length(12), bad),
            passes("a wrong checksum", changed(&ipip, 10, ipip.frame()[24] ^ 1), bad),
            passes("another time to live", changed(&ipip, 8, 63), bad),
            passes("v6: version 4", changed(&ipip6, 0, 0x45), bad),
            passes("v6: longer than the frame", changed(&ipip6, 4, 0x40), bad),
            passes("v6: from a mapped address", ip("::ffff:10.0.0.5", OURS6, 4, inner.bytes()).frame(), bad),
            passes("UDP shorter than its header", udp_length(7), DecapOutcome::BadUdpHeader),
            passes("UDP longer than the packet", udp_length(carried + 1), DecapOutcome::BadUdpHeader),
        ],
    );
}

impl Ip {
    /// A frame whose IPv4 header says another length, with a right checksum; with padding.
    fn frame_of_length(&self, length: u8) -> Vec<u8> {
        let mut frame = self.frame();
        // What one word grows by, the checksum shrinks by (RFC 1624), as long as nothing is carried.
        let by = frame[17] - length;
        frame[17] = length;
        let sum = u16::from_be_bytes([frame[24], frame[25]]).checked_add(by.into()).expect("no carry");
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend([0; 40]);
        frame
    }
}

#[test]
fn what_is_for_all_on_the_link_is_not_ours() {
    let mut frame = request(true).ipip(SENDER, OURS).frame();
    for first in [0x01, 0xff] {
        frame[0] = first;
        assert_eq!(Rig::new().send(&frame).1, DecapOutcome::LinkGroup);
    }
}

#[test]
fn cut_off_at_every_byte_nothing_is_made_up() {
    let mut rig = Rig::new();
    for inner in [request(true), request(false)] {
        for outer in
            [inner.ipip(SENDER, OURS), inner.gue(SENDER, OURS), inner.ipip(SENDER6, OURS6), inner.gue(SENDER6, OURS6)]
        {
            let frame = outer.frame();
            // The kernel's test takes no frame without a whole Ethernet header.
            for length in 14..frame.len() {
                let (fate, outcome) = rig.send(&frame[..length]);
                assert!(
                    matches!(outcome, DecapOutcome::Truncated | DecapOutcome::BadIpHeader),
                    "{length} bytes: {outcome:?}, {fate:?}"
                );
            }
        }
    }
}
