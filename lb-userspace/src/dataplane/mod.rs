//! The data plane as the controller sees it: a list of small operations, and counters.

mod fake;
mod faulty;
pub mod kernel;
mod left;
mod op;
mod release;

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::{
    BUCKET_WAYS, Backend, Connection, Device, Endpoint, Flow, FlowKey, Limit, LimitCount, Order, OrderKey, QuicKey,
    Service, Settings, Slot, Snat, SnatReply, SnatReplyKey, Table, Tally, Traffic, VipKey,
};
use lb_common::host::Owned;
use lb_common::{Address, Refusal};

pub use fake::Fake;
pub use faulty::Faulty;
pub use left::{Gauge, Left};
pub use op::Op;
pub use release::{Port, Release};

/// How much the maps hold. Fixed when they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Services.
    pub services: u32,
    /// Backends of all services together.
    pub backends: u32,
    /// Slots of one table.
    pub table_size: u32,
    /// Tables.
    pub tables: u32,
    /// Limits of all services together.
    pub limits: u32,
    /// Buckets of sources and of backends.
    pub sources: u32,
    /// Flows of slots that hand over.
    pub flows: u32,
    /// Flows whose replies are remembered.
    pub replies: u32,
    /// Network devices.
    pub devices: u32,
    /// Addresses that are known whatever the port.
    pub addresses: u32,
    /// Flows of snat.
    pub snat_flows: u32,
    /// Pools of ports.
    pub snat_pools: u32,
    /// Addresses that every pool has ports of.
    pub snat_stride: u32,
    /// Datagrams in fragments.
    pub fragments: u32,
    /// Server ids of all services together.
    pub quic_servers: u32,
    /// Far ends of tunnels.
    pub paths: u32,
}

impl Capacity {
    /// Room for a few of everything: for tests.
    pub const SMALL: Self = Self {
        services: 4,
        backends: 16,
        table_size: 251,
        tables: 6,
        limits: 5,
        sources: 1024,
        flows: 1024,
        replies: 64,
        devices: 64,
        addresses: 64,
        snat_flows: 1024,
        snat_pools: 4,
        snat_stride: 2,
        fragments: 64,
        quic_servers: 64,
        paths: 64,
    };
}

/// Everything that a data plane holds, but for tables, flows and counters. What is all zeroes is not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dump {
    /// Service ids by VIP.
    pub vips: BTreeMap<VipKey, u32>,
    /// Heads by id.
    pub services: BTreeMap<u32, Service>,
    /// Rows by id, also those whose version is odd.
    pub backends: BTreeMap<u32, Backend>,
    /// Where backends listen.
    pub endpoints: BTreeMap<VipKey, Endpoint>,
    /// Network devices by index.
    pub devices: BTreeMap<u32, Device>,
    /// `AddressFlags` of addresses.
    pub addresses: BTreeMap<Address, u32>,
    /// What holds for all services.
    pub settings: Settings,
    /// Far ends of tunnels.
    pub paths: BTreeSet<Address>,
    /// Backend ids by server id.
    pub quic: BTreeMap<QuicKey, u32>,
    /// Limits by id.
    pub limits: BTreeMap<u32, Limit>,
    /// Orders.
    pub orders: Vec<(OrderKey, Order)>,
}

/// Where the packet path reads its tables.
pub trait DataPlane: Send {
    /// Carries out one operation. After an error the operation may be tried again; nothing half written is found by
    /// packets.
    fn apply(&mut self, op: &Op) -> anyhow::Result<()>;

    /// Everything it holds, for a controller that begins.
    fn dump(&self) -> anyhow::Result<Dump>;

    /// The slots of a table.
    fn slots(&self, table: Table) -> anyhow::Result<Vec<Slot>>;

    /// The stamps of a service's `len` slots, in seconds of [`Self::now_s`].
    fn stamps(&self, service: u32, len: u32) -> anyhow::Result<Vec<u32>>;

    /// All remembered flows.
    fn flows(&self) -> anyhow::Result<Vec<(FlowKey, Flow)>>;

    /// Forgets flows that are still as they were read; says how many.
    fn forget_flows(&mut self, flows: &[(FlowKey, Flow)]) -> anyhow::Result<u64>;

    /// All connections that are counted.
    fn connections(&self) -> anyhow::Result<Vec<(FlowKey, Connection)>>;

    /// Forgets connections that are still as they were read, and gives back what they count.
    fn forget_connections(&mut self, left: &[Left]) -> anyhow::Result<()>;

    /// What says how many connections there are, and what it says: of these limits, and whatever sources and backends have.
    fn gauges(&self, limits: &[u32]) -> anyhow::Result<Vec<(Gauge, u64)>>;

    /// Has one say `to` if it says `from`.
    fn correct_gauge(&mut self, gauge: &Gauge, from: u64, to: u64) -> anyhow::Result<()>;

    /// All flows of snat.
    fn snats(&self) -> anyhow::Result<Vec<(FlowKey, Snat)>>;

    /// Whose the replies to them are.
    fn snat_replies(&self) -> anyhow::Result<Vec<(SnatReplyKey, SnatReply)>>;

    /// The pools of ports, word by word.
    fn ports(&self) -> anyhow::Result<Vec<u64>>;

    /// Gives back what flows of snat had; what is not as it was read stays. Says how many flows it were.
    fn release(&mut self, releases: &[Release]) -> anyhow::Result<u64>;

    /// What is counted of all services together.
    fn tally(&self) -> anyhow::Result<Tally>;

    /// Takes the flows out that a census has noted.
    fn take_census(&mut self) -> anyhow::Result<Vec<FlowKey>>;

    /// The packet path's clock, in seconds.
    fn now_s(&self) -> u32;

    /// What a service carried that none of its present backends did.
    fn service_traffic(&self, id: u32) -> anyhow::Result<Traffic>;

    /// What services carried that are gone.
    fn gone_traffic(&self) -> anyhow::Result<Traffic>;

    /// What a backend carried.
    fn backend_traffic(&self, id: u32) -> anyhow::Result<Traffic>;

    /// What a limit said.
    fn limit_count(&self, id: u32) -> anyhow::Result<LimitCount>;

    /// The buckets that sources or backends have under these limits.
    fn buckets(&self, limits: &[u32]) -> anyhow::Result<Vec<Owned>>;

    /// Packets that were not forwarded, for every reason in the order of [`Refusal::ALL`].
    fn refusals(&self) -> anyhow::Result<Vec<(Refusal, u64)>>;
}

/// How many buckets there are in so many groups.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
pub(crate) const fn bucket_room(groups: u32) -> u32 {
    groups.saturating_mul(BUCKET_WAYS as u32)
}

/// Whether a backend's row is one: it was given, and not taken back.
pub(crate) fn is_there(row: &Backend) -> bool {
    row.address != Address::default()
}

/// The rows of an array that are not all zeroes, by index.
fn present<T: Default + PartialEq>(rows: impl Iterator<Item = T>) -> BTreeMap<u32, T> {
    (0..).zip(rows).filter(|(_, row)| *row != T::default()).collect()
}
