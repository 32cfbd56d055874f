//! On which processor a thread runs, and what time it is there.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Keeps this thread on one processor.
pub(crate) fn stay_on(number: usize) {
    let mut set = CpuSet::new();
    set.set(number).expect("a small number");
    sched_setaffinity(Pid::from_raw(0), &set).unwrap_or_else(|error| panic!("processor {number}: {error}"));
}

/// The time as `bpf_ktime_get_ns` gives it, in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    u64::try_from(now.tv_sec() * 1_000_000_000 + now.tv_nsec()).expect("after the host's start")
}
