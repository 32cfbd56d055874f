//! Tunnels whose packet the host does not get.

use lb_common::decap::DecapOutcome;

use crate::frame::{
    CLIENT, CLIENT6, GUE, IPIP, IPV6, Ip, OURS, OURS6, SENDER, SENDER6, VIP, VIP6, ip, request, tcp, udp,
};
use crate::rig::{Rig, check, drops};

#[test]
fn inner_packets_that_are_not_whole() {
    let cut = DecapOutcome::InnerCutOff;
    let mut rows = Vec::new();
    for (protocol, inner) in [(IPIP, request(true)), (IPV6, request(false))] {
        let bytes = inner.bytes();
        for length in 0..bytes.len() {
            rows.push(drops(
                &format!("{length} bytes"),
                ip(SENDER, OURS, protocol, bytes[..length].to_vec()).frame(),
                cut,
            ));
            // Behind UDP the first byte says what it is.
            if length > 0 {
                let gue = udp(SENDER6, OURS6, [50_000, GUE], &bytes[..length]);
                rows.push(drops(&format!("{length} bytes in gue"), gue.frame(), cut));
            }
        }
    }
    check(&mut Rig::new(), rows);
    // The rest lies in the frame, but behind the packet.
    let mut frame = ip(SENDER, OURS, IPIP, request(true).bytes()[..40].to_vec()).frame();
    frame.extend(&request(true).bytes()[40..]);
    assert_eq!(Rig::new().send(&frame).1, cut);
}

#[test]
fn inner_packets_that_are_none() {
    let malformed = DecapOutcome::InnerMalformed;
    let changed = |mut bytes: Vec<u8>, at: usize, to: u8| {
        bytes[at] = to;
        bytes
    };
    let (v4, v6) = (request(true).bytes(), request(false).bytes());
    let gue = |payload: &[u8]| udp(SENDER, OURS, [50_000, GUE], payload).frame();
    check(
        &mut Rig::new(),
        vec![
            drops("v6 announced as v4", ip(SENDER, OURS, IPIP, v6.clone()).frame(), malformed),
            drops("v4 announced as v6", ip(SENDER, OURS, IPV6, v4.clone()).frame(), malformed),
            drops("a header of 16 bytes", ip(SENDER, OURS, IPIP, changed(v4.clone(), 0, 0x44)).frame(), malformed),
            drops("in gue too", gue(&changed(v4.clone(), 0, 0x44)), malformed),
            drops("shorter than its header", ip(SENDER, OURS, IPIP, changed(v4.clone(), 3, 19)).frame(), malformed),
            drops("mapped", ip("::ffff:192.0.2.1", VIP6, 6, vec![0; 20]).ipip(SENDER, OURS).frame(), malformed),
        ],
    );
}

#[test]
fn martians() {
    let martian = DecapOutcome::InnerMartian;
    let mut rows = Vec::new();
    for (from, to) in [
        ("127.0.0.1", VIP),
        (CLIENT, "127.0.0.1"),
        (CLIENT, "224.0.0.1"),
        (CLIENT, "255.255.255.255"),
        ("0.0.0.0", VIP),
        ("::1", VIP6),
        (CLIENT6, "::1"),
        (CLIENT6, "ff02::1"),
        ("fe80::1", VIP6),
    ] {
        let inner = tcp(from, to, 2, &[]);
        rows.push(drops(&format!("{from} to {to}"), inner.ipip(SENDER, OURS).frame(), martian));
        rows.push(drops(&format!("{from} to {to} in gue"), inner.gue(SENDER6, OURS6).frame(), martian));
    }
    check(&mut Rig::new(), rows);
}

#[test]
fn tunnels_in_tunnels() {
    let inner = request(true);
    let nested = DecapOutcome::Nested;
    let twice = |second: Ip| [second.ipip(SENDER, OURS).frame(), second.gue(SENDER6, OURS6).frame()];
    let mut rows = Vec::new();
    for (what, second) in [
        ("ipip to the same end", inner.ipip(SENDER, OURS)),
        ("ipip to another end", inner.ipip(CLIENT, "10.0.1.12")),
        ("ipip to elsewhere", inner.ipip(CLIENT, VIP)),
        ("6in4", request(false).ipip(CLIENT, VIP)),
        ("4in6", inner.ipip(CLIENT6, VIP6)),
        ("gue to another end", inner.gue(CLIENT, "10.0.1.12")),
        ("gue with options to another end", Ip { options: vec![1; 8], ..inner.gue(CLIENT, "10.0.1.12") }),
        ("gue to an end, v6", inner.gue(CLIENT6, OURS6)),
    ] {
        rows.extend(twice(second).map(|frame| drops(what, frame, nested)));
    }
    check(&mut Rig::new(), rows);
}

#[test]
fn packets_to_the_tunnels_own_ends() {
    let looped = DecapOutcome::Looped;
    check(
        &mut Rig::new(),
        vec![
            drops("to us", tcp(CLIENT, OURS, 2, &[]).ipip(SENDER, OURS).frame(), looped),
            drops("back", tcp(CLIENT, SENDER, 2, &[]).ipip(SENDER, OURS).frame(), looped),
            drops("to us in gue", tcp(CLIENT6, OURS6, 2, &[]).gue(SENDER6, OURS6).frame(), looped),
            drops("back in gue", tcp(CLIENT6, SENDER6, 2, &[]).gue(SENDER6, OURS6).frame(), looped),
        ],
    );
}
