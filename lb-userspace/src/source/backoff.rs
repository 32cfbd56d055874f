//! How long to wait before the next try.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(10);

/// Waits that double from 100 ms to 10 s, each shortened at random by up to half, so that many clients of one registry
/// do not come back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Something worked: the next wait is short again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(16)).min(MAX);
        self.failures = self.failures.saturating_add(1);
        // Every RandomState has keys of its own, which is all the randomness this needs.
        let random = RandomState::new().hash_one(self.failures) % 1024;
        full - full.mul_f64(random as f64 / 2048.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_start_again() {
        let mut backoff = Backoff::default();
        for full in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000].map(Duration::from_millis) {
            let wait = backoff.next();
            assert!(wait <= full && wait >= full / 2, "{wait:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }

    #[test]
    fn two_clients_do_not_wait_alike() {
        let waits: std::collections::BTreeSet<_> = (0..64).map(|_| Backoff::default().next()).collect();
        assert!(waits.len() > 16, "{waits:?}");
    }
}
