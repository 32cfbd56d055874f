//! The lock by which one process has the folder. The kernel lets go of it when that process ends, however it ends.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{major, minor};

use super::folder::Folder;

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "what counts is that it lives")] Flock<File>);

impl Lock {
    /// Takes it, at once.
    ///
    /// # Errors
    /// When another process has it, which is named.
    pub(super) fn take(folder: &Folder) -> Result<Self> {
        let file = folder.dir().try_clone().with_context(|| format!("looking at {}", folder.path().display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self(lock)),
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "{}: {} has it: stop that one first, or name another folder as `state` under [weir]",
                folder.path().display(),
                holder(folder).map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
            ),
            Err((_, error)) => Err(error).with_context(|| format!("locking {}", folder.path().display())),
        }
    }
}

/// The process that has the lock; `None` when nobody has, or it cannot be seen from here.
pub(super) fn holder(folder: &Folder) -> Option<u32> {
    let meta = folder.dir().metadata().ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let inode = format!("{:02x}:{:02x}:{}", major(meta.dev()), minor(meta.dev()), meta.ino());
    locks.lines().find_map(|line| holder_in(line, &inode))
}

/// The holder of a flock(2) on this inode, from a line of `/proc/locks` (proc_locks(5)).
fn holder_in(line: &str, inode: &str) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        // Who waits for a lock has an arrow in its line. A process that is in no namespace of ours has 0.
        [_, "FLOCK", _, _, pid, found, ..] if found == inode => pid.parse().ok().filter(|&pid| pid != 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_the_inode() {
        let inode = "00:27:4460630";
        assert_eq!(holder_in("1: FLOCK  ADVISORY  WRITE 21894 00:27:4460630 0 EOF", inode), Some(21894));
        assert_eq!(holder_in("1: FLOCK  ADVISORY  WRITE 0 00:27:4460630 0 EOF", inode), None);
        assert_eq!(holder_in("1: -> FLOCK  ADVISORY  WRITE 21895 00:27:4460630 0 EOF", inode), None);
        assert_eq!(holder_in("2: POSIX  ADVISORY  WRITE 7 00:27:4460630 0 EOF", inode), None);
        assert_eq!(holder_in("1: FLOCK  ADVISORY  WRITE 7 00:27:446063 0 EOF", inode), None);
        assert_eq!(holder_in("", inode), None);
    }
}
