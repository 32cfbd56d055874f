//! Mutated packets through both builds: they must agree on every one, whatever it is.

use lb_common::hash::mix;

use crate::frame::{CLIENT, GUE, Ip, OURS, OURS6, SENDER, SENDER6, VIP, request, tcp, udp};
use crate::rig::Rig;

const PACKETS: u64 = 30_000;

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mix(self.0) % bound as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below 256")
    }

    /// Changes a frame here and there.
    fn mutate(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at =
                if self.below(4) == 0 { self.below(frame.len()) } else { 12 + self.below(70.min(frame.len() - 12)) };
            frame[at] = match self.below(4) {
                0 => 0,
                1 => 0xff,
                2 => frame[at] ^ 1 << self.below(8),
                _ => self.byte(),
            };
        }
        match self.below(8) {
            0 => frame.truncate(14 + self.below(frame.len() - 13)),
            1 => frame.extend(vec![0xee; self.below(64)]),
            _ => {}
        }
    }
}

#[test]
fn host_and_kernel_agree_on_mutated_tunnels() {
    let mut rig = Rig::new();
    let mut seeds = Vec::new();
    for inner in [
        request(true),
        request(false),
        Ip { options: vec![1; 12], class: 2, ..request(true) },
        udp(CLIENT, VIP, [1, GUE], b"x"),
        udp(CLIENT, "10.0.1.12", [1, GUE], b"x"),
        request(true).ipip(CLIENT, VIP),
    ] {
        for (from, to) in [(SENDER, OURS), (SENDER6, OURS6)] {
            for outer in [inner.ipip(from, to), inner.gue(from, to)] {
                seeds.push(outer.frame());
                seeds.push(outer.tagged(&[[0x81, 0, 0, 42]]));
                seeds.push(Ip { class: 3, ..outer }.tagged(&[[0x88, 0xa8, 0, 7], [0x81, 0, 0, 42]]));
            }
        }
    }
    let mut numbers = Numbers(1);
    for _ in 0..PACKETS {
        let mut frame = seeds[numbers.below(seeds.len())].clone();
        numbers.mutate(&mut frame);
        rig.send(&frame);
    }
}

#[test]
fn host_and_kernel_agree_on_mutated_syn_acks() {
    let mut rig = Rig::new();
    rig.send(&request(true).ipip(SENDER, OURS).frame());
    rig.send(&request(false).gue(SENDER6, OURS6).frame());
    let options = [2, 4, 35, 0, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    let seeds = [
        tcp(VIP, CLIENT, 0x12, &options).frame(),
        tcp(crate::frame::VIP6, crate::frame::CLIENT6, 0x12, &options).frame(),
        tcp(VIP, CLIENT, 0x12, &[1; 40]).frame(),
        Ip { options: vec![1; 12], ..tcp(VIP, CLIENT, 0x12, &options) }.frame(),
    ];
    let mut numbers = Numbers(2);
    for _ in 0..PACKETS {
        let mut frame = seeds[numbers.below(seeds.len())].clone();
        numbers.mutate(&mut frame);
        // The kernel's test takes no frame without a whole IP header.
        if frame.len() >= 14 + 40 {
            rig.leave(&frame);
        }
    }
}
