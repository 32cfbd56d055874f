//! When to read: at once after a finished write, and only after a little quiet where somebody may still be writing.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::tree::Changes;

/// How many paths are told apart: with more, everything is read.
const MAX_PATHS: usize = 1024;
/// A file that never comes to rest is read as it is after this time.
const MAX_UNSETTLED: Duration = Duration::from_secs(2);

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Its content is complete: a writer closed it, or it was renamed into place.
    Complete,
    /// It was removed, renamed away or made: an editor that replaces a file does the second half within this time.
    Replaced,
    /// A writer that has not closed it has written.
    Written,
}

impl Change {
    const fn quiet(self) -> Duration {
        match self {
            Self::Complete => Duration::ZERO,
            Self::Replaced => Duration::from_millis(50),
            Self::Written => Duration::from_millis(250),
        }
    }
}

/// What changed and is not read yet.
#[derive(Debug, Default)]
pub(super) struct Settling {
    all: bool,
    complete: HashSet<PathBuf>,
    unsettled: HashMap<PathBuf, Unsettled>,
}

#[derive(Debug)]
struct Unsettled {
    since: Instant,
    until: Instant,
}

impl Settling {
    /// Something changed, and nobody knows what.
    pub(super) fn everything(&mut self) {
        self.all = true;
    }

    /// `path` changed at `now`.
    pub(super) fn note(&mut self, path: PathBuf, change: Change, now: Instant) {
        if self.complete.len() + self.unsettled.len() >= MAX_PATHS {
            self.all = true;
            return;
        }
        if change == Change::Complete {
            self.unsettled.remove(&path);
            self.complete.insert(path);
            return;
        }
        let until = now + change.quiet();
        let unsettled = self.unsettled.entry(path).or_insert(Unsettled { since: now, until });
        unsettled.until = unsettled.until.max(until).min(unsettled.since + MAX_UNSETTLED);
    }

    /// When there is something to read: `Some(now)` or earlier is at once, `None` is not until something changes.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if self.all || !self.complete.is_empty() {
            return Some(now);
        }
        self.unsettled.values().map(|unsettled| unsettled.until).min()
    }

    /// What to read at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Changes {
        self.unsettled.retain(|path, unsettled| {
            let settled = unsettled.until <= now;
            if settled {
                self.complete.insert(path.clone());
            }
            !settled
        });
        Changes {
            all: std::mem::take(&mut self.all),
            written: std::mem::take(&mut self.complete),
            unsettled: self.unsettled.keys().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_finished_write_is_due_at_once() {
        let (mut settling, now) = (Settling::default(), Instant::now());
        assert_eq!(settling.due(now), None);
        settling.note("a".into(), Change::Replaced, now);
        settling.note("a".into(), Change::Written, now);
        assert_eq!(settling.due(now), Some(now + 250 * MS));
        settling.note("a".into(), Change::Complete, now);
        assert_eq!(settling.due(now), Some(now));
        let changes = settling.take(now);
        assert!(changes.written.contains(&PathBuf::from("a")) && changes.unsettled.is_empty());
        assert_eq!(settling.due(now), None);
    }

    #[test]
    fn a_file_being_written_is_left_alone_when_another_is_read() {
        let (mut settling, now) = (Settling::default(), Instant::now());
        settling.note("a".into(), Change::Written, now);
        settling.note("b".into(), Change::Complete, now);
        let changes = settling.take(now + 50 * MS);
        assert!(changes.unsettled.contains(&PathBuf::from("a")), "{changes:?}");
        assert_eq!(settling.due(now), Some(now + 250 * MS));
        let changes = settling.take(now + 250 * MS);
        assert!(changes.written.contains(&PathBuf::from("a")) && changes.unsettled.is_empty(), "{changes:?}");
    }

    #[test]
    fn a_file_that_never_rests_is_read_in_the_end() {
        let (mut settling, begin) = (Settling::default(), Instant::now());
        for step in 0..200 {
            settling.note("a".into(), Change::Written, begin + step * 50 * MS);
        }
        assert_eq!(settling.due(begin), Some(begin + MAX_UNSETTLED));
    }

    #[test]
    fn a_flood_of_paths_becomes_a_full_read() {
        let (mut settling, now) = (Settling::default(), Instant::now());
        for index in 0..5000 {
            settling.note(index.to_string().into(), Change::Written, now);
        }
        assert!(settling.unsettled.len() <= MAX_PATHS);
        assert!(settling.take(now).all);
    }
}
