//! Taking everything off that is pinned, with or without the controller that pinned it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::maps::MapInfo;
use aya::programs::links::{FdLink, LinkType, PinnedLink};
use lb_common::abi::{Meta, VERSION, map};

use super::folder::Folder;
use super::link::{LINKS, LinkName};
use super::lock::Lock;
use super::set::{MAPS, NEXT, Set};
use super::{Gone, NEW};
use crate::dataplane::kernel::fdinfo;
use crate::dataplane::kernel::shape::SHAPES;

/// How the names of Weir's programs begin, in every version.
const OWN_PROGRAMS: &str = "weir_";

/// Takes everything off that is pinned in a state folder, of whatever version: links first, then maps, then the folder.
/// Returns what it took away, in words, and what it left because it is not Weir's. Nothing pinned is no error.
///
/// # Errors
/// When a process has the folder, which is named: that one is to be asked. When it is not on a BPF file system, or not
/// this user's. When something cannot be taken away; what comes after it is still there.
pub fn detach(path: &Path) -> Result<Vec<String>> {
    // On a host without a BPF file system nothing is pinned.
    if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(vec![]);
    }
    let Some(folder) = Folder::open(path)? else { return Ok(vec![]) };
    let _lock = Lock::take(&folder)?;
    everything(&folder)
}

/// [`detach`], for whoever has the lock.
pub(super) fn everything(folder: &Folder) -> Result<Vec<String>> {
    let mut said = links(folder)?;
    let mut left = Vec::new();
    for set in [MAPS, NEXT] {
        said.extend(maps(folder, set, &mut left)?);
    }
    for program in folder.names(NEW)? {
        folder.remove_pin(Path::new(NEW).join(program))?;
    }
    for name in folder.names("")?.iter().filter(|name| ![LINKS, MAPS, NEXT, NEW].contains(&name.as_str())) {
        left.push(folder.shown(name));
    }
    for name in folder.names(LINKS)? {
        left.push(folder.shown(LINKS).join(name));
    }
    for name in [LINKS, MAPS, NEXT, NEW] {
        folder.remove_below(name)?;
    }
    if folder.remove()? {
        said.push(format!("the folder {}", folder.path().display()));
    }
    said.extend(left.iter().map(|path| format!("left {}, which is not Weir's", path.display())));
    Ok(said)
}

/// Takes the programs off. Waits until they are.
fn links(folder: &Folder) -> Result<Vec<String>> {
    let mut said = Vec::new();
    let mut gone = Vec::new();
    for name in folder.names(LINKS)? {
        let path = PathBuf::from(LINKS).join(&name);
        let Some(link) = own_link(&folder.at(&path), &name) else { continue };
        folder.remove_pin(&path)?;
        gone.push(link);
        let ifindex = link.ifindex;
        said.push(match name.parse::<LinkName>() {
            _ if ifindex == 0 => format!("{name}, whose device is gone"),
            Ok(name) => format!("{name}, the program on the device with index {}", name.ifindex),
            Err(()) => format!("{name}, a program on the device with index {ifindex}"),
        });
    }
    super::await_gone(&gone);
    Ok(said)
}

/// A pinned link of one of Weir's programs: known by its name in the folder, or, of another version, by its program's.
fn own_link(path: &Path, name: &str) -> Option<Gone> {
    let link: FdLink = PinnedLink::from_pin(path).ok()?.into();
    let info = link.info().ok()?;
    if !matches!(info.link_type(), Ok(LinkType::Xdp | LinkType::Tcx)) {
        return None;
    }
    let gone = Gone { link: info.id(), program: info.program_id(), ifindex: fdinfo::own_link(info.id())?.ifindex };
    let is_own = || {
        let mut programs = aya::programs::loaded_programs().filter_map(Result::ok);
        let program = programs.find(|program| program.id() == info.program_id())?;
        Some(program.name_as_str()?.starts_with(OWN_PROGRAMS))
    };
    (name.parse::<LinkName>().is_ok() || is_own() == Some(true)).then_some(gone)
}

/// Takes away the maps of one set that are Weir's.
fn maps(folder: &Folder, name: &'static str, left: &mut Vec<PathBuf>) -> Result<Option<String>> {
    let set = Set::new(folder, name);
    let mut names = set.names()?;
    let has_meta = names.iter().any(|name| name == map::META);
    let meta = has_meta.then(|| set.anyones_meta().ok().filter(|meta| meta.magic == Meta::MAGIC)).flatten();
    let own = |name: &String| match meta {
        // Of another version the names are not known; but whatever is pinned beside its META came with it.
        Some(meta) if meta.version != VERSION => MapInfo::from_pin(set.at(name)).is_ok(),
        // A META that is not Weir's: nor is the rest.
        None if has_meta => false,
        Some(_) | None => SHAPES.iter().any(|shape| shape.name == *name) && MapInfo::from_pin(set.at(name)).is_ok(),
    };
    // META first: what is left then is no set any more.
    names.sort_by_key(|name| name != map::META);
    let mut count = 0;
    for map in &names {
        let path = PathBuf::from(name).join(map);
        if own(map) {
            folder.remove_pin(&path).context("taking the maps away")?;
            count += 1;
        } else {
            left.push(folder.shown(path));
        }
    }
    Ok((count > 0).then(|| match meta {
        Some(meta) => format!("{count} maps of version {}", meta.version),
        None => format!("{count} maps of a set that was not whole"),
    }))
}
