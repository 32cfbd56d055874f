//! Everything is pinned, so that it outlives this process: the next one adopts it.
//!
//! ```text
//! STATE/                   this user's alone, locked by who runs
//!   maps/NAME              the maps that are in use; META says what they are, and is pinned last
//!   next/NAME              a set that is being made; at rest there is none
//!   new/xdp, new/egress…   the programs that were loaded to work with it; at rest there are none
//!   links/xdp_native_7     the XDP program on the device with index 7, in native mode
//!   links/egress_7         the tc program there
//!   links/ingress_9        the tc program on a bridge's port
//! ```
//!
//! **The first start** makes `next`, and moves it to `maps` when it is whole. Then it attaches, and pins each link at
//! once: what a crash finds attached and not yet pinned goes with the process.
//!
//! **A start that finds maps of the right size** loads its programs on them and has every link run the new program: one
//! store in the kernel a link (`BPF_LINK_UPDATE`), without a packet in between that nobody looks at.
//!
//! **A start that wants maps of other sizes** fills a new set before anybody uses it. Its steps, and what the next start
//! makes of a crash after each:
//!
//! | step | `maps` | `next` | links run on | the next start |
//! |---|---|---|---|---|
//! | pin the new maps | old | whole at last | old | sweeps `next` |
//! | copy | old | filled | old | sweeps `next` |
//! | attach, update the links | old | filled | old, then new | sees a link on `next`: catches up and swaps |
//! | catch up | old | up to date | new | the same |
//! | swap (`RENAME_EXCHANGE`, one step) | new | old | new | sweeps `next` |
//! | sweep | new | half gone | new | sweeps `next` |
//!
//! So `maps` is a whole set at every moment after the first start, and whether `next` was begun to be used is read from
//! what the links run, not from notes that a crash could leave wrong: they run a program of `new`, and its maps are those
//! in `next`. (The new programs are pinned for this alone: whoever has no CAP_SYS_ADMIN can ask the kernel about programs
//! that it can open, not about those that links name by their ids.) Catching up is done again as often as it takes: it
//! inserts what is absent and keeps the later of two times.
//!
//! What programs count between the copy and the update of a link is lost to the counters.

mod copy;
mod detach;
mod filesystem;
mod folder;
mod found;
mod gone;
mod in_use;
mod link;
mod lock;
mod repair;
mod set;
mod snat;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::programs::links::FdLink;
use lb_common::abi::{Meta, Settings};
use nix::fcntl::{RenameFlags, renameat2};

pub use detach::detach;
pub use found::{Found, look};
pub(super) use gone::{Gone, await_gone};
pub(super) use in_use::InUse;
pub(super) use link::{Hook, LinkName, PinnedProgram};

use super::Object;
use crate::dataplane::Capacity;
use folder::Folder;
use lock::Lock;
use set::{MAPS, NEXT, Set};

/// The folder of the programs that were loaded for [`NEXT`].
const NEW: &str = "new";

/// How often the folder is opened anew, because somebody took it away at the same time.
const TRIES: usize = 8;

/// The state's folder, this process's alone.
///
/// Until [`Self::settle`] it is dropped as it was found: what this process made goes away with it.
#[derive(Debug)]
pub struct Pins {
    // Before the folder, so that whoever waits for the lock finds it.
    _lock: Lock,
    folder: Folder,
    found: Option<(Meta, Capacity)>,
    settled: bool,
}

impl Pins {
    /// Opens the folder, locks it, and puts in order what a crash left. A folder that is not there is made.
    ///
    /// # Errors
    /// Says what was found, what was expected and what to do: no BPF file system, somebody else's folder, another
    /// process that has it, maps of another version, maps that are not Weir's. Nothing has been touched then.
    pub fn open(path: &Path) -> Result<Self> {
        for _ in 0..TRIES {
            let folder = Folder::make(path)?;
            let lock = Lock::take(&folder)?;
            // Whoever had the lock before may have taken the folder away at its end.
            if folder.is_at_its_path() {
                let mut pins = Self { _lock: lock, folder, found: None, settled: false };
                pins.found = match pins.repair() {
                    Ok(found) => found,
                    Err(error) => {
                        pins.settled = true;
                        return Err(error);
                    }
                };
                return Ok(pins);
            }
        }
        bail!("{}: found it taken away again and again by another process: start Weir once more", path.display())
    }

    /// What was pinned when it was opened: what it says of itself, and how much it holds.
    pub fn found(&self) -> Option<(Meta, Capacity)> {
        self.found
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn maps(&self) -> Set<'_> {
        Set::new(&self.folder, MAPS)
    }

    /// What holds for all services, in the maps that are pinned.
    pub(super) fn settings(&self) -> Result<Settings> {
        self.maps().settings()
    }

    fn next(&self) -> Set<'_> {
        Set::new(&self.folder, NEXT)
    }

    /// Where the kernel finds a map that is in use.
    pub(super) fn map(&self, name: &str) -> std::path::PathBuf {
        self.maps().at(name)
    }

    /// How much of the maps is in use.
    pub(super) fn in_use(&self) -> Result<InUse> {
        InUse::of(&self.maps())
    }

    /// The ids of the maps in use.
    #[cfg(test)]
    pub(super) fn ids_in_use(&self) -> Result<std::collections::BTreeSet<u32>> {
        self.maps().ids()
    }

    /// The pinned links.
    ///
    /// # Errors
    /// When there is something else among them.
    pub(super) fn links(&self) -> Result<Vec<PinnedProgram>> {
        let mut links = Vec::new();
        for name in self.folder.names(link::LINKS)? {
            let Ok(parsed) = name.parse() else {
                bail!(
                    "{}: found what Weir did not pin, expected names like \"xdp_native_7\": take it away",
                    self.folder.shown(link::LINKS).join(name).display()
                );
            };
            links.push(PinnedProgram::open(&self.folder, parsed)?);
        }
        Ok(links)
    }

    /// Pins a link that was just made.
    pub(super) fn pin(&self, name: LinkName, link: FdLink) -> Result<PinnedProgram> {
        PinnedProgram::pin(&self.folder, name, link)
    }

    /// Takes a program off its device. Whether the kernel has already done so, [`gone`] tells.
    pub(super) fn unpin(&self, name: LinkName) -> Result<()> {
        self.folder.remove_pin(link::path_of(name))
    }

    /// Pins the maps of a new object.
    pub(super) fn pin_next(&self, object: &mut Object, meta: Meta) -> Result<()> {
        self.next().pin(object, meta)
    }

    /// Pins its programs, so that a link which runs one of them is known for what it is; the one for ingress when there are
    /// links of it.
    pub(super) fn pin_new(&self, object: &mut Object, ingress: bool) -> Result<()> {
        self.folder.make_below(NEW)?;
        let at = |name: &str| self.folder.at(NEW).join(name);
        object.xdp()?.pin(at("xdp")).context("pinning the new XDP program")?;
        object.egress()?.pin(at("egress")).context("pinning the new tc program")?;
        if ingress {
            object.ingress()?.pin(at("ingress")).context("pinning the new tc program for ingress")?;
        }
        Ok(())
    }

    /// The first set of maps is whole.
    pub(super) fn place_next(&self) -> Result<()> {
        let place = std::fs::rename(self.folder.at(NEXT), self.folder.at(MAPS));
        place.with_context(|| format!("moving {} to {MAPS}", self.folder.shown(NEXT).display()))
    }

    /// Fills the new set from the one in use.
    pub(super) fn copy(&self) -> Result<()> {
        copy::all(&self.maps(), &self.next()).context("copying the maps into larger or smaller ones")
    }

    /// Takes over into the new set what came into the old one since it was copied.
    pub(super) fn catch_up(&self) -> Result<()> {
        copy::since(&self.maps(), &self.next()).context("copying what came into the maps meanwhile")
    }

    /// From now on the new set is the one in use.
    pub(super) fn swap(&self) -> Result<()> {
        let dir = self.folder.dir();
        renameat2(dir, NEXT, dir, MAPS, RenameFlags::RENAME_EXCHANGE)
            .with_context(|| format!("swapping {MAPS} and {NEXT} in {}", self.path().display()))
    }

    /// Takes away the set that is not in use.
    pub(super) fn sweep_next(&self) -> Result<()> {
        self.next().sweep()?;
        for name in self.folder.names(NEW)? {
            self.folder.remove_pin(Path::new(NEW).join(name))?;
        }
        self.folder.remove_below(NEW).map(drop)
    }

    /// What is here from now on stays, until [`Self::remove`].
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }

    /// Takes away everything: links, maps, the folder, in this order. Returns what it was, in words.
    ///
    /// # Errors
    /// Says what could not be taken away; what comes after it is still there.
    pub fn remove(mut self) -> Result<Vec<String>> {
        self.settled = true;
        detach::everything(&self.folder)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let undone = if self.found.is_some() { self.sweep_next() } else { detach::everything(&self.folder).map(drop) };
        if let Err(error) = undone {
            tracing::warn!(error = format!("{error:#}"), "not everything that was pinned could be taken away");
        }
    }
}
