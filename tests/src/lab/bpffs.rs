//! A BPF file system in a lab's own directory: every mount of the kind is a new, empty one (bpf_fs_context_ops in the
//! kernel's kernel/bpf/inode.c), and what is pinned in it is let go when it is unmounted.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount as mount_at, umount2};

/// Makes the directory and mounts a BPF file system on it.
pub(super) fn mount(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_at(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700"))
        .with_context(|| format!("cannot mount a BPF file system on {} (CAP_SYS_ADMIN can)", path.display()))
}

/// Unmounts whatever is mounted on the directory, if anything is.
pub(super) fn unmount(path: &Path) -> Result<()> {
    loop {
        // Detached: who still has something open in it, such as a process that is about to end, does not hold it up.
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // EINVAL is what the kernel says of a directory that nothing is mounted on.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot unmount {}", path.display())),
        }
    }
}
