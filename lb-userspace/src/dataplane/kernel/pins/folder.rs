//! The folder of a BPF file system where everything is pinned.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::OFlag;
use nix::sys::statfs::{BPF_FS_MAGIC, FsType, fstatfs, statfs};
use nix::unistd::geteuid;

use super::filesystem;

/// A folder that is this user's alone. Everything in it is reached through its file descriptor, so that whoever moves
/// or replaces what is at the path meanwhile changes nothing.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    dir: File,
}

impl Folder {
    /// Opens a folder that is there; `None` when it is not.
    ///
    /// # Errors
    /// When it is not on a BPF file system, not this user's, or others may write to it.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        must_be_bpffs(path)?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let dir = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
            Ok(dir) => dir,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => match std::fs::symlink_metadata(path) {
                Ok(meta) if !meta.is_dir() => bail!(
                    "{}: found {}, expected a folder: take it away, or name another one as `state` under [weir]",
                    path.display(),
                    if meta.is_symlink() { "a symbolic link" } else { "a file" }
                ),
                _ => return Err(error).with_context(|| format!("cannot open {}", path.display())),
            },
        };
        let folder = Self { path: path.to_owned(), dir };
        folder.must_be_ours()?;
        Ok(Some(folder))
    }

    /// Opens the folder, which is made if need be.
    ///
    /// # Errors
    /// As [`Self::open`]; and when it cannot be made.
    pub(super) fn make(path: &Path) -> Result<Self> {
        if let Some(folder) = Self::open(path)? {
            return Ok(folder);
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "cannot make {}, where everything is pinned: make its parent a folder that this user (id {}) \
                         may write to, or name another one as `state` under [weir]",
                        path.display(),
                        geteuid()
                    )
                });
            }
        }
        Self::open(path)?.with_context(|| format!("{} was taken away at once", path.display()))
    }

    fn must_be_ours(&self) -> Result<()> {
        let shown = self.path.display();
        let found = fstatfs(&self.dir).with_context(|| format!("looking at {shown}"))?.filesystem_type();
        ensure!(found == BPF_FS_MAGIC, not_bpffs(&self.path, &self.path, found));
        let meta = self.dir.metadata().with_context(|| format!("looking at {shown}"))?;
        let (owner, us) = (meta.uid(), geteuid().as_raw());
        ensure!(
            owner == us,
            "{shown}: found it to belong to user id {owner}, expected {us}, who runs Weir: who owns it decides what is \
             run in the kernel; `chown {us} {shown}` if that is meant, or name another folder as `state` under [weir]"
        );
        let mode = meta.mode() & 0o7777;
        ensure!(
            mode & 0o022 == 0,
            "{shown}: found mode {mode:04o}, expected one by which nobody but its owner writes: chmod 700 {shown}"
        );
        Ok(())
    }

    /// Where it is, for a person.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder itself.
    pub(super) fn dir(&self) -> &File {
        &self.dir
    }

    /// The path by which the kernel finds `name` in just this folder.
    pub(super) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        Path::new("/proc/self/fd").join(self.dir.as_raw_fd().to_string()).join(name)
    }

    /// The path of `name` in it, for a person.
    pub(super) fn shown(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The names in a folder below this one, or in itself (`""`); none when there is no such folder.
    pub(super) fn names(&self, below: &str) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.at(below)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.shown(below).display())),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", self.shown(below).display()))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Makes a folder below it, if it is not there.
    pub(super) fn make_below(&self, name: &str) -> Result<()> {
        match DirBuilder::new().mode(0o700).create(self.at(name)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("cannot make {}", self.shown(name).display()))
            }
            _ => Ok(()),
        }
    }

    /// Takes away a pin. Whether it is there or not.
    pub(super) fn remove_pin(&self, name: impl AsRef<Path>) -> Result<()> {
        match std::fs::remove_file(self.at(&name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot take away {}", self.shown(&name).display()))
            }
            _ => Ok(()),
        }
    }

    /// Takes away an empty folder below it; says whether it is gone.
    pub(super) fn remove_below(&self, name: &str) -> Result<bool> {
        match std::fs::remove_dir(self.at(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) => {
                Err(error).with_context(|| format!("cannot take away the folder {}", self.shown(name).display()))
            }
        }
    }

    /// Takes itself away, if it is empty and this user may; says whether it is gone.
    pub(super) fn remove(&self) -> Result<bool> {
        use ErrorKind::{DirectoryNotEmpty, NotFound, PermissionDenied, ResourceBusy};
        if !self.is_at_its_path() {
            return Ok(false);
        }
        match std::fs::remove_dir(&self.path) {
            Ok(()) => Ok(true),
            // Whoever made it for this user wants it to stay.
            Err(error) if matches!(error.kind(), DirectoryNotEmpty | NotFound | PermissionDenied | ResourceBusy) => {
                Ok(false)
            }
            Err(error) => Err(error).with_context(|| format!("cannot take away {}", self.path.display())),
        }
    }

    /// Whether it is still what is found at its path.
    pub(super) fn is_at_its_path(&self) -> bool {
        let Ok(own) = self.dir.metadata() else { return false };
        std::fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino()))
    }
}

/// Refuses a path that is not on a BPF file system, be it there or still to be made.
pub(super) fn must_be_bpffs(path: &Path) -> Result<()> {
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let found = statfs(there).with_context(|| format!("looking at {}", there.display()))?.filesystem_type();
    ensure!(found == BPF_FS_MAGIC, not_bpffs(path, there, found));
    Ok(())
}

fn not_bpffs(path: &Path, there: &Path, found: FsType) -> String {
    const USUAL: &str = "/sys/fs/bpf";
    let mount = match path.parent() {
        Some(parent) if !path.starts_with(USUAL) => parent.display().to_string(),
        _ => USUAL.to_owned(),
    };
    format!(
        "{}: found {} at {}, expected a BPF file system, where what is pinned outlives this process: \
         mount -t bpf bpf {mount}",
        path.display(),
        filesystem::name(there, found),
        there.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_elsewhere_is_refused_by_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("weir"), dir.path().join("a/b")] {
            let error = Folder::make(&path).unwrap_err().to_string();
            let mount = format!("mount -t bpf bpf {}", path.parent().unwrap().display());
            assert!(error.starts_with(&path.display().to_string()) && error.ends_with(&mount), "{error}");
            assert!(error.contains("expected a BPF file system"), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let error = Folder::make(Path::new("/proc/weir")).unwrap_err().to_string();
        assert!(error.contains("found proc at /proc"), "{error}");
    }

    #[test]
    fn the_usual_mount_point_is_named() {
        let text = not_bpffs(Path::new("/sys/fs/bpf/weir"), Path::new("/sys/fs/bpf"), FsType(0x6265_6572));
        assert!(text.ends_with("mount -t bpf bpf /sys/fs/bpf"), "{text}");
    }
}
