//! One processor: every verdict is the model's.

use std::net::Ipv4Addr;
use std::time::Duration;

use lb_common::abi::LimitUnit;
use lb_common::limits::Said;
use weir::config::{Limit, Per, Unit};

use crate::frame;
use crate::model::Model;
use crate::processor::{now_ns, stay_on};
use crate::record::{Record, records};
use crate::rig::{Rig, limit};

/// How many packets each limit is asked about.
const PACKETS: u32 = 1_000_000;
/// Lengths of them, in bytes of layer 3.
const LENGTHS: [u16; 4] = [28, 64, 576, 1_500];

/// A generator of numbers (Marsaglia, Xorshift RNGs, 2003).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Packets of several lengths, in clumps, at even distances, and after pauses: how long each was.
fn press(rig: &mut Rig) -> Vec<u16> {
    let source = Ipv4Addr::new(198, 51, 100, 11);
    let frames = LENGTHS.map(|length| frame::of_length(source, length));
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut lengths = vec![];
    for _ in 0..PACKETS {
        let number = numbers.next();
        let which = (number % 4) as usize;
        rig.send(&frames[which], 1);
        lengths.push(LENGTHS[which]);
        match number >> 52 {
            0 => std::thread::sleep(Duration::from_micros(number >> 20 & 0x1ff)),
            1..400 => {
                let until = now_ns() + (number >> 20 & 0x3fff);
                while now_ns() < until {}
            }
            _ => {}
        }
    }
    lengths
}

/// Sends, and compares each verdict with the model's at the time that the kernel read.
fn compare(name: &str, limit: &Limit) {
    stay_on(0);
    let mut rig = Rig::new(limit, 64);
    if records(&mut rig.object).is_none() {
        println!("left out: the programs were built without WEIR_BPF_RECORD, which `cargo xtask test` sets");
        return;
    }
    let lengths = press(&mut rig);
    let compiled = rig.limit;
    let mut model = Model::new(compiled.cost, compiled.shift, compiled.depth_ticks);
    let recorded = records(&mut rig.object).expect("it was there");
    let (mut differing, mut admitted) = (0, 0_u32);
    for (number, length) in (0..).zip(lengths) {
        let Record { now_ns, limit: _, said } = recorded.get(&number, 0).expect("an element");
        assert_ne!(now_ns, 0, "answer {number} was not noted");
        let units = if compiled.unit == LimitUnit::BYTES { length.into() } else { 1 };
        let admits = model.admits(now_ns, units);
        admitted += u32::from(said == Said::Admitted as u32);
        differing += u32::from(admits != (said == Said::Admitted as u32));
    }
    println!("{name}: of {PACKETS} packets {admitted} were admitted, {differing} verdicts differ from the model's");
    assert_eq!(differing, 0);
    assert!(admitted > PACKETS / 20 && admitted < PACKETS / 20 * 19, "of no use: {admitted} were admitted");
    assert_eq!((rig.said().admitted, rig.said().over), (admitted.into(), (PACKETS - admitted).into()));
}

#[test]
fn a_strict_limit_of_packets_says_what_the_model_says() {
    compare("strict, packets", &limit(Per::Service, 200_000, Unit::Packets, None));
}

#[test]
fn a_limit_of_packets_with_a_burst_does() {
    compare("burst, packets", &limit(Per::Service, 150_003, Unit::Packets, Some(50)));
}

#[test]
fn a_strict_limit_of_bytes_does() {
    compare("strict, bytes", &limit(Per::Service, 100_000_007, Unit::Bytes, None));
}

#[test]
fn a_limit_of_bytes_with_a_burst_does() {
    compare("burst, bytes", &limit(Per::Service, 777_777_777, Unit::Bits, Some(30_000)));
}

#[test]
fn a_limit_of_a_source_does() {
    compare("burst, packets of a source", &limit(Per::Source, 150_003, Unit::Packets, Some(50)));
}
