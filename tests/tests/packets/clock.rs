//! The clock that the programs tell seconds by.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How close to its end a second is left to pass.
const MARGIN: Duration = Duration::from_millis(20);

/// The time as `bpf_ktime_get_coarse_ns` gives it: it advances with the timer's ticks.
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).expect("a clock").into()
}

/// The time, when there is some of its second left: the next packet is in the same one for whoever reads the clock.
pub(crate) fn within_a_second() -> Duration {
    loop {
        let now = now();
        let left = Duration::from_secs(now.as_secs() + 1).saturating_sub(now);
        if left > MARGIN {
            return now;
        }
        std::thread::sleep(left);
    }
}
