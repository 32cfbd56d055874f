//! A look at what is pinned, for who only wants to know. Changes nothing, and needs no lock.

use std::path::Path;

use super::folder::Folder;
use super::link::LINKS;
use super::lock;
use super::set::{MAPS, Set};
use crate::dataplane::kernel::shape::SHAPES;
use lb_common::abi::{Meta, map};

/// What is pinned in a state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing can be pinned there, or what is there is not to be trusted: why, and what to do.
    Refused(String),
    /// Nothing.
    Nothing,
    /// Maps of Weir's, and programs on devices.
    Pinned {
        /// The version of the maps' ABI.
        version: u32,
        /// How many maps.
        maps: usize,
        /// How many programs on devices.
        links: usize,
        /// The process that works with them.
        holder: Option<u32>,
    },
}

/// Looks at a state folder.
pub fn look(path: &Path) -> Found {
    read(path).unwrap_or_else(|error| Found::Refused(format!("{error:#}")))
}

fn read(path: &Path) -> anyhow::Result<Found> {
    let Some(folder) = Folder::open(path)? else { return Ok(Found::Nothing) };
    let set = Set::new(&folder, MAPS);
    let names = set.names()?;
    let links = folder.names(LINKS)?.len();
    if names.is_empty() && links == 0 {
        return Ok(Found::Nothing);
    }
    let meta = if names.iter().any(|name| name == map::META) { Some(set.anyones_meta()?) } else { None };
    match meta {
        Some(meta) if meta.magic == Meta::MAGIC => {
            Ok(Found::Pinned { version: meta.version, maps: names.len(), links, holder: lock::holder(&folder) })
        }
        // Says what is foreign about it.
        Some(_) => set.meta().map(|_| Found::Nothing),
        None => anyhow::bail!(
            "{}: found {} of {} maps and {links} programs on devices, expected all or none: the next `weir run` makes \
             them anew where no program is on a device; `weir detach --state {}` takes them away",
            path.display(),
            names.len(),
            SHAPES.len(),
            path.display()
        ),
    }
}
