//! The files of the registry as they were last read: reads again only what changed.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::document::ServiceFile;
use crate::config::{ConfigError, read_text};
use crate::source::Snapshot;

/// How many files a directory may hold.
const MAX_FILES: usize = 10_000;
/// How many bytes the files of a directory may have together.
const MAX_BYTES: u64 = 256 << 20;
/// From how many files on they are read by several threads, and how many those are at most.
const MANY: usize = 64;
const MAX_THREADS: usize = 4;
/// How many problems are told at once.
const MAX_TOLD: usize = 10;

/// A file or directory being read again and again.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    files: BTreeMap<PathBuf, CachedFile>,
    /// The root is a directory, and those were all its files when it was last listed.
    listed: bool,
    digests: RandomState,
}

/// What a read should look at.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Read everything, whether it looks changed or not.
    pub(super) all: bool,
    /// Files to read, whether they look changed or not.
    pub(super) written: HashSet<PathBuf>,
    /// Files that somebody seems to be writing: what is known of them still holds.
    pub(super) unsettled: HashSet<PathBuf>,
}

#[derive(Debug, Clone)]
struct CachedFile {
    stamp: Stamp,
    /// Of its text, by this process's own key; a text that is the same is not read through again.
    digest: u64,
    content: Result<ServiceFile, ConfigError>,
}

/// What is looked at to see whether a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Tree {
    /// The file or directory at `root`, not yet read.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, files: BTreeMap::new(), listed: false, digests: RandomState::new() }
    }

    /// Reads what changed, and says what the whole holds now or everything that is wrong with it; `None` while that
    /// cannot be known, because the only file is being replaced.
    pub(super) fn read(&mut self, changes: &Changes) -> Result<Option<Snapshot>, String> {
        if self.knows_all_but(changes) {
            return self.read_only(changes);
        }
        self.listed = false;
        let mut files = BTreeMap::new();
        let mut bytes = 0_u64;
        let paths = self.list(changes)?;
        let too_much = || too_much(&self.root);
        // Before any of it is in memory.
        let sizes = paths.iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len()));
        if sizes.sum::<u64>() > MAX_BYTES {
            return Err(too_much());
        }
        let wanted: Vec<Wanted> = paths.into_iter().map(|path| (self.files.remove(&path), path)).collect();
        for (path, file) in read_all(wanted, changes, &self.digests) {
            if let Some(file) = file {
                bytes = bytes.saturating_add(file.stamp.bytes);
                files.insert(path, file);
            }
            if bytes > MAX_BYTES {
                return Err(too_much());
            }
        }
        if files.is_empty() && !self.root.is_dir() {
            return Ok(None);
        }
        self.files = files;
        self.listed = self.root.is_dir();
        self.snapshot().map(Some)
    }

    /// Whether nothing changed but the text of some plain files of the directory, so that it need not be listed.
    pub(super) fn knows_all_but(&self, changes: &Changes) -> bool {
        let is_plain = |path: &PathBuf| {
            let counts = path.file_name().is_some_and(is_registry_file);
            let plain = || std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
            path.parent() == Some(&self.root) && (!counts || plain())
        };
        self.listed
            && !changes.all
            && !changes.written.is_empty()
            && self.files.len() + changes.written.len() <= MAX_FILES
            && changes.written.iter().all(is_plain)
    }

    /// Reads the files that changed, and no others.
    fn read_only(&mut self, changes: &Changes) -> Result<Option<Snapshot>, String> {
        for path in changes.written.iter().filter(|path| path.file_name().is_some_and(is_registry_file)) {
            let known = self.files.remove(path);
            if let Some(file) = read_one(path, known, changes, &self.digests) {
                self.files.insert(path.clone(), file);
            }
        }
        if self.files.values().map(|file| file.stamp.bytes).fold(0, u64::saturating_add) > MAX_BYTES {
            self.listed = false;
            return Err(too_much(&self.root));
        }
        self.snapshot().map(Some)
    }

    /// The paths to read: the root itself, or the `*.toml` in it.
    fn list(&self, changes: &Changes) -> Result<Vec<PathBuf>, String> {
        let root = self.root.display();
        let unreadable =
            |error| format!("{root}: cannot be read: {error}, expected a TOML file or a directory of them");
        let metadata = match std::fs::metadata(&self.root) {
            // An editor may be between the removal of the old file and the creation of the new one.
            Err(_) if changes.unsettled.contains(&self.root) && !self.files.is_empty() => {
                return Ok(self.files.keys().cloned().collect());
            }
            metadata => metadata.map_err(unreadable)?,
        };
        if !metadata.is_dir() {
            return Ok(vec![self.root.clone()]);
        }
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.root).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if is_registry_file(entry.file_name().as_os_str()) {
                paths.push(entry.path());
            }
            if paths.len() > MAX_FILES {
                return Err(format!(
                    "{root}: found more than {MAX_FILES} files, expected fewer: use several registries"
                ));
            }
        }
        // A file that was just removed may be about to be replaced.
        paths.extend(self.files.keys().filter(|path| changes.unsettled.contains(*path)).cloned());
        paths.sort_unstable();
        paths.dedup();
        Ok(paths)
    }

    fn snapshot(&self) -> Result<Snapshot, String> {
        let mut problems = Vec::new();
        let mut first: BTreeMap<&str, (&Path, usize)> = BTreeMap::new();
        let mut snapshot = Snapshot::new();
        for (path, file) in &self.files {
            match &file.content {
                Err(error) => problems.extend(error.problems.iter().map(ToString::to_string)),
                Ok(service) => {
                    let place = (path.as_path(), service.line);
                    if let Some((other, line)) = first.insert(&service.service, place) {
                        let (path, here, name) = (path.display(), service.line, &service.service);
                        let other = other.display();
                        problems.push(format!(
                            "{path}:{here}: service: found {name:?}, which {other}:{line} names too, expected every \
                             service in one file"
                        ));
                    }
                    snapshot.insert(service.service.clone(), service.endpoints.clone());
                }
            }
        }
        if problems.is_empty() {
            return Ok(snapshot);
        }
        let more = problems.len().saturating_sub(MAX_TOLD);
        problems.truncate(MAX_TOLD);
        if more > 0 {
            problems.push(format!("and {more} more problems"));
        }
        Err(problems.join("\n"))
    }
}

fn too_much(root: &Path) -> String {
    let root = root.display();
    format!("{root}: found more than {MAX_BYTES} bytes, expected fewer: use several registries")
}

/// Whether a directory's entry counts: `*.toml`, neither hidden nor an editor's backup or lock.
fn is_registry_file(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.ends_with(b".toml") && !name.starts_with(b".") && !name.starts_with(b"#")
}

/// What is known of a file, and its path.
type Wanted = (Option<CachedFile>, PathBuf);

/// Reads files, where there are many on several CPUs.
fn read_all(wanted: Vec<Wanted>, changes: &Changes, digests: &RandomState) -> Vec<(PathBuf, Option<CachedFile>)> {
    let read = |(known, path): Wanted| {
        let file = read_one(&path, known, changes, digests);
        (path, file)
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    let unknown = wanted.iter().filter(|(known, _)| known.is_none()).count();
    if threads == 1 || unknown < MANY && !changes.all || wanted.len() < MANY {
        return wanted.into_iter().map(read).collect();
    }
    let size = wanted.len().div_ceil(threads);
    let mut wanted = wanted.into_iter();
    let shares: Vec<Mutex<Vec<Wanted>>> =
        (0..threads).map(|_| Mutex::new(wanted.by_ref().take(size).collect())).collect();
    let work = |share: &Mutex<Vec<Wanted>>| -> Vec<_> {
        let share = std::mem::take(&mut *share.lock().unwrap_or_else(PoisonError::into_inner));
        share.into_iter().map(read).collect()
    };
    let work = &work;
    std::thread::scope(|scope| {
        let begin = |share| std::thread::Builder::new().spawn_scoped(scope, move || work(share)).ok();
        let reading: Vec<_> = shares.iter().map(|share| (share, begin(share))).collect();
        let done = reading.into_iter().flat_map(|(share, thread)| match thread {
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // There is no room for another thread: this one does it.
            None => work(share),
        });
        done.collect()
    })
}

/// The file at `path`, from what is `known` of it where that still holds; `None` if it is not a file (any more).
fn read_one(path: &Path, known: Option<CachedFile>, changes: &Changes, digests: &RandomState) -> Option<CachedFile> {
    if changes.unsettled.contains(path) {
        return known;
    }
    let stamp = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return None,
        Ok(metadata) => Some(Stamp::of(&metadata)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && std::fs::symlink_metadata(path).is_err() => {
            return None;
        }
        Err(_) => None,
    };
    match (known, stamp) {
        (Some(known), Some(stamp)) if known.stamp == stamp && !changes.all && !changes.written.contains(path) => {
            Some(known)
        }
        (known, stamp) => {
            // The stamp was taken first: a write in between is seen as a change at the next read.
            let stamp = stamp.unwrap_or(Stamp { device: 0, inode: 0, bytes: 0, changed: (0, 0) });
            let read = read_text(path, "a readable TOML file with a service and its backends");
            let digest = digests.hash_one(read.as_deref().unwrap_or_default());
            let content = match (read, known) {
                (Ok(_), Some(CachedFile { digest: same, content: content @ Ok(_), .. })) if same == digest => content,
                (Ok(text), _) => ServiceFile::parse(&text, path),
                (Err(problem), _) => Err(ConfigError { problems: vec![problem] }),
            };
            Some(CachedFile { stamp, digest, content })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Changes {
        Changes { all: true, ..Changes::default() }
    }

    #[test]
    fn only_the_registrys_own_files_count() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["web.toml", ".#web.toml", "#web.toml#", "web.toml~", ".web.toml.swp", "notes.txt"] {
            std::fs::write(directory.path().join(name), "service = 'web'").expect("written");
        }
        std::fs::create_dir(directory.path().join("sub.toml")).expect("made");
        let snapshot = Tree::new(directory.path().to_owned()).read(&all()).expect("good").expect("known");
        assert_eq!(snapshot.into_keys().collect::<Vec<_>>(), ["web"]);
    }

    #[test]
    fn a_service_in_two_files_names_both() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["a.toml", "b.toml"] {
            std::fs::write(directory.path().join(name), "\nservice = 'web'").expect("written");
        }
        let problem = Tree::new(directory.path().to_owned()).read(&all()).expect_err("refused");
        let at = directory.path().display();
        let expected = format!(
            "{at}/b.toml:2: service: found \"web\", which {at}/a.toml:2 names too, expected every service in one file"
        );
        assert_eq!(problem, expected);
    }

    #[test]
    fn an_unsettled_file_keeps_what_is_known_of_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("web.toml");
        std::fs::write(&path, "service = 'web'").expect("written");
        let mut tree = Tree::new(directory.path().to_owned());
        let before = tree.read(&all()).expect("good");
        std::fs::remove_file(&path).expect("removed");
        let unsettled = Changes { unsettled: [path.clone()].into(), ..Changes::default() };
        assert_eq!(tree.read(&unsettled), Ok(before.clone()));
        std::fs::write(&path, "servi").expect("written");
        assert_eq!(tree.read(&unsettled), Ok(before));
        assert!(tree.read(&Changes::default()).is_err());
    }

    #[test]
    fn where_files_alone_changed_no_other_is_looked_at() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        for name in ["a", "b"] {
            std::fs::write(path(&format!("{name}.toml")), format!("service = '{name}'")).expect("written");
        }
        let mut tree = Tree::new(directory.path().to_owned());
        let mut names = |changes: &Changes| {
            let snapshot = tree.read(changes).expect("good").expect("known");
            snapshot.into_keys().collect::<Vec<_>>()
        };
        let written = |name: &str| Changes { written: [path(name)].into(), ..Changes::default() };
        assert_eq!(names(&all()), ["a", "b"]);
        std::fs::remove_file(path("b.toml")).expect("removed");
        std::fs::write(path("a.toml"), "service = 'c'").expect("written");
        assert_eq!(names(&written("a.toml")), ["b", "c"], "nobody said that the other is gone");
        assert_eq!(names(&written("a.toml~")), ["b", "c"]);
        assert_eq!(names(&written("b.toml")), ["c"]);
        std::fs::write(path("target"), "service = 'd'").expect("written");
        std::os::unix::fs::symlink("target", path("d.toml")).expect("linked");
        assert_eq!(names(&written("d.toml")), ["c", "d"], "a link is found by a list");
        std::fs::remove_file(path("a.toml")).expect("removed");
        assert_eq!(names(&written("d.toml")), ["d"]);
    }

    #[test]
    fn too_many_bytes_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        for index in 0..17 {
            let file = std::fs::File::create(directory.path().join(format!("{index}.toml"))).expect("made");
            // Sparse, and each more than is read of one file.
            file.set_len(17 << 20).expect("lengthened");
        }
        let problem = Tree::new(directory.path().to_owned()).read(&all()).expect_err("refused");
        assert!(problem.contains("found more than 268435456 bytes"), "{problem}");
    }

    #[test]
    fn too_many_files_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        for index in 0..=MAX_FILES {
            std::fs::write(directory.path().join(format!("{index}.toml")), "").expect("written");
        }
        let problem = Tree::new(directory.path().to_owned()).read(&all()).expect_err("refused");
        assert!(problem.contains("found more than 10000 files"), "{problem}");
    }
}
