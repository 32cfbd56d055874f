//! A data plane that is not in step.

use std::time::{Duration, Instant};

/// How long to wait after a failed write: at first, and at most.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why it is not, and when to try again.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) error: String,
    pub(super) retry_at: Instant,
    /// How long that is from the failure.
    pub(super) wait: Duration,
}

impl Behind {
    /// After a write that failed; `before` is what the one before it has left.
    pub(super) fn after(before: Option<&Self>, error: &anyhow::Error, now: Instant) -> Self {
        let wait = before.map_or(RETRY.0, |behind| (behind.wait * 2).min(RETRY.1));
        Self { error: format!("{error:#}"), retry_at: now + wait, wait }
    }
}
