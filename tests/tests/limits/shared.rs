//! Several processors on one bucket: together they admit what one would.

use std::net::Ipv4Addr;
use std::time::Duration;

use lb_common::Refusal;
use weir::config::{Limit, Per, Unit};

use crate::frame;
use crate::processor::{now_ns, stay_on};
use crate::rig::{Rig, limit, send};

const PRESSING: Duration = Duration::from_secs(10);
/// Frames that the kernel sends before a thread looks at the time.
const AT_ONCE: u32 = 100_000;
/// How long at the beginning and before the end frames are sent one by one. For more the kernel readies a trampoline before and takes it
/// away after them, and waits each time until no processor uses the old one (net/bpf/test_run.c, `bpf_prog_change_xdp`): that would
/// be in the time, and no packet in it.
const ENDS_NS: u64 = 100_000_000;
const LENGTH: u16 = 100;
const TRIALS: usize = 3;

/// Every processor asks the one bucket as fast as it can. What was admitted, in units of the limit, is that of a bucket which is
/// never empty, to a thousandth.
fn press(name: &str, limit: &Limit, units: u64) {
    // What is too much is never anybody else's fault; what is too little is, when the processors were.
    for left in (0..TRIALS).rev() {
        let off = once(name, limit, units);
        assert!(off <= 0.1 && (off >= -0.1 || left > 0), "{off:+.4} %");
        if off >= -0.1 {
            return;
        }
    }
}

/// How far what was admitted is from what a bucket admits that is never empty, in hundredths.
fn once(name: &str, limit: &Limit, units: u64) -> f64 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut rig = Rig::new(limit, 64);
    let source = Ipv4Addr::new(198, 51, 100, 11);
    let frame = frame::of_length(source, LENGTH);
    let program = &*rig.object.xdp().expect("loaded");
    let from = now_ns();
    let until = from + u64::try_from(PRESSING.as_nanos()).expect("ten seconds");
    let press = |number| {
        stay_on(number);
        let (mut sent, began) = (0_u64, now_ns());
        let mut ended = began;
        while ended < until {
            let many = if (from + ENDS_NS..until - ENDS_NS).contains(&ended) { AT_ONCE } else { 1 };
            send(program, &frame, many);
            ended = now_ns();
            sent += u64::from(many);
        }
        (sent, began, ended)
    };
    let pressed: Vec<(u64, u64, u64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|number| scope.spawn(move || press(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it sends")).collect()
    });
    let began = pressed.iter().map(|(_, began, _)| *began).min().expect("a processor");
    let ended = pressed.iter().map(|(.., ended)| *ended).max().expect("a processor");
    let sent: Vec<u64> = pressed.iter().map(|(sent, ..)| *sent).collect();
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let time = (ended - began) as f64 / 1e9;
    let said = rig.said();
    assert_eq!(said.admitted + said.over, sent.iter().sum::<u64>(), "{said:?}");
    let contended = rig.refused(Refusal::LimitContended);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (rate, burst, admitted) = (limit.rate as f64, limit.burst.unwrap_or(0) as f64, (said.admitted * units) as f64);
    let off = 100.0 * (admitted / (rate * time + burst) - 1.0);
    println!(
        "{name}: {processors} processors asked {sent:?} times in {time:.3} s; {admitted} admitted, {off:+.4} % off; {contended} \
         refused because others were faster"
    );
    assert!(sent.iter().all(|sent| *sent > said.admitted / 10), "not all of them pressed: {sent:?}");
    off
}

#[test]
fn packets_are_admitted_at_the_rate_however_many_processors_ask() {
    press("packets", &limit(Per::Service, 200_000, Unit::Packets, Some(20_000)), 1);
}

#[test]
fn bytes_are() {
    press("bytes", &limit(Per::Service, 20_000_000, Unit::Bytes, Some(2_000_000)), LENGTH.into());
}

#[test]
fn packets_of_a_source_are() {
    press("packets of a source", &limit(Per::Source, 200_000, Unit::Packets, Some(20_000)), 1);
}
