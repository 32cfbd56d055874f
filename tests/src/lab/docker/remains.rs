//! What an engine leaves that neither its own end nor its namespace's takes away: containers, which live on without
//! it (`--live-restore`), their shims, control groups and mounts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::ENGINE_DIR;
use crate::lab::cleanup::pids_in;
use crate::lab::ending::{end_processes, has_ended, signal_if_there};
use crate::lab::wait::wait_until;

/// How long killed containers have to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes away what the engine of the lab with this id and directory left, if it had one. `namespaces` are the lab's.
/// The engine itself has ended, or ends here.
pub(in crate::lab) fn take_away(id: &str, dir: &Path, namespaces: &[String]) -> Result<()> {
    if !dir.join(ENGINE_DIR).exists() {
        return Ok(());
    }
    let groups = control_groups(id)?;
    kill_all(&groups)?;
    for namespace in namespaces.iter().filter(|name| Path::new("/run/netns").join(name).exists()) {
        // The engine, its containerd and the shims, which end by themselves at SIGTERM and take their sockets away.
        end_processes(&pids_in(namespace)?);
    }
    // What the engine may have started between the two.
    kill_all(&groups)?;
    groups.iter().try_for_each(|group| remove_group(group))?;
    unmount_below(dir)
}

/// The groups that the engine was told to have its containers in, one a hierarchy.
fn control_groups(id: &str) -> Result<Vec<PathBuf>> {
    let groups = mounts()?.into_iter().filter(|mount| mount.kind.starts_with("cgroup")).map(|mount| mount.at.join(id));
    Ok(groups.filter(|group| group.exists()).collect())
}

fn kill_all(groups: &[PathBuf]) -> Result<()> {
    let mut pids = Vec::new();
    for group in groups.iter().flat_map(|group| group_and_below(group)) {
        // A paused container does not hear even SIGKILL. Each file is of one version of control groups.
        for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            let file = group.join(file);
            if file.exists() {
                std::fs::write(&file, word).with_context(|| format!("cannot write {word} to {}", file.display()))?;
            }
        }
        let listed = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        pids.extend(listed.lines().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
    }
    pids.sort_unstable();
    pids.dedup();
    pids.iter().for_each(|pid| signal_if_there(*pid, Signal::SIGKILL));
    let ended = || pids.iter().all(|pid| has_ended(*pid)).then_some(());
    wait_until("killed containers to be gone", PATIENCE, ended).map_err(Into::into)
}

/// A group and those in it, the innermost first.
fn group_and_below(group: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut groups: Vec<PathBuf> = inner.flat_map(|entry| group_and_below(&entry.path())).collect();
    groups.push(group.to_owned());
    groups
}

/// Removes a group and those in it. One whose last process has just ended is busy for a moment.
fn remove_group(group: &Path) -> Result<()> {
    let mut last = Ok(());
    let removed = wait_until("control groups to be removed", PATIENCE, || {
        last = group_and_below(group).iter().try_for_each(|group| match std::fs::remove_dir(group) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove the control group {}", group.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        });
        last.is_ok().then_some(())
    });
    last.and(removed.map_err(Into::into))
}

/// Unmounts everything in a directory, the latest mount first.
fn unmount_below(dir: &Path) -> Result<()> {
    for mount in mounts()?.iter().rev().filter(|mount| mount.at.starts_with(dir.join(ENGINE_DIR))) {
        match umount2(&mount.at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot unmount {}", mount.at.display())),
        }
    }
    Ok(())
}

/// A mount: where, and of what kind.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    at: PathBuf,
    kind: String,
}

/// The mounts that this process sees, in the order in which they were made.
fn mounts() -> Result<Vec<Mount>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    Ok(text.lines().filter_map(mount).collect())
}

/// A line of mountinfo (proc(5)): the fifth field is the mount point; the kind is the first one after a lone dash.
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    // The paths of the lab have nothing in them that the kernel would write as an octal number.
    let at = before.split(' ').nth(4)?.into();
    Some(Mount { at, kind: after.split(' ').next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::{Mount, mount};

    #[test]
    fn a_mount_says_where_and_what() {
        let line = "36 35 98:0 /mnt1 /tmp/x/merged rw,noatime master:1 - overlay overlay rw,errors=continue";
        assert_eq!(mount(line), Some(Mount { at: "/tmp/x/merged".into(), kind: "overlay".to_owned() }));
        assert_eq!(mount("36 35 98:0 /mnt1"), None);
    }
}
