//! Mutated packets through both builds: they must agree on every one, whatever it is.

#![expect(clippy::cast_possible_truncation, reason = "numbers below small bounds")]

use lb_common::hash::mix;

use crate::frame::{ACK, Frame, SYN, Transport, at, tcp, udp};
use crate::rig::Rig;
use crate::world::{CLIENT, CLIENT6, SILENT};

const PACKETS: u64 = 30_000;

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(self.0) % bound as u64) as usize
    }
}

#[test]
fn host_and_kernel_agree_on_mutated_packets() {
    let mut rig = Rig::new();
    let (client, client6) = (at(CLIENT, 40_000), at(CLIENT6, 40_000));
    let seeds: Vec<Vec<u8>> = [
        tcp(client, at("203.0.113.10", 80), SYN),
        tcp(client6, at("2001:db8:f00d::10", 80), ACK),
        udp(client, at("203.0.113.10", 53)),
        udp(client6, at("2001:db8:f00d::10", 53)),
        tcp(client, at("203.0.113.11", 80), ACK),
        tcp(client, at("203.0.113.30", 80), ACK),
        tcp(client, at("203.0.113.71", 80), SYN),
        tcp(at("10.0.1.11", 8080), client, ACK),
        tcp(at("fd00:1::11", 8080), client6, ACK),
        tcp(at("10.0.1.11", 8080), at(SILENT, 40_000), ACK),
        tcp(at("10.0.1.20", 8080), client, ACK),
        udp(at("10.0.1.11", 5353), client),
        tcp(client, at("10.0.1.11", 8080), SYN),
        tcp(client, at("192.0.2.1", 80), SYN),
        Frame { options: vec![1; 40], ..tcp(client, at("203.0.113.10", 80), ACK) },
        Frame { transport: Transport::Udp { checksum: false }, ..udp(client, at("203.0.113.10", 53)) },
    ]
    .iter()
    .map(Frame::bytes)
    .collect();
    let mut numbers = Numbers(1);
    for _ in 0..PACKETS {
        let mut frame = seeds[numbers.below(seeds.len())].clone();
        for _ in 0..numbers.below(4) {
            let at = if numbers.below(4) == 0 {
                numbers.below(frame.len())
            } else {
                12 + numbers.below(40.min(frame.len() - 12))
            };
            frame[at] = match numbers.below(4) {
                0 => 0,
                1 => 0xff,
                2 => frame[at] ^ 1 << numbers.below(8),
                _ => numbers.below(256) as u8,
            };
        }
        match numbers.below(8) {
            0 => frame.truncate(14 + numbers.below(frame.len() - 13)),
            1 => frame.extend(vec![0xee; numbers.below(64)]),
            _ => {}
        }
        rig.send(&frame);
    }
    rig.backend_traffic();
}
