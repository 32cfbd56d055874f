//! What file system is at a path, by the name that mount(8) knows.

use std::path::Path;

use nix::sys::stat::{major, minor, stat};
use nix::sys::statfs::FsType;

/// The name of the file system at `path`, which has just been found to be of this kind.
pub(super) fn name(path: &Path, kind: FsType) -> String {
    let device = stat(path).map(|found| format!("{}:{}", major(found.st_dev), minor(found.st_dev))).unwrap_or_default();
    std::fs::read_to_string("/proc/self/mountinfo")
        .ok()
        .and_then(|mounts| mounts.lines().find_map(|line| mounted(line, &device)))
        .unwrap_or_else(|| format!("a file system of kind {:#x}", kind.0))
}

/// The kind of a mount of this device, from a line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn mounted(line: &str, device: &str) -> Option<String> {
    let (mount, source) = line.split_once(" - ")?;
    let kind = source.split(' ').next()?;
    (mount.split(' ').nth(2)? == device).then(|| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_device() {
        let line = "65 44 0:39 / /sys/fs/bpf rw,relatime shared:9 - bpf bpf rw,mode=700";
        assert_eq!(mounted(line, "0:39").as_deref(), Some("bpf"));
        assert_eq!(mounted(line, "0:3"), None);
        assert_eq!(mounted("", "0:39"), None);
    }

    #[test]
    fn what_is_not_mounted_here_has_its_number() {
        assert_eq!(name(Path::new("/proc"), FsType(0x9fa0)), "proc");
        assert_eq!(name(Path::new("/nowhere"), FsType(0x9fa0)), "a file system of kind 0x9fa0");
    }
}
