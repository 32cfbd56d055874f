//! Waiting for a condition, with a deadline.

use std::fmt;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// How long a condition is left alone at least.
const INTERVAL: Duration = Duration::from_millis(2);
/// How long it is left alone at most.
const LONGEST: Duration = Duration::from_millis(100);

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
        let looks = Instant::now();
        let last = looks.duration_since(started) >= deadline;
        if let Some(found) = condition() {
            return Ok(found);
        }
        if last {
            return Err(WaitError { what: what.to_owned(), waited: started.elapsed() });
        }
        // To look may take a program that is started: not more than half of a processor, which what is waited for may want.
        std::thread::sleep(looks.elapsed().clamp(INTERVAL, LONGEST));
    }
}

/// Waits until something can be read from a socket, or somebody accepted from it, at most so long; whether it can be tried.
pub(super) fn wait_readable(socket: &impl AsFd, within: Duration) -> nix::Result<bool> {
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match ppoll(&mut ready, Some(TimeSpec::from_duration(within)), None) {
        Ok(count) => Ok(count != 0),
        // A signal: the caller looks at the time again.
        Err(Errno::EINTR) => Ok(true),
        Err(error) => Err(error),
    }
}
