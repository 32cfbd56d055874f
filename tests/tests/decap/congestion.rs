//! Congestion marks, by RFC 6040 §4.2, figure 4.

use lb_common::decap::DecapOutcome;

use crate::frame::{Ip, OURS, OURS6, SENDER, SENDER6, request};
use crate::rig::{Fate, Rig};

const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// The figure: inner, outer, outgoing.
const FIGURE: [(u8, u8, Option<u8>); 16] = [
    (NOT_ECT, NOT_ECT, Some(NOT_ECT)),
    (NOT_ECT, ECT_0, Some(NOT_ECT)),
    (NOT_ECT, ECT_1, Some(NOT_ECT)),
    (NOT_ECT, CE, None),
    (ECT_0, NOT_ECT, Some(ECT_0)),
    (ECT_0, ECT_0, Some(ECT_0)),
    (ECT_0, ECT_1, Some(ECT_1)),
    (ECT_0, CE, Some(CE)),
    (ECT_1, NOT_ECT, Some(ECT_1)),
    (ECT_1, ECT_0, Some(ECT_1)),
    (ECT_1, ECT_1, Some(ECT_1)),
    (ECT_1, CE, Some(CE)),
    (CE, NOT_ECT, Some(CE)),
    (CE, ECT_0, Some(CE)),
    (CE, ECT_1, Some(CE)),
    (CE, CE, Some(CE)),
];

#[test]
fn marks_are_combined_and_the_inner_dscp_stays() {
    let mut rig = Rig::new();
    for (inner, outer, outgoing) in FIGURE {
        for inner_v4 in [true, false] {
            for (from, to) in [(SENDER, OURS), (SENDER6, OURS6)] {
                // Expedited forwarding inside, another outside (RFC 2983: the inner one is the packet's own).
                let packet = Ip { class: 0xb8 | inner, ..request(inner_v4) };
                for tunnel in [packet.ipip(from, to), packet.gue(from, to)] {
                    let (fate, outcome) = rig.send(&Ip { class: 0x64 | outer, ..tunnel }.frame());
                    let expected = match outgoing {
                        Some(ecn) => Fate::Pass(Ip { class: 0xb8 | ecn, ..packet.clone() }.frame()),
                        None => Fate::Drop,
                    };
                    assert_eq!(fate, expected, "inner {inner:02b}, outer {outer:02b}, from {from}");
                    assert_eq!(outcome == DecapOutcome::CongestionDrop, outgoing.is_none());
                }
            }
        }
    }
}
