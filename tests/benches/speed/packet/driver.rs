//! The harness in the kernel, from this side.

use std::mem::size_of;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use nix::time::{ClockId, clock_gettime};
use weir::dataplane::kernel::Object;

/// 64-bit words of a frame that the harness writes anew each time.
const WORDS: usize = 10;

/// As many bytes as a frame has, at least: the smallest on a wire, and what the harness writes.
const LENGTH: usize = 94;

/// What the harness reads and counts: lb-ebpf/src/bench/harness.rs has the same.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Work {
    template: [u64; WORDS],
    mask: u32,
    v4: u32,
    address: u32,
    length: u32,
    count: u64,
    unexpected: u64,
    expected: u32,
    pad: u32,
}

#[expect(unsafe_code, reason = "aya::Pod promises that any bit pattern is a value")]
// SAFETY: `repr(C)`, integers only, without padding.
unsafe impl aya::Pod for Work {}

const _: () = assert!(size_of::<Work>() == 120);

/// What the harness calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The packet path.
    Weir,
    /// The floor of what is forwarded: pushes 20 bytes and returns `XDP_TX`.
    Push,
    /// The packet path, and a reading of the clock that limits read.
    Clock,
    /// The floor of what passes: returns `XDP_PASS`.
    Nothing,
}

impl Subject {
    const ALL: [Self; 4] = [Self::Weir, Self::Push, Self::Clock, Self::Nothing];

    const fn program(self) -> &'static str {
        match self {
            Self::Weir => "weir_bench",
            Self::Push => "weir_bench_push",
            Self::Clock => "weir_bench_clock",
            Self::Nothing => "weir_bench_nothing",
        }
    }
}

/// Actions of linux/bpf.h.
pub(super) const XDP_DROP: u32 = 1;
pub(super) const XDP_PASS: u32 = 2;
pub(super) const XDP_TX: u32 = 3;

/// Packets that differ in their flows alone.
#[derive(Debug, Clone)]
pub(super) struct Packets {
    /// The frame of the first flow.
    pub frame: Vec<u8>,
    /// Whether it is IPv4.
    pub v4: bool,
    /// How many flows: a power of two.
    pub flows: u32,
    /// What should become of each.
    pub expected: u32,
}

/// Loads what the harness calls.
pub(super) fn load(object: &mut Object) -> Result<()> {
    for subject in Subject::ALL {
        program(object, subject)?.load().with_context(|| format!("loading {}", subject.program()))?;
    }
    Ok(())
}

fn program(object: &mut Object, subject: Subject) -> Result<&mut Xdp> {
    let name = subject.program();
    let program = object.ebpf().program_mut(name).with_context(|| {
        format!(
            "the BPF object has no program {name}: it was built without WEIR_BPF_BENCH, which `cargo xtask bench` sets"
        )
    })?;
    program.try_into().with_context(|| format!("{name} is no XDP program"))
}

/// Nanoseconds a packet, over `repeat` packets.
pub(super) fn measure(object: &mut Object, subject: Subject, packets: &Packets, repeat: u32) -> Result<f64> {
    ensure!(packets.flows.is_power_of_two(), "{} flows: expected a power of two", packets.flows);
    let expected = match subject {
        Subject::Weir => packets.expected,
        Subject::Push | Subject::Clock => XDP_TX,
        Subject::Nothing => XDP_PASS,
    };
    let mut frame = packets.frame.clone();
    frame.resize(LENGTH.max(frame.len()), 0);
    let mut template = [0; WORDS];
    for (word, bytes) in template.iter_mut().zip(frame.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into().context("eight bytes")?);
    }
    let source = if packets.v4 { 14 + 12 } else { 14 + 8 + 12 };
    let address = frame[source..source + 4].try_into().context("an address in the frame")?;
    let work = Work {
        template,
        mask: packets.flows - 1,
        v4: packets.v4.into(),
        address: u32::from_be_bytes(address),
        length: u32::try_from(frame.len())?,
        count: 0,
        unexpected: 0,
        expected,
        pad: 0,
    };
    set(object, work)?;
    let mut options = TestRunOptions::new();
    options.data_in = Some(&frame);
    options.repeat = repeat;
    let program = program(object, subject)?;
    // What this thread had of the processor, and not the time that passed: others may want it, too.
    let before = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    let result = program.test_run(options).context("BPF_PROG_TEST_RUN")?;
    let spent = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)? - before;
    let work = get(object)?;
    ensure!(
        work.count == u64::from(repeat) && work.unexpected == 0,
        "{subject:?}: of {} packets ({repeat} were sent) {} did not get the action {expected}; the last got {}",
        work.count,
        work.unexpected,
        result.return_value
    );
    Ok(Duration::from(spent).as_nanos() as f64 / f64::from(repeat))
}

fn map(object: &mut Object) -> Result<Array<&mut MapData, Work>> {
    let map = object.ebpf().map_mut("WORK").context("the object has no map WORK")?;
    Ok(Array::try_from(map)?)
}

fn set(object: &mut Object, work: Work) -> Result<()> {
    Ok(map(object)?.set(0, work, 0)?)
}

fn get(object: &mut Object) -> Result<Work> {
    Ok(map(object)?.get(&0, 0)?)
}
