//! Which threads run where.

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Clients and servers have a processor each, where there are two; balancers have both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Processor {
    Clients,
    Servers,
}

/// Keeps the calling thread on its processor.
pub(super) fn stay_on(processor: Processor) -> Result<()> {
    let number = match processor {
        Processor::Clients => 0,
        Processor::Servers => 1.min(processors() - 1),
    };
    let mut set = CpuSet::new();
    set.set(number)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("staying on processor {number}"))
}

/// How many there are.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
