//! The object file: embedded, sized, loaded.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::fd::BorrowedFd;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::{PathMtu, Settings, Slot, constant, map, program};
use lb_common::bucket_table::{self, BucketHash};
use lb_common::flow_table::{self, FlowHash};
use lb_common::{Address, fair};
use nix::sys::signal::{SigSet, SigmaskHow};

use super::pins::Pins;
use super::shape::{SHAPES, Shape};
use super::{Capacity, index};
use crate::memory;

/// The toolchain that compiled the object.
pub const TOOLCHAIN: &str = env!("WEIR_BPF_TOOLCHAIN");

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-bpf"));

/// How many flows a census notes at most: a sample large enough for a percent.
const CENSUS: u32 = 16_384;

/// The programs and maps, in the kernel. Gone when this is dropped, unless something else holds them.
#[derive(Debug)]
pub struct Object {
    ebpf: Ebpf,
    flow_seed: u64,
}

impl Object {
    /// Makes the maps and has the verifier check the programs.
    pub fn load(capacity: Capacity, trace: bool) -> Result<Self> {
        Self::make(capacity, trace, None, false)
    }

    /// The same for maps into which those that are pinned, and hold more or less, will be copied.
    pub(super) fn load_for(pins: &Pins, capacity: Capacity, trace: bool) -> Result<Self> {
        Self::make(capacity, trace, None, has_told_paths(pins))
    }

    /// Has the verifier check the programs with maps that are pinned, which hold this much.
    pub(super) fn adopt(capacity: Capacity, trace: bool, pins: &Pins) -> Result<Self> {
        Self::make(capacity, trace, Some(pins), has_told_paths(pins))
    }

    fn make(capacity: Capacity, trace: bool, pins: Option<&Pins>, told: bool) -> Result<Self> {
        // A table that is there keeps its seed: it says where flows are.
        let flow_seed = pins.and_then(Pins::found).map_or_else(unknown, |(meta, _)| meta.flow_seed);
        ensure!(
            capacity.tables.checked_mul(capacity.table_size).is_some(),
            "{}, more than a map can hold: lower `table_size` under [weir]",
            of_slots(capacity)
        );
        let trace = u8::from(trace);
        let mut loader = EbpfLoader::new();
        for Shape { name, entries, .. } in SHAPES {
            // Also for one that is pinned: aya checks indices by what it is told here.
            loader.map_max_entries(in_object(name), entries(capacity));
            if let Some(pins) = pins {
                loader.map_pin_path(in_object(name), pins.map(name));
            }
        }
        loader.map_max_entries(map::CENSUS, CENSUS);
        loader.map_max_entries(map::SKETCH, fair::ROWS * fair::COLUMNS);
        let bits = [lb_common::index::place_bits(capacity.services), index::known_bits(capacity)];
        let flow_hash = FlowHash::new(flow_table::groups(capacity.flows), flow_seed).to_words();
        loader.override_global(constant::FLOW_HASH, &flow_hash, true);
        let bucket_hash = BucketHash::new(bucket_table::groups(capacity.sources), flow_seed).to_words();
        loader.override_global(constant::BUCKET_HASH, &bucket_hash, true);
        loader.override_global(constant::TRACE, &trace, true);
        loader.override_global(constant::PLACE_BITS, &bits[0], true);
        loader.override_global(constant::KNOWN_BITS, &bits[1], true);
        let (told, settings) = (u32::from(told), settings(pins, capacity)?);
        // What the object file has in a section is written into its map, also into one that is pinned.
        loader.override_global(map::SETTINGS, &settings, true);
        loader.override_global(constant::PATHS_TOLD, &told, true);
        let mut ebpf = loader.load(OBJECT).with_context(|| {
            format!(
                "making the maps in the kernel ({}; `table_size`, `max_services`, `max_flows`, `max_sources` and \
                 `max_backends` under [weir] make them smaller)",
                of_slots(capacity)
            )
        })?;
        let _undisturbed = Undisturbed::new()?;
        xdp(&mut ebpf)?.load().context("loading the XDP program")?;
        egress(&mut ebpf)?.load().context("loading the tc program")?;
        memory::give_back_text(OBJECT);
        Ok(Self { ebpf, flow_seed })
    }

    /// What the hash of the flow table starts from.
    pub const fn flow_seed(&self) -> u64 {
        self.flow_seed
    }

    /// The XDP program.
    pub fn xdp(&mut self) -> Result<&mut Xdp> {
        xdp(&mut self.ebpf)
    }

    /// The tc program for egress.
    pub fn egress(&mut self) -> Result<&mut SchedClassifier> {
        egress(&mut self.ebpf)
    }

    /// The tc program for ingress, which the kernel gets when it is asked for first.
    pub fn ingress(&mut self) -> Result<&mut SchedClassifier> {
        let program = self.ebpf.program_mut(program::INGRESS).context("the object has no tc program for ingress")?;
        let program: &mut SchedClassifier = program.try_into().context("the tc program is of another type")?;
        if program.fd().is_err() {
            let _undisturbed = Undisturbed::new()?;
            program.load().context("loading the tc program for ingress")?;
        }
        Ok(program)
    }

    /// All of it, for whoever follows the log of the programs.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Takes a map out, typed.
    pub fn map<T>(&mut self, name: &str) -> Result<T>
    where
        T: TryFrom<Map, Error = aya::maps::MapError>,
    {
        let map = self.ebpf.take_map(in_object(name)).with_context(|| format!("the object has no map {name}"))?;
        T::try_from(map).with_context(|| format!("the map {name} is of another type"))
    }

    /// Has the programs ask what was told of paths, if anything was: those that they have replaced may have heard it after
    /// these were loaded.
    pub(super) fn note_told_paths(&mut self, pins: &Pins) -> Result<()> {
        if has_told_paths(pins) {
            let mut told: Array<_, u32> = self.loaded_mut(map::PATHS_SECTION)?.try_into()?;
            told.set(0, 1, 0).with_context(|| format!("writing {}", map::PATHS_SECTION))?;
        }
        Ok(())
    }

    /// A map that nobody has taken out yet.
    pub(super) fn loaded_mut(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf.map_mut(in_object(name)).with_context(|| format!("the object has no map {name}"))
    }

    /// The file descriptor of an array.
    pub fn array_fd(&self, name: &str) -> Result<BorrowedFd<'_>> {
        use std::os::fd::AsFd as _;
        match self.ebpf.map(in_object(name)).with_context(|| format!("the object has no map {name}"))? {
            Map::Array(data) => Ok(data.fd().as_fd()),
            other => bail!("the map {name} is no array but {other:?}"),
        }
    }
}

/// The settings that programs begin with: those that are pinned. New ones say how the pools of ports lie: a set of maps is not
/// understood without it.
fn settings(pins: Option<&Pins>, capacity: Capacity) -> Result<Settings> {
    let Some(pins) = pins else { return Ok(Settings { stride: capacity.snat_stride, ..Settings::default() }) };
    pins.settings()
}

/// Whether anything was told of paths to programs that ran with these maps. When that cannot be read, the programs look. What is
/// told until the links have the new programs is heard when it is told again.
fn has_told_paths(pins: &Pins) -> bool {
    let data = MapData::from_pin(pins.map(map::PATHS)).map(Map::HashMap);
    let Some(paths) = data.ok().and_then(|map| HashMap::<_, Address, PathMtu>::try_from(map).ok()) else { return true };
    paths.iter().any(|path| path.map_or(true, |(_, path)| path.mtu != 0))
}

/// What the object file calls a map.
fn in_object(name: &str) -> &str {
    if name == map::SETTINGS { map::SETTINGS_SECTION } else { name }
}

/// A number that nobody knows, as the standard library has them for its own hashes.
fn unknown() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// How large the largest map is, for a person.
fn of_slots(capacity: Capacity) -> String {
    let slots = u64::from(capacity.tables) * u64::from(capacity.table_size);
    let mib = (slots * size_of::<Slot>() as u64).div_ceil(1 << 20);
    format!("{} tables of {} slots are {mib} MiB", capacity.tables, capacity.table_size)
}

/// While it lives signals go to the other threads of this process. The verifier gives up when one comes (EAGAIN),
/// and aya then has it start again with its whole log, which takes ten times as long.
pub(crate) struct Undisturbed {
    before: SigSet,
}

impl Undisturbed {
    pub(crate) fn new() -> Result<Self> {
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).context("blocking signals")?;
        Ok(Self { before })
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        if let Err(error) = self.before.thread_set_mask() {
            tracing::warn!(%error, "a thread goes on without signals; others take them");
        }
    }
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let program = ebpf.program_mut(program::XDP).context("the object has no XDP program")?;
    program.try_into().context("the XDP program is of another type")
}

fn egress(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier> {
    let program = ebpf.program_mut(program::EGRESS).context("the object has no tc program")?;
    program.try_into().context("the tc program is of another type")
}
