//! `weir run` with a file registry of many services, and the maps it keeps, seen from outside.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, Map, MapData};
use lb_common::abi::{Service, map};
use weir_tests::lab::{BACK, FRONT, Lab, WeirProcess, weir_binary};

use super::world::{REGISTRY, World};

/// How long the kernel may take to have what a registry said.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the kernel's maps are looked at.
const LOOK: Duration = Duration::from_micros(20);
/// Where the registry is; a symbolic link to a directory with files, or to one without any.
const AT: &str = "services.d";

/// `weir run` on Weir's host, where every backend is behind one router.
pub(super) struct Running {
    world: World,
    // Before the lab, so that it ends first.
    process: WeirProcess,
    lab: Lab,
    heads: Array<MapData, Service>,
}

impl Running {
    /// Starts it on a registry without any service.
    pub(super) fn start(world: World) -> Result<Self> {
        let lab = Lab::builder().clients(1).backends(1).build()?;
        let router = lab.backends[0].v4;
        lab.weir.ip(&format!("route add 10.64.0.0/10 via {router} dev {BACK}"))?;
        for (directory, filled) in [("empty", false), ("full", true)] {
            std::fs::create_dir(lab.dir().join(directory))?;
            for service in (0..world.services).filter(|_| filled) {
                std::fs::write(path(&lab, directory, service), world.file(service, 0))?;
            }
        }
        symlink("empty", lab.dir().join(AT))?;
        let head = format!(
            "interface = [{{ name = \"{FRONT}\" }}, {{ name = \"{BACK}\" }}]\nregistry.{REGISTRY} = {{ path = \"{AT}\" }}"
        );
        let weir = format!("socket = \"{}\"\nstate = \"{}\"", lab.socket().display(), lab.state().display());
        let process = WeirProcess::start(&lab, &weir_binary(), &world.config(&head, &weir))?;
        let pinned = MapData::from_pin(lab.state().join("maps").join(map::SERVICES))?;
        let heads = Array::try_from(Map::Array(pinned))?;
        Ok(Self { world, process, lab, heads })
    }

    /// Fills the registry by one rename, and waits until the kernel has a table for every service. Says how long that
    /// took, in milliseconds.
    pub(super) fn fill(&self) -> Result<f64> {
        let link = self.lab.dir().join("services.next");
        symlink("full", &link)?;
        let began = Instant::now();
        std::fs::rename(&link, self.lab.dir().join(AT))?;
        for id in 0..self.world.services {
            self.await_head(id, began, |head| head.table != 0)?;
        }
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    /// Renames another file of a service into place, with so many backends `more`, and waits until the kernel has its new
    /// table. Says how long that took, in milliseconds.
    pub(super) fn change(&self, service: u32, more: u32) -> Result<f64> {
        let staged = self.lab.dir().join("staged.toml");
        std::fs::write(&staged, self.world.file(service, more))?;
        let (id, before) = self.head(service)?;
        let began = Instant::now();
        std::fs::rename(&staged, path(&self.lab, "full", service))?;
        self.await_head(id, began, |head| head.table != before.table)?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    /// The process's id.
    pub(super) fn pid(&self) -> i32 {
        self.process.pid().as_raw()
    }

    fn head(&self, service: u32) -> Result<(u32, Service)> {
        let address = self.world.vip(service).into();
        for id in 0..self.heads.len() {
            let head = self.heads.get(&id, 0)?;
            if head.vip.address == address {
                return Ok((id, head));
            }
        }
        bail!("the kernel has no service {service}")
    }

    fn await_head(&self, id: u32, began: Instant, is: impl Fn(&Service) -> bool) -> Result<()> {
        while !is(&self.heads.get(&id, 0)?) {
            ensure!(began.elapsed() < PATIENCE, "the kernel does not get it; the log:\n{}", self.process.log());
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

fn path(lab: &Lab, directory: &str, service: u32) -> PathBuf {
    lab.dir().join(directory).join(Path::new(&World::name(service)).with_extension("toml"))
}

/// What a process has in memory, in bytes, without the kernel's maps that lie in its address space; and those maps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Resident, of its own and of files.
    pub(super) resident: u64,
    /// What the kernel accounts for all maps that the process holds.
    pub(super) maps: u64,
}

impl Memory {
    /// Of a process, by its id.
    pub(super) fn of(pid: i32) -> Result<Self> {
        let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).context("reading /proc/PID/smaps")?;
        let (mut resident, mut is_map) = (0, false);
        for line in smaps.lines() {
            match line.split_once(':') {
                Some(("Rss", kib)) if !is_map => resident += number(kib)? << 10,
                // A mapping begins with its addresses, and ends with what is mapped.
                Some((key, _)) if key.contains('-') && key.starts_with(|c: char| c.is_ascii_hexdigit()) => {
                    is_map = line.ends_with("bpf-map");
                }
                _ => {}
            }
        }
        Ok(Self { resident, maps: maps(pid)? })
    }
}

/// What the kernel accounts for the maps that a process has open, each once (`memlock` of proc_pid_fdinfo(5)).
fn maps(pid: i32) -> Result<u64> {
    let mut by_id = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed meanwhile.
        let Ok(text) = std::fs::read_to_string(entry?.path()) else { continue };
        let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        if let (Some(id), Some(bytes)) = (field("map_id"), field("memlock")) {
            by_id.insert(number(id)?, number(bytes)?);
        }
    }
    ensure!(!by_id.is_empty(), "process {pid} has no maps");
    Ok(by_id.into_values().sum())
}

/// The number that a field begins with.
fn number(text: &str) -> Result<u64> {
    let digits = text.split_whitespace().next().with_context(|| format!("no number in {text:?}"))?;
    digits.parse().with_context(|| format!("no number: {digits:?}"))
}
