//! The programs' clock: `bpf_ktime_get_ns`, which is `CLOCK_MONOTONIC` (bpf-helpers(7)).

use lb_common::gcra;
use nix::time::{ClockId, clock_gettime};

/// The time, in seconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds since the host's start")]
pub(super) fn now_s() -> u32 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| now.tv_sec() as u32)
}

/// The time, in ticks of limits.
#[expect(clippy::cast_sign_loss, reason = "time since the host's start")]
pub(super) fn now_ticks() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
    gcra::ticks(now.map_or(0, |now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64))
}
