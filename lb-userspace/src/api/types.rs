//! What the control socket says, in JSON. Fields may join; none is renamed or changes its unit.

use serde::{Deserialize, Serialize};

pub use super::changes::{
    Change, DrainOrder, DrainRow, DrainsOf, MAX_DEADLINE_S, Moving, PlanBackend, PlanFile, PlanQuestion, PlanReport,
    PlannedBackend, PlannedService, ReloadOrder, Then, WeightOrder, Which,
};

pub use super::ledger::{Carried, Ledger};
pub use super::limits::{LimitOrder, LimitRow, LimitsOf, MAX_TOP, MAX_TOP_S, TopOf, TopRow};

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Weir's version.
    pub version: String,
    /// The controller's process id.
    pub pid: u32,
    /// Whether every registry has reported and the data plane holds what they said.
    pub ready: bool,
    /// How many times the data plane was changed.
    pub generation: u64,
    /// Seconds since the controller started.
    pub uptime_s: u64,
    /// What it is attached to.
    pub interfaces: Vec<InterfaceRow>,
    /// Where backends are known.
    pub registries: Vec<RegistryRow>,
    /// How many services there are.
    pub services: usize,
    /// How many backends they have together.
    pub backends: usize,
    /// What is not as it should be, one line each.
    pub problems: Vec<String>,
    /// The toolchain that compiled the programs.
    pub bpf_toolchain: String,
    /// What is being handed over from one backend to another.
    #[serde(default)]
    pub moving: Moving,
    /// The last change of the tables; none since the start if null.
    #[serde(default)]
    pub last_change: Option<Change>,
    /// What SIGTERM leaves behind: `detach` or `keep`.
    #[serde(default)]
    pub on_exit: String,
    /// The folder in which programs and maps are pinned.
    #[serde(default)]
    pub state: String,
    /// The version of the maps' layout.
    #[serde(default)]
    pub abi: u32,
    /// Whether this run found programs and maps of an earlier one, and went on with them.
    #[serde(default)]
    pub adopted: bool,
}

/// A device in [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceRow {
    /// Its name.
    pub name: String,
    /// `native`, `skb`, `absent` when there is no such device at the moment, or `failed`.
    pub mode: String,
    /// Packets that it received since Weir was attached; null when that is not known, as after an earlier run's.
    #[serde(default)]
    pub received: Option<u64>,
}

/// A registry in [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRow {
    /// Its name in the configuration.
    pub name: String,
    /// What it is and where.
    pub source: String,
    /// `waiting` for a first answer, `ok`, or `failing`.
    pub state: String,
    /// Why it fails.
    pub problem: Option<String>,
    /// Seconds since its last good answer.
    pub last_good_s: Option<u64>,
}

/// One of `GET /v1/services`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// Where clients connect: `192.0.2.10:80/tcp`.
    pub vip: String,
    /// How packets reach its backends.
    pub forward: String,
    /// The registry that knows its backends.
    pub registry: String,
    /// How many backends it has.
    pub backends: usize,
    /// Packets towards backends.
    pub packets: u64,
    /// Bytes of layer 3 towards backends.
    pub bytes: u64,
    /// Packets of replies.
    pub reply_packets: u64,
    /// Bytes of layer 3 of replies.
    pub reply_bytes: u64,
    /// What is not as it should be.
    pub problems: Vec<String>,
}

/// One of `GET /v1/backends`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRow {
    /// The service it serves.
    pub service: String,
    /// The registry's identity of it.
    pub id: String,
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Its share of new flows, relative to the others'.
    pub weight: u16,
    /// The failure domain it is in, when known.
    pub zone: Option<String>,
    /// Slots of the service's table that it holds.
    pub slots: u32,
    /// `active`; `ramping`: on the way to its share; `draining`; `drained`: no flow goes to it; `removed`: and it is
    /// taken out.
    #[serde(default = "active")]
    pub state: String,
    /// Slots that still hand over from it to others.
    #[serde(default)]
    pub slots_moving: u32,
    /// How packets reach it: `nat`, `snat`, `l2`, `ipip` or `gue`.
    #[serde(default = "nat")]
    pub forward: String,
    /// How its packets leave: `xdp eth1`, with the VLAN's tags, or `stack`, or `none`, and why.
    pub delivery: String,
    /// Packets towards it.
    pub packets: u64,
    /// Bytes of layer 3 towards it.
    pub bytes: u64,
    /// Packets of its replies.
    pub reply_packets: u64,
    /// Bytes of layer 3 of its replies.
    pub reply_bytes: u64,
}

/// What the backends of a Weir are that does not say.
fn active() -> String {
    "active".to_owned()
}

/// How packets reach the backends of a Weir that does not say.
fn nat() -> String {
    "nat".to_owned()
}

/// One reason of [`Ledger`]: why packets were not forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalRow {
    /// Its name.
    pub name: String,
    /// `pass`: left to the host as it came. `drop`: ended here. `answered`: ended here, and its sender was told.
    pub action: String,
    /// How many packets.
    pub packets: u64,
    /// What it means.
    pub meaning: String,
    /// What to do about it.
    #[serde(default)]
    pub advice: String,
}

/// An answer that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What was found, what was expected, what to do.
    pub error: String,
}
