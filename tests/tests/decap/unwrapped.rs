//! Tunnels that end here.

use lb_common::decap::DecapOutcome;

use crate::frame::{CLIENT, CLIENT6, IPIP, Ip, OURS, OURS6, SENDER, SENDER6, VIP, VIP6, ip, request, tcp, udp};
use crate::rig::{Fate, Rig, Row, check};

/// Both outer families' ends.
const ENDS: [(&str, &str); 2] = [(SENDER, OURS), (SENDER6, OURS6)];

#[test]
fn every_family_in_every_family_behind_every_number_of_tags() {
    let mut rows = Vec::new();
    for (from, to) in ENDS {
        for inner in [request(true), request(false)] {
            for tags in [&[][..], &[[0x81, 0, 0, 42]], &[[0x88, 0xa8, 0, 7], [0x81, 0, 0x20, 42]]] {
                for (outer, outcome) in
                    [(inner.ipip(from, to), DecapOutcome::Ipip), (inner.gue(from, to), DecapOutcome::Gue)]
                {
                    rows.push(Row {
                        what: format!("{outcome:?} from {from}, {} tags, {inner:?}", tags.len()),
                        frame: outer.tagged(tags),
                        fate: Fate::Pass(inner.tagged(tags)),
                        outcome,
                    });
                }
            }
        }
    }
    check(&mut Rig::new(), rows);
}

#[test]
fn whatever_the_inner_packet_is() {
    let later = Ip { fragment: 0x0010, ..ip(CLIENT, VIP, 17, vec![0xab; 64]) };
    let inners = [
        udp(CLIENT, VIP, [40_000, 53], b"question"),
        udp(CLIENT6, VIP6, [40_000, 53], b"question"),
        // A service at gue's own port.
        udp(CLIENT, VIP, [40_000, crate::frame::GUE], b"x"),
        ip(CLIENT, VIP, 1, vec![8, 0, 0, 0, 0, 1, 0, 1]),
        ip(CLIENT, VIP, 132, vec![0; 12]),
        ip(CLIENT, VIP, 59, vec![]),
        ip(CLIENT6, VIP6, 59, vec![]),
        Ip { options: vec![1; 40], ..request(true) },
        Ip { fragment: 0x2000, ..request(true) },
        later,
        tcp(CLIENT, VIP, 0x02, &[2, 4, 5, 180]),
        // To another address of the host's.
        tcp(CLIENT, "10.0.1.12", 0x02, &[]),
    ];
    let mut rows = Vec::new();
    for inner in inners {
        for (from, to) in ENDS {
            for (outer, outcome) in
                [(inner.ipip(from, to), DecapOutcome::Ipip), (inner.gue(from, to), DecapOutcome::Gue)]
            {
                let (what, fate) = (format!("{outcome:?} of {inner:?}"), Fate::Pass(inner.frame()));
                rows.push(Row { what, frame: outer.frame(), fate, outcome });
            }
        }
    }
    check(&mut Rig::new(), rows);
}

#[test]
fn outer_options_go_too() {
    let mut rows = Vec::new();
    for words in 1..=10 {
        for inner in [request(true), request(false)] {
            for (outer, outcome) in
                [(inner.ipip(SENDER, OURS), DecapOutcome::Ipip), (inner.gue(SENDER, OURS), DecapOutcome::Gue)]
            {
                let frame = Ip { options: vec![1; 4 * words], ..outer }.frame();
                rows.push(Row { what: format!("{words} words"), frame, fate: Fate::Pass(inner.frame()), outcome });
            }
        }
    }
    check(&mut Rig::new(), rows);
}

#[test]
fn what_trails_stays() {
    // Ethernet pads to 60 bytes; the stack goes by the IP header's length.
    let inner = request(true);
    let trail = |mut frame: Vec<u8>| {
        frame.extend([0xee; 6]);
        frame
    };
    for outer in [inner.ipip(SENDER, OURS), inner.gue(SENDER, OURS)] {
        assert_eq!(Rig::new().send(&trail(outer.frame())).0, Fate::Pass(trail(inner.frame())));
    }
    // Also within the outer packet: the inner one is whole.
    let longer = ip(SENDER, OURS, IPIP, trail(inner.bytes()));
    assert_eq!(Rig::new().send(&longer.frame()), (Fate::Pass(trail(inner.frame())), DecapOutcome::Ipip));
}

#[test]
fn a_gue_datagram_may_do_without_a_checksum() {
    for (from, to) in ENDS {
        let inner = request(true);
        let mut outer = inner.gue(from, to);
        outer.payload[6..8].fill(0);
        assert_eq!(Rig::new().send(&outer.frame()), (Fate::Pass(inner.frame()), DecapOutcome::Gue));
    }
}

#[test]
fn prefixes_of_senders_end_where_they_end() {
    let inner = request(true);
    for (from, to, known) in [
        ("172.16.0.0", OURS, true),
        ("172.31.255.255", OURS, true),
        ("172.15.255.255", OURS, false),
        ("172.32.0.0", OURS, false),
        ("10.0.0.4", OURS, false),
        ("fd00:7::", OURS6, true),
        ("fd00:7::ffff:ffff:ffff:ffff", OURS6, true),
        ("fd00:7:0:1::", OURS6, false),
        ("fd00::4", OURS6, false),
    ] {
        let outcome = if known { DecapOutcome::Ipip } else { DecapOutcome::UnknownSender };
        assert_eq!(Rig::new().send(&inner.ipip(from, to).frame()).1, outcome, "{from}");
    }
}

#[test]
fn jumbo_frames_in_several_buffers() {
    let mut rig = Rig::new();
    for size in [3_000, 8_900, 40_000] {
        for v4 in [true, false] {
            let (client, vip) = if v4 { (CLIENT, VIP) } else { (CLIENT6, VIP6) };
            let inner = udp(client, vip, [40_000, 53], &vec![0x5a; size]);
            for (from, to) in ENDS {
                for outer in [inner.ipip(from, to), inner.gue(from, to)] {
                    assert_eq!(rig.send(&outer.frame()).0, Fate::Pass(inner.frame()), "{size} bytes");
                }
            }
        }
    }
}
