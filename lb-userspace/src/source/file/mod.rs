//! The `file` registry: a TOML file, or a directory of them, one service a file.
//!
//! The whole registry is one snapshot: while any of its files is wrong, nothing is published but what is wrong.

mod document;
mod route;
mod settling;
#[cfg(test)]
mod tests;
mod tree;
mod watch;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::{Publisher, Report, Source, are_same};
use crate::config::FileRegistry;
use tree::{Changes, Tree};
use watch::Watch;

/// How often everything is read although nothing is known to have changed: watches do not see network file systems,
/// and could be lost.
const FULL_READ_EVERY: Duration = Duration::from_secs(10);
/// The same where nothing can be watched.
const UNWATCHED_READ_EVERY: Duration = Duration::from_secs(1);

/// A TOML file or a directory of them, watched.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
}

impl FileSource {
    /// The registry that `registry` describes. Nothing is read yet.
    pub fn new(registry: &FileRegistry) -> Self {
        Self { path: registry.path.clone() }
    }
}

/// Reads the registry once and says everything that is wrong with what is there. A path that is not there (yet) is not
/// wrong: it may come.
///
/// # Errors
/// One line for each thing that is wrong.
pub fn check(registry: &FileRegistry) -> Result<(), String> {
    let path = std::path::absolute(&registry.path).unwrap_or_else(|_| registry.path.clone());
    if !path.exists() {
        return Ok(());
    }
    Tree::new(path).read(&Changes { all: true, ..Changes::default() }).map(drop)
}

impl Source for FileSource {
    fn describe(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn follow(self: Box<Self>, publisher: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(follow(self.path, publisher))
    }
}

/// What reads: file system calls block, so it goes to a thread for them and comes back.
#[derive(Debug)]
struct Reader {
    tree: Tree,
    watch: Watch,
    /// Why changes are not seen at once, if so.
    unwatched: Option<String>,
}

impl Reader {
    fn read(&mut self, all: bool) -> Option<Report> {
        let mut changes: Changes = self.watch.take(Instant::now());
        changes.all |= all;
        // Where other text in plain files is all that changed, the same has to be watched as before.
        if self.unwatched.is_some() || !self.tree.knows_all_but(&changes) {
            let unwatched = self.watch.refresh().err();
            if let Some(problem) = unwatched.as_ref().filter(|_| unwatched != self.unwatched) {
                tracing::warn!("{problem}");
            }
            self.unwatched = unwatched;
        }
        match self.tree.read(&changes) {
            Ok(Some(snapshot)) => Some(Report::Snapshot(snapshot)),
            Ok(None) => None,
            Err(problem) => Some(Report::Problem(problem)),
        }
    }
}

async fn follow(path: PathBuf, publisher: Publisher) {
    // inotify names what it saw by the path it was given: one form everywhere. Messages then name the whole path.
    let path = std::path::absolute(&path).unwrap_or(path);
    let watch = Watch::new(&path);
    let wake = watch.wake();
    let mut reader = Reader { tree: Tree::new(path), watch, unwatched: None };
    let mut last = None;
    let mut full_read_at = tokio::time::Instant::now();
    loop {
        let all = tokio::time::Instant::now() >= full_read_at;
        let read = tokio::task::spawn_blocking(move || {
            let report = reader.read(all);
            (reader, report)
        });
        let report;
        (reader, report) = match read.await {
            Ok(read) => read,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is going down.
            Err(_) => return,
        };
        if all {
            let every = if reader.unwatched.is_some() { UNWATCHED_READ_EVERY } else { FULL_READ_EVERY };
            full_read_at = tokio::time::Instant::now() + every;
        }
        let is_new = match (&report, &last) {
            (Some(Report::Snapshot(new)), Some(Report::Snapshot(last))) => !are_same(new, last),
            (report, last) => report.is_some() && report != last,
        };
        if is_new {
            if !publish(&publisher, report.clone()).await {
                return;
            }
            last = report;
        }
        tokio::select! {
            () = wake.changed() => {}
            () = tokio::time::sleep_until(full_read_at) => {}
            () = publisher.closed() => return,
        }
    }
}

async fn publish(publisher: &Publisher, report: Option<Report>) -> bool {
    match report {
        Some(Report::Snapshot(snapshot)) => publisher.snapshot(snapshot).await,
        Some(Report::Declared(declared)) => publisher.declared(declared).await,
        Some(Report::Problem(problem)) => publisher.problem(problem).await,
        None => true,
    }
}
