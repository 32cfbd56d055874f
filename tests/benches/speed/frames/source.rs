//! The generator, the bare program and the sink.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::xdp::XdpMode;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use weir::dataplane::Capacity;
use weir::dataplane::kernel::Object;
use weir_tests::lab::Netns;

use super::stream::{LONGEST, Stream};
use crate::meter::Meter;

/// How many frames are under way at once: as many as a NAPI poll takes (`NAPI_POLL_WEIGHT`).
const BATCH: u32 = 64;
/// The processor on which all of it runs.
const PROCESSOR: usize = 0;

const GENERATOR: &str = "bench_generate";
const BOUNCE: &str = "bench_bounce";
const REDIRECT: &str = "bench_redirect";
const SINK: &str = "bench_sink";

/// In the kernel for as long as it lives.
pub(super) struct Source {
    object: Object,
    frames: Array<MapData, [u8; LONGEST]>,
    flows: Array<MapData, u32>,
    counts: PerCpuArray<MapData, u64>,
}

impl Source {
    /// Loads them.
    pub(super) fn load() -> Result<Self> {
        let mut object = Object::load(Capacity::SMALL, false)?;
        let advice = "the programs were built without the bench's: `cargo xtask bench` sets WEIR_BPF_BENCH";
        let frames = object.map("BENCH_FRAMES").context(advice)?;
        let flows = object.map("BENCH_FLOWS").context(advice)?;
        let counts = object.map("BENCH_COUNTS").context(advice)?;
        let mut source = Self { object, frames, flows, counts };
        for name in [GENERATOR, BOUNCE, REDIRECT, SINK] {
            source.program(name)?.load().with_context(|| format!("loading {name}"))?;
        }
        Ok(source)
    }

    fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        let program =
            self.object.ebpf().program_mut(name).with_context(|| format!("the object has no program {name}"))?;
        program.try_into().with_context(|| format!("{name} is no XDP program"))
    }

    /// Has a device send back what comes.
    pub(super) fn attach_bounce(&mut self, netns: &Netns, device: &str) -> Result<()> {
        self.attach(BOUNCE, netns, device)
    }

    /// The same by redirection.
    pub(super) fn attach_redirect(&mut self, netns: &Netns, device: &str) -> Result<()> {
        self.attach(REDIRECT, netns, device)
    }

    /// Has a device count and drop what comes.
    pub(super) fn attach_sink(&mut self, netns: &Netns, device: &str) -> Result<()> {
        self.attach(SINK, netns, device)
    }

    fn attach(&mut self, name: &str, netns: &Netns, device: &str) -> Result<()> {
        let index = netns.index(device)?;
        let program = self.program(name)?;
        netns
            .run(|| program.attach_to_if_index(index, XdpMode::Driver))
            .with_context(|| format!("attaching {name} to {device} in {}", netns.name()))?;
        Ok(())
    }

    /// How many frames have come back since this was made.
    pub(super) fn arrived(&self) -> Result<u64> {
        Ok(self.counts.get(&1, 0).context("reading the sink's count")?.iter().sum())
    }

    /// Sends `count` frames out of a device, in turn of all flows, and says how much of the processor's time that took.
    pub(super) fn send(&mut self, netns: &Netns, device: u32, stream: &Stream, count: u32) -> Result<Duration> {
        for (index, frame) in (0..).zip(stream.frames) {
            self.frames.set(index, frame, 0).context("writing the frames")?;
        }
        for (index, value) in [(0, stream.flows - 1), (1, stream.port_at)] {
            self.flows.set(index, value, 0).context("writing the flows")?;
        }
        let length = u32::try_from(stream.length)?;
        // `struct xdp_md`: where the frame begins and ends, its metadata, its devices and queue.
        let context: Vec<u8> = [0, length, 0, device, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let program = &*self.program(GENERATOR)?;
        netns.run(|| {
            let mut processors = CpuSet::new();
            processors.set(PROCESSOR)?;
            sched_setaffinity(Pid::from_raw(0), &processors).context("staying on one processor")?;
            let options = TestRunOptions {
                data_in: Some(&stream.frames[0][..stream.length]),
                ctx_in: Some(&context),
                repeat: count,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            };
            let meter = Meter::new(None)?;
            let before = meter.spent()?;
            program.test_run(options).context("generating frames (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18)")?;
            Ok(meter.spent()?.saturating_sub(before))
        })
    }
}
