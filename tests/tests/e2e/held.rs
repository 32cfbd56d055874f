//! What a process holds in the kernel's BPF, by the ids that are the kernel's own: exact, whoever else uses BPF on
//! this machine.

use std::collections::BTreeSet;

use aya::maps::loaded_maps;
use aya::programs::{loaded_links, loaded_programs};
use nix::unistd::Pid;
use weir_tests::lab::wait_until;

use crate::stand::SOON;

/// Ids of programs, maps and links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) programs: BTreeSet<u32>,
    pub(crate) maps: BTreeSet<u32>,
    pub(crate) links: BTreeSet<u32>,
}

impl Held {
    /// What a process has file descriptors of (proc_pid_fdinfo(5)).
    pub(crate) fn by(pid: Pid) -> Self {
        let mut held = Self::default();
        for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
            // A descriptor may be closed meanwhile.
            let Ok(info) = std::fs::read_to_string(entry.unwrap().path()) else { continue };
            let id = |key: &str| -> Option<u32> {
                let value = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
                value.map(|value| value.trim().parse().unwrap())
            };
            // A link's has its program's id too.
            match id("link_id") {
                Some(link) => held.links.extend([link]),
                None => held.programs.extend(id("prog_id")),
            }
            held.maps.extend(id("map_id"));
        }
        held
    }

    /// What of it is still there.
    pub(crate) fn left(&self) -> Self {
        let left = |ids: &BTreeSet<u32>, now: Vec<u32>| now.into_iter().filter(|id| ids.contains(id)).collect();
        // One that goes while the list is read is gone.
        Self {
            programs: left(&self.programs, loaded_programs().flatten().map(|info| info.id()).collect()),
            maps: left(&self.maps, loaded_maps().flatten().map(|info| info.id()).collect()),
            links: left(&self.links, loaded_links().flatten().map(|info| info.id()).collect()),
        }
    }

    /// Waits until nothing of it is there: the kernel frees after a grace period.
    pub(crate) fn await_gone(&self) {
        let gone =
            wait_until("programs, maps and links to go", SOON, || (self.left() == Self::default()).then_some(()));
        gone.unwrap_or_else(|error| panic!("{error}: {:?}", self.left()));
    }
}
