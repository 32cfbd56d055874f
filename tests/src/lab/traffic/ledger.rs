//! What broke, when, and whether the test itself had broken it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A connection that was taken away is noticed with its next question, which is not longer away than this.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);

/// What kind of traffic something broke in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// A TCP connection that was to last.
    LongTcp,
    /// A UDP "connection": one socket that speaks to one backend.
    Udp,
    /// A TCP connection for one question.
    ShortTcp,
}

/// How it broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It could not be opened.
    NotOpened,
    /// Reset, or another error of the socket.
    Reset,
    /// Closed by the other end, which had no reason to.
    Closed,
    /// No answer in time.
    Silence,
    /// An answer with other bytes than it had to have.
    WrongBytes,
    /// An answer of another backend.
    OtherBackend,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOpened => "not opened",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Silence => "no answer",
            Self::WrongBytes => "wrong bytes",
            Self::OtherBackend => "other backend",
        })
    }
}

/// One connection that broke.
#[derive(Debug, Clone)]
pub struct Break {
    /// What it was.
    pub traffic: Traffic,
    /// Whether it was over IPv6.
    pub v6: bool,
    /// When it was opened.
    pub opened: Instant,
    /// When what failed was begun: the question that got no answer was sent, the connection was asked for.
    pub since: Instant,
    /// When it was seen.
    pub seen: Instant,
    /// Whom it was with, when that is known.
    pub backend: Option<String>,
    /// How.
    pub cause: Cause,
    /// What the socket said, or what was found and what was expected.
    pub detail: String,
}

/// A time in which the test itself takes the connections of a backend away.
#[derive(Debug)]
struct Excuse {
    backend: String,
    from: Instant,
    until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Inner {
    excuses: Vec<Excuse>,
    breaks: Vec<Break>,
    excused: u64,
}

/// All that broke, for many threads to write in. Clones are the same ledger.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    inner: Arc<Mutex<Inner>>,
}

impl Ledger {
    /// From now until the return is dropped, what breaks with this backend is the test's own doing.
    pub fn excuse(&self, backend: &str) -> Excused {
        let mut inner = self.lock();
        inner.excuses.push(Excuse { backend: backend.to_owned(), from: Instant::now(), until: None });
        Excused { ledger: self.clone(), index: inner.excuses.len() - 1 }
    }

    /// Enters a break, unless it is excused.
    pub fn enter(&self, broken: Break) {
        let mut inner = self.lock();
        if inner.excuses.iter().any(|excuse| excuse.covers(&broken)) {
            inner.excused += 1;
        } else {
            inner.breaks.push(broken);
        }
    }

    /// What broke without an excuse, in the order it was seen.
    pub fn breaks(&self) -> Vec<Break> {
        self.lock().breaks.clone()
    }

    /// How many broke without an excuse.
    pub fn count(&self) -> usize {
        self.lock().breaks.len()
    }

    /// How many broke because the test broke them.
    pub fn excused(&self) -> u64 {
        self.lock().excused
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Excuse {
    /// A connection is excused that lived at a time at which its backend's were taken away, or that was asked for then
    /// and did not come to be, and that was found broken at its next question.
    fn covers(&self, broken: &Break) -> bool {
        broken.backend.as_ref().is_none_or(|backend| *backend == self.backend)
            && self.from <= broken.seen
            && self.until.is_none_or(|until| broken.opened <= until && broken.since <= until + NOTICED_WITHIN)
    }
}

/// An excuse that holds until this is dropped.
#[derive(Debug)]
pub struct Excused {
    ledger: Ledger,
    index: usize,
}

impl Drop for Excused {
    fn drop(&mut self) {
        self.ledger.lock().excuses[self.index].until = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_test_took_away_is_excused_and_nothing_else() {
        let ledger = Ledger::default();
        let broken = |backend: Option<&str>, opened| {
            let (now, backend) = (Instant::now(), backend.map(str::to_owned));
            let (cause, detail) = (Cause::Reset, String::new());
            Break { traffic: Traffic::LongTcp, v6: false, opened, since: now, seen: now, backend, cause, detail }
        };
        let before = Instant::now();
        ledger.enter(broken(Some("b1"), before));
        assert_eq!((ledger.count(), ledger.excused()), (1, 0));
        let excused = ledger.excuse("b1");
        ledger.enter(broken(Some("b1"), before));
        ledger.enter(broken(None, before));
        ledger.enter(broken(Some("b2"), before));
        assert_eq!((ledger.count(), ledger.excused()), (2, 2));
        drop(excused);
        ledger.enter(broken(Some("b1"), before));
        assert_eq!((ledger.count(), ledger.excused()), (2, 3));
        ledger.enter(broken(Some("b1"), Instant::now()));
        assert_eq!((ledger.count(), ledger.excused()), (3, 3));
    }
}
