//! A set of pinned maps: one folder, a file for each map.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, Map, MapData, MapError, MapInfo};
use lb_common::abi::{Meta, PORT_WORDS, Settings, VERSION, map};
use lb_common::flow_table;

use super::copy;
use super::folder::Folder;
use crate::dataplane::kernel::shape::{SHAPES, Shape};
use crate::dataplane::kernel::{Buckets, Flows, Object};
use crate::dataplane::{Capacity, bucket_room};

/// The folder of the maps that are in use.
pub(super) const MAPS: &str = "maps";
/// The folder of a set that is being made.
pub(super) const NEXT: &str = "next";

/// A set of maps in a folder below the state's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set<'a> {
    folder: &'a Folder,
    name: &'static str,
}

impl<'a> Set<'a> {
    pub(super) fn new(folder: &'a Folder, name: &'static str) -> Self {
        Self { folder, name }
    }

    /// Where a map is, in the folder.
    fn of(&self, map: &str) -> PathBuf {
        PathBuf::from(self.name).join(map)
    }

    /// Where the kernel finds a map.
    pub(super) fn at(&self, map: &str) -> PathBuf {
        self.folder.at(self.of(map))
    }

    /// Where a person finds a map.
    pub(super) fn shown(&self, map: &str) -> String {
        self.folder.shown(self.of(map)).display().to_string()
    }

    /// The names of what is in it.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        self.folder.names(self.name)
    }

    /// Opens a map, typed.
    pub(super) fn open<T: TryFrom<Map, Error = MapError>>(&self, map: &str) -> Result<T> {
        let data = self.data(map)?;
        let typed = Map::from_map_data(data).and_then(T::try_from);
        typed.with_context(|| format!("{} is of another type", self.shown(map)))
    }

    /// Opens a map.
    pub(super) fn data(&self, map: &str) -> Result<MapData> {
        MapData::from_pin(self.at(map)).with_context(|| format!("opening {}", self.shown(map)))
    }

    /// Pins the maps of a new object, `META` last: a set with it is whole.
    pub(super) fn pin(&self, object: &mut Object, meta: Meta) -> Result<()> {
        self.folder.make_below(self.name)?;
        let mut of_all: Array<_, Meta> = object.loaded_mut(map::META)?.try_into().context("META is of another type")?;
        of_all.set(0, meta, 0).with_context(|| format!("writing {}", map::META))?;
        for Shape { name, .. } in SHAPES {
            object.loaded_mut(name)?.pin(self.at(name)).with_context(|| format!("pinning {}", self.shown(name)))?;
        }
        Ok(())
    }

    /// What it says of itself, when it is whole; `None` when it is not there, or half made.
    ///
    /// # Errors
    /// When it is not Weir's, or of another version. Nothing else of it has been looked at then.
    pub(super) fn meta(&self) -> Result<Option<Meta>> {
        if !self.names()?.iter().any(|name| name == map::META) {
            return Ok(None);
        }
        let meta = self.anyones_meta()?;
        ensure!(
            meta.magic == Meta::MAGIC,
            "{}: found a map that begins with {:016x}, expected \"weirmaps\": what is pinned there is not Weir's; see \
             whose it is, and take it away, or name another folder as `state` under [weir]",
            self.shown(map::META),
            meta.magic.to_be()
        );
        ensure!(
            meta.version == VERSION,
            "{}: found maps of version {}, expected {VERSION}: this Weir cannot migrate them. The old program keeps \
             running; `weir detach --state {}` ends it, and the connections that it remembers",
            self.shown(map::META),
            meta.version,
            self.folder.path().display()
        );
        Ok(Some(meta))
    }

    /// `META`, whatever it says. It has the same layout in every version.
    pub(super) fn anyones_meta(&self) -> Result<Meta> {
        let shape = SHAPES[SHAPES.len() - 1];
        self.check(&shape, 1)?;
        let map: Array<MapData, Meta> = self.open(map::META)?;
        map.get(&0, 0).with_context(|| format!("reading {}", self.shown(map::META)))
    }

    /// The table of flows.
    pub(super) fn flows(&self) -> Result<Flows> {
        let meta = self.meta()?.with_context(|| format!("{} is not there", self.shown(map::META)))?;
        Ok(Flows::of(copy::open_mapped(self, map::FLOWS)?, meta.flow_seed))
    }

    /// The buckets of limits.
    pub(super) fn buckets(&self) -> Result<Buckets> {
        let meta = self.meta()?.with_context(|| format!("{} is not there", self.shown(map::META)))?;
        let (services, groups) =
            (copy::open_mapped(self, map::SERVICE_BUCKETS)?, copy::open_mapped(self, map::BUCKETS)?);
        Ok(Buckets::of(services, groups, meta.flow_seed))
    }

    /// What holds for all services.
    pub(super) fn settings(&self) -> Result<Settings> {
        let map: Array<MapData, Settings> = self.open(map::SETTINGS)?;
        map.get(&0, 0).with_context(|| format!("reading {}", self.shown(map::SETTINGS)))
    }

    /// How much it holds.
    ///
    /// # Errors
    /// When one of its maps is missing, or of another shape, or there is another one.
    pub(super) fn capacity(&self, meta: Meta) -> Result<Capacity> {
        let known: BTreeSet<&str> = SHAPES.iter().map(|shape| shape.name).collect();
        if let Some(foreign) = self.names()?.iter().find(|name| !known.contains(name.as_str())) {
            bail!(
                "{}: found what Weir did not pin, expected its {} maps alone: take it away",
                self.shown(foreign),
                SHAPES.len()
            );
        }
        let entries = |name| anyhow::Ok(self.info(name)?.max_entries());
        let slots = entries(map::SLOTS)?;
        ensure!(
            meta.table_size > 0 && slots.is_multiple_of(meta.table_size),
            "{}: found {slots} slots, expected a multiple of {}, the table size in META: what is pinned is damaged, `weir \
             detach --state {}` takes it away",
            self.shown(map::SLOTS),
            meta.table_size,
            self.folder.path().display()
        );
        let stride = self.settings()?.stride;
        let words = entries(map::PORTS)?;
        let pool = stride.saturating_mul(PORT_WORDS);
        ensure!(
            pool > 0 && words.is_multiple_of(pool),
            "{}: found {words} words, expected a multiple of {PORT_WORDS} for each of {stride} addresses, as SETTINGS has it: \
             what is pinned is damaged, `weir detach --state {}` takes it away",
            self.shown(map::PORTS),
            self.folder.path().display()
        );
        let capacity = Capacity {
            services: entries(map::SERVICES)?,
            backends: entries(map::BACKENDS)?,
            table_size: meta.table_size,
            tables: slots / meta.table_size,
            limits: entries(map::LIMITS)?,
            sources: bucket_room(entries(map::BUCKETS)?),
            flows: flow_table::room(entries(map::FLOWS)?),
            replies: entries(map::REPLIES)?,
            devices: entries(map::DEVICES)?,
            addresses: entries(map::ADDRESSES)?,
            snat_flows: entries(map::SNATS)?,
            snat_pools: words / pool,
            snat_stride: stride,
            fragments: entries(map::FRAGMENTS)?,
            quic_servers: entries(map::QUIC_SERVERS)?,
            paths: entries(map::PATHS)?,
        };
        SHAPES.iter().try_for_each(|shape| self.check(shape, (shape.entries)(capacity)))?;
        Ok(capacity)
    }

    /// The ids of its maps.
    pub(super) fn ids(&self) -> Result<BTreeSet<u32>> {
        self.names()?.iter().map(|name| Ok(self.info(name)?.id())).collect()
    }

    fn info(&self, map: &str) -> Result<MapInfo> {
        MapInfo::from_pin(self.at(map)).with_context(|| format!("opening {}", self.shown(map)))
    }

    fn check(&self, shape: &Shape, entries: u32) -> Result<()> {
        let info = self.info(shape.name)?;
        let found = (info.map_type().ok(), info.key_size() as usize, info.value_size() as usize, info.map_flags());
        let expected = (Some(shape.kind), shape.key, shape.value, shape.flags);
        ensure!(
            found == expected && info.max_entries() == entries,
            "{}: found {}, expected {}: what is pinned there is not Weir's, or damaged; see whose it is, and take it \
             away, or name another folder as `state` under [weir]",
            self.shown(shape.name),
            describe(found, info.max_entries()),
            describe(expected, entries)
        );
        Ok(())
    }

    /// Takes away all of it, `META` first: what is left of it then is no set. Says how many maps it were.
    pub(super) fn sweep(&self) -> Result<usize> {
        let mut names = self.names()?;
        names.sort_by_key(|name| name != map::META);
        names.iter().try_for_each(|name| self.folder.remove_pin(self.of(name)))?;
        self.folder.remove_below(self.name)?;
        Ok(names.len())
    }
}

/// A map for a person.
fn describe((kind, key, value, flags): (Option<aya::maps::MapType>, usize, usize, u32), entries: u32) -> String {
    let kind = kind.map_or_else(|| "something".to_owned(), |kind| format!("{kind:?}"));
    format!("{kind} of {entries} entries, {key} to {value} bytes, flags {flags:#x}")
}
