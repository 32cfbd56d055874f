//! A flood of sources, each with a bucket of its own.

use std::net::Ipv4Addr;

use lb_common::Refusal;
use weir::config::{Per, Unit};

use crate::frame;
use crate::processor::now_ns;
use crate::rig::{Rig, XDP_DROP, XDP_TX, limit};

/// Who sends more than it may all the time, one packet of so many.
const HEAVY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 11);
const ONE_IN: u32 = 16;
/// What a source may.
const RATE: u64 = 100;
const BURST: u64 = 5;

/// What became of it.
struct Outcome {
    /// How much of what it may the heavy one passed.
    share: f64,
    /// Buckets that somebody has.
    owned: u64,
    /// Empty ones that were taken.
    idle: u64,
    /// Others.
    busy: u64,
}

/// The source with this number: out of 10.0.0.0/8, in no order.
fn stranger(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 | (number.wrapping_mul(0x009e_3779) & 0x00ff_ffff))
}

/// So many sources come, each once, to a table with room for so many buckets, and the heavy one in between.
fn flood(sources: u32, room: u32) -> Outcome {
    let mut rig = Rig::new(&limit(Per::Source, RATE, Unit::Packets, Some(BURST)), room);
    let mut frame = frame::of_length(HEAVY, 60);
    let started = now_ns();
    let (mut tried, mut passed) = (0_u64, 0_u32);
    for number in 0..sources {
        if number % ONE_IN == 0 {
            frame::from(&mut frame, HEAVY);
            tried += 1;
            match rig.send(&frame, 1) {
                XDP_TX => passed += 1,
                XDP_DROP => {}
                other => panic!("XDP action {other}"),
            }
        }
        frame::from(&mut frame, stranger(number));
        rig.send(&frame, 1);
    }
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let time = (now_ns() - started) as f64 / 1e9;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (passed, most) = (f64::from(passed), RATE as f64 * time + BURST as f64);
    let (said, owned) = (rig.said(), rig.owned());
    println!(
        "{sources} sources in {time:.1} s, room for {room}: the heavy one tried {tried} times and passed {passed}, of {most:.0}; \
         {owned} have a bucket; {said:?}"
    );
    assert!(tried > 4 * RATE, "the heavy one was not heavy");
    assert!(passed <= most, "the heavy one passed {passed} of {most:.0}");
    assert_eq!(said.admitted + said.over, u64::from(sources) + tried);
    assert_eq!(rig.refused(Refusal::LimitTableFull), 0);
    assert!(owned <= room.next_multiple_of(8) as usize, "{owned} have a bucket");
    Outcome { share: passed / most, owned: owned as u64, idle: said.evicted_idle, busy: said.evicted_busy }
}

#[test]
fn a_million_sources_fit_and_another_million_does_not_free_the_heavy_one() {
    let sources = 2_000_000;
    let outcome = flood(sources, 1_000_000);
    // Nothing of its own is taken from it, either.
    // It is not held to less either; but for as long as the processor was somebody else's it asked for nothing.
    assert!(outcome.share >= 0.5, "the heavy one passed {:.3} of what it may", outcome.share);
    // Who came took a bucket that was nobody's, or somebody else's; and the heavy one its own, once.
    assert_eq!(outcome.owned + outcome.idle + outcome.busy, u64::from(sources) + 1);
    assert!(outcome.idle > 100 * outcome.busy, "{} idle ones were taken, {} busy ones", outcome.idle, outcome.busy);
}

/// Here the heavy one's bucket may be taken as well, when the others of its group are fuller; it finds one that is no emptier.
#[test]
fn where_every_bucket_is_busy_nobody_is_better_off_for_being_forgotten() {
    let outcome = flood(400_000, 1_024);
    assert!(outcome.busy > 100_000, "{} busy ones were taken", outcome.busy);
}
