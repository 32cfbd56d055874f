//! The kernel's word that something changed, through inotify(7).

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::route::route;
use super::settling::{Change, Settling};
use super::tree::Changes;

/// How many directories are watched; what lies in others is seen by the slow full read.
const MAX_WATCHES: usize = 1000;

/// A directory's device and inode: a path can become another directory.
type Identity = (u64, u64);

/// The watch over a file or directory, and over everything on the way to it.
#[derive(Debug)]
pub(super) struct Watch {
    root: PathBuf,
    shared: Arc<Shared>,
    watcher: Result<RecommendedWatcher, notify::Error>,
    watched: BTreeMap<PathBuf, Identity>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    settling: Settling,
    /// For every path that matters, the registry's file that it leads to. Everything right in the root matters too.
    leads_to: HashMap<PathBuf, PathBuf>,
}

/// Waits for a [`Watch`], which is elsewhere while it reads.
#[derive(Debug, Clone)]
pub(super) struct Wake(Arc<Shared>);

impl Watch {
    /// A watch over the absolute path `root`, which sees nothing before [`Watch::refresh`].
    pub(super) fn new(root: &Path) -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Notify::new() });
        let handler = { (Arc::clone(&shared), root.to_owned()) };
        let watcher =
            notify::recommended_watcher(move |event: notify::Result<Event>| handler.0.handle(event, &handler.1));
        Self { root: root.to_owned(), shared, watcher, watched: BTreeMap::new() }
    }

    /// The waiting side.
    pub(super) fn wake(&self) -> Wake {
        Wake(Arc::clone(&self.shared))
    }

    /// What to read now.
    pub(super) fn take(&self, now: Instant) -> Changes {
        self.shared.lock().settling.take(now)
    }

    /// Watches what has to be watched now, which changes with every link and every directory. To be called before a
    /// read, so that whatever changes after the read is seen. The error says what is not watched, why, and what to do.
    pub(super) fn refresh(&mut self) -> Result<(), String> {
        let leads_to = leads_to(&self.root);
        let mut wanted: BTreeMap<PathBuf, Identity> = BTreeMap::new();
        let parents = leads_to.keys().filter_map(|path| path.parent());
        for directory in parents.chain([self.root.as_path()]) {
            if wanted.len() < MAX_WATCHES
                && let Ok(metadata) = directory.metadata()
                && metadata.is_dir()
            {
                wanted.insert(directory.to_owned(), (metadata.dev(), metadata.ino()));
            }
        }
        self.shared.lock().leads_to = leads_to;
        let watcher = self.watcher.as_mut().map_err(|error| describe(error))?;
        for (path, identity) in std::mem::take(&mut self.watched) {
            if wanted.get(&path) != Some(&identity)
                && let Err(error) = watcher.unwatch(&path)
            {
                // The kernel drops the watch of a removed directory by itself.
                tracing::trace!(path = %path.display(), %error, "not watched any more");
            }
        }
        let mut outcome = Ok(());
        for (path, identity) in wanted {
            // Again even if it is watched: a directory made anew may have the inode of the old one.
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path, identity);
                }
                // Removed since we looked. Its parent is watched, or the slow read sees it.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) => outcome = Err(describe(&error)),
            }
        }
        outcome
    }
}

impl Wake {
    /// Waits until there is something to read.
    pub(super) async fn changed(&self) {
        loop {
            // Before the look, so that no change between the look and the wait is missed.
            let woken = self.0.wake.notified();
            let due = self.0.lock().settling.due(Instant::now());
            match due {
                Some(due) if due <= Instant::now() => return,
                Some(due) => tokio::select! {
                    () = woken => {}
                    () = tokio::time::sleep_until(due.into()) => {}
                },
                None => woken.await,
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is good after every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, event: notify::Result<Event>, root: &Path) {
        let mut state = self.lock();
        match event {
            // The kernel's queue ran over.
            Ok(event) if event.need_rescan() => state.settling.everything(),
            Ok(event) => {
                let Some(change) = classify(event.kind) else { return };
                let now = Instant::now();
                let mut matters = false;
                for path in event.paths {
                    let file = match state.leads_to.get(&path) {
                        Some(file) => file.clone(),
                        None if path.parent() == Some(root) => path,
                        None => continue,
                    };
                    matters = true;
                    state.settling.note(file, change, now);
                }
                if !matters {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "inotify failed, reading everything");
                state.settling.everything();
            }
        }
        drop(state);
        self.wake.notify_one();
    }
}

/// Every path whose change matters to the registry at `root`, and the registry's file that it leads to.
fn leads_to(root: &Path) -> HashMap<PathBuf, PathBuf> {
    let mut found = HashMap::from([(root.to_owned(), root.to_owned())]);
    let mut add = |file: &Path| found.extend(route(file).into_iter().map(|stop| (stop, file.to_owned())));
    add(root);
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink())).take(MAX_WATCHES) {
        add(&entry.path());
    }
    found
}

/// What an event means for the file it is about; `None` if its content is as before.
const fn classify(kind: EventKind) -> Option<Change> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Change::Complete),
        // Told in addition to the two halves.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) | EventKind::Access(_) => None,
        EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Metadata(_)) => Some(Change::Replaced),
        EventKind::Modify(_) => Some(Change::Written),
        EventKind::Any | EventKind::Other => Some(Change::Replaced),
    }
}

fn describe(error: &notify::Error) -> String {
    let hint = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => ": raise the sysctl fs.inotify.max_user_watches",
        notify::ErrorKind::Io(io) if io.raw_os_error() == Some(nix::libc::EMFILE) => {
            ": raise the sysctl fs.inotify.max_user_instances or the limit of open files"
        }
        _ => "",
    };
    format!("changes cannot be watched ({error}){hint}; reading every second instead")
}
