//! Waiting for a condition, with a deadline.

use std::fmt;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(2);

/// A condition did not come true in time.
#[derive(Debug)]
pub struct WaitError {
    what: String,
    waited: Duration,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {:.1} s in vain for {}", self.waited.as_secs_f64(), self.what)
    }
}

impl std::error::Error for WaitError {}

/// Waits until `condition` returns something, and returns that. It is looked at once more at the deadline.
///
/// # Errors
/// When the deadline has passed.
pub fn wait_until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T, WaitError> {
    let started = Instant::now();
    loop {
        let last = started.elapsed() >= deadline;
        if let Some(found) = condition() {
            return Ok(found);
        }
        if last {
            return Err(WaitError { what: what.to_owned(), waited: started.elapsed() });
        }
        std::thread::sleep(INTERVAL);
    }
}
