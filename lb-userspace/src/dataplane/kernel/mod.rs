//! The data plane in the kernel.

mod attach;
mod attachments;
mod batch;
mod buckets;
mod clock;
mod dump;
mod fdinfo;
mod flows;
mod index;
mod keys;
mod mapped;
mod object;
pub mod pins;
mod ports;
#[cfg(test)]
mod ports_tests;
mod shape;
mod takeover;
mod traffic;
mod unresolved;
mod unused;
mod writes;

use std::cell::Cell;

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, IterableMap as _, MapData, PerCpuArray};
use lb_common::abi::{
    Backend, Connection, Device, Endpoint, Flow, FlowKey, Limit, LimitCount, Order, OrderKey, PORT_WORDS, PathMtu,
    QuicKey, Service, Settings, Slot, Snat, SnatReply, SnatReplyKey, Stamps, Table, Tally, Traffic, VipKey, map,
};
use lb_common::host::Owned;
use lb_common::{Address, Refusal};

pub(crate) use attach::attach_in_mode;
pub use attach::{Attached, Attachment};
pub use attachments::Attachments;
pub use buckets::Buckets;
pub use flows::Flows;
pub use index::Index;
pub(crate) use object::Undisturbed;
pub use object::{Object, TOOLCHAIN};
pub use pins::Pins;
pub use takeover::TakeOver;
pub use unresolved::Unresolved;

use super::{Capacity, DataPlane, Dump, Gauge, Left, Op, Release};
use clock::now_s;
use keys::remove_known;
use mapped::Mapped;
use traffic::sum;
use unused::Unused;

/// The maps of a loaded object. The programs live as long as their [`Object`], or their pins.
pub struct Kernel {
    index: Index,
    vips: HashMap<MapData, VipKey, u32>,
    services: Mapped<Service>,
    /// `Slot`s as the words that they are.
    slots: Mapped<u64>,
    stamps: Mapped<Stamps>,
    flows: Flows,
    /// How many flows had been remembered when there was none any more: as long as it is so many, nobody needs to look.
    empty_at: Cell<Option<u64>>,
    tally: PerCpuArray<MapData, Tally>,
    census: HashMap<MapData, FlowKey, u32>,
    orders: HashMap<MapData, OrderKey, Order>,
    backends: Mapped<Backend>,
    endpoints: HashMap<MapData, VipKey, Endpoint>,
    limits: Array<MapData, Limit>,
    buckets: Buckets,
    devices: HashMap<MapData, u32, Device>,
    addresses: HashMap<MapData, Address, u32>,
    settings: Array<MapData, Settings>,
    connections: HashMap<MapData, FlowKey, Connection>,
    snats: HashMap<MapData, FlowKey, Snat>,
    snat_replies: HashMap<MapData, SnatReplyKey, SnatReply>,
    ports: Mapped<u64>,
    /// For how many addresses a pool of ports has words.
    stride: u32,
    quic_servers: HashMap<MapData, QuicKey, u32>,
    paths: HashMap<MapData, Address, PathMtu>,
    service_traffic: PerCpuArray<MapData, Traffic>,
    backend_traffic: PerCpuArray<MapData, Traffic>,
    limit_counts: PerCpuArray<MapData, LimitCount>,
    refusals: PerCpuArray<MapData, u64>,
    /// CPUs the kernel may have, which is how many values a per-CPU element has.
    cpus: usize,
    /// From which id on counters were never used: they need no zeroing, which is a call into the kernel for each.
    unused: Unused,
}

impl Kernel {
    /// Takes the maps out of a loaded object.
    pub fn new(object: &mut Object, capacity: Capacity) -> Result<Self> {
        let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        let mut kernel = Self {
            index: Index::new(object, capacity)?,
            vips: object.map(map::VIPS)?,
            services: Mapped::new(object.array_fd(map::SERVICES)?, capacity.services)?,
            slots: Mapped::new(object.array_fd(map::SLOTS)?, capacity.tables * capacity.table_size)?,
            stamps: Mapped::new(
                object.array_fd(map::STAMPS)?,
                capacity.services.saturating_mul(capacity.table_size).div_ceil(2),
            )?,
            flows: Flows::new(object, capacity)?,
            empty_at: Cell::new(None),
            tally: object.map(map::TALLY)?,
            census: object.map(map::CENSUS)?,
            orders: object.map(map::ORDERS)?,
            backends: Mapped::new(object.array_fd(map::BACKENDS)?, capacity.backends)?,
            endpoints: object.map(map::ENDPOINTS)?,
            limits: object.map(map::LIMITS)?,
            buckets: Buckets::new(object, capacity)?,
            devices: object.map(map::DEVICES)?,
            addresses: object.map(map::ADDRESSES)?,
            settings: object.map(map::SETTINGS)?,
            connections: object.map(map::CONNECTIONS)?,
            snats: object.map(map::SNATS)?,
            snat_replies: object.map(map::SNAT_REPLIES)?,
            ports: Mapped::new(
                object.array_fd(map::PORTS)?,
                capacity.snat_pools.saturating_mul(capacity.snat_stride).saturating_mul(PORT_WORDS),
            )?,
            stride: capacity.snat_stride,
            quic_servers: object.map(map::QUIC_SERVERS)?,
            paths: object.map(map::PATHS)?,
            service_traffic: object.map(map::SERVICE_TRAFFIC)?,
            backend_traffic: object.map(map::BACKEND_TRAFFIC)?,
            limit_counts: object.map(map::LIMIT_COUNTS)?,
            refusals: object.map(map::REFUSALS)?,
            cpus,
            unused: Unused::NONE,
        };
        // What an earlier controller has left.
        kernel.buckets.describe_again(kernel.limits.iter().map(|limit| Ok(limit?)))?;
        let vips = kernel.vips.iter().collect::<Result<Vec<_>, _>>()?;
        let addresses = kernel.addresses.keys().collect::<Result<Vec<_>, _>>()?;
        let endpoints = batch::entries::<VipKey, Endpoint>(kernel.endpoints.map().fd())?;
        let addresses = addresses.into_iter().chain(endpoints.iter().map(|(listens, _)| listens.address));
        kernel.index.derive(vips.into_iter(), addresses).context("deriving the index from the maps")?;
        Ok(kernel)
    }

    /// The same, of maps that were just made: every counter in them is zero.
    #[must_use]
    pub fn with_new_maps(self) -> Self {
        Self { unused: Unused::ALL, ..self }
    }
}

impl DataPlane for Kernel {
    fn apply(&mut self, op: &Op) -> Result<()> {
        self.write(op)
    }

    fn dump(&self) -> Result<Dump> {
        self.read_all()
    }

    fn slots(&self, table: Table) -> Result<Vec<Slot>> {
        (0..table.len).map(|number| Ok(Slot::from_word(self.slots.read(table.base + number)?))).collect()
    }

    fn stamps(&self, service: u32, len: u32) -> Result<Vec<u32>> {
        let first = service * len;
        (first..first + len).map(|index| Ok(self.stamps.read(index / 2)?.0[(index % 2) as usize])).collect()
    }

    fn flows(&self) -> Result<Vec<(FlowKey, Flow)>> {
        let remembered = self.tally()?.remembered;
        if self.empty_at.get() == Some(remembered) {
            return Ok(Vec::new());
        }
        let shared = self.flows.shared();
        shared.reap(now_s());
        let flows: Vec<_> = shared.iter().collect();
        self.empty_at.set(flows.is_empty().then_some(remembered));
        Ok(flows)
    }

    fn forget_flows(&mut self, flows: &[(FlowKey, Flow)]) -> Result<u64> {
        let (known, now_s) = (self.flows.shared(), now_s());
        Ok(flows.iter().filter(|(key, flow)| known.forget(key, flow, now_s)).count() as u64)
    }

    fn connections(&self) -> Result<Vec<(FlowKey, Connection)>> {
        batch::entries(self.connections.map().fd()).context("reading the connections that are counted")
    }

    fn forget_connections(&mut self, left: &[Left]) -> Result<()> {
        for Left { flow, connection, gauges } in left {
            if !self.connections.get(flow, 0).is_ok_and(|now| now == *connection) {
                continue;
            }
            remove_known(&mut self.connections, flow)?;
            gauges.iter().try_for_each(|gauge| self.buckets.give_back(gauge))?;
        }
        Ok(())
    }

    fn gauges(&self, limits: &[u32]) -> Result<Vec<(Gauge, u64)>> {
        self.buckets.gauges(limits)
    }

    fn correct_gauge(&mut self, gauge: &Gauge, from: u64, to: u64) -> Result<()> {
        self.buckets.correct(gauge, from, to)
    }

    fn snats(&self) -> Result<Vec<(FlowKey, Snat)>> {
        batch::entries(self.snats.map().fd()).context("reading the flows of snat")
    }

    fn snat_replies(&self) -> Result<Vec<(SnatReplyKey, SnatReply)>> {
        batch::entries(self.snat_replies.map().fd()).context("reading what replies of snat are known by")
    }

    fn ports(&self) -> Result<Vec<u64>> {
        (0..self.ports.len()).map(|index| self.ports.read(index)).collect()
    }

    fn release(&mut self, releases: &[Release]) -> Result<u64> {
        let mut flows = 0;
        for Release { flow, reply, port } in releases {
            if let Some((key, read)) = flow {
                if !self.snats.get(key, 0).is_ok_and(|now| now == *read) {
                    continue;
                }
                remove_known(&mut self.snats, key)?;
                flows += 1;
            }
            if let Some(key) = reply {
                remove_known(&mut self.snat_replies, key)?;
            }
            for (word, bits) in port.and_then(|port| port.bits(self.stride)).into_iter().flatten() {
                self.ports.clear_bits(word, bits)?;
            }
        }
        Ok(flows)
    }

    fn tally(&self) -> Result<Tally> {
        sum(&self.tally, 0)
    }

    fn take_census(&mut self) -> Result<Vec<FlowKey>> {
        let flows: Vec<FlowKey> = self.census.keys().filter_map(Result::ok).collect();
        flows.iter().try_for_each(|key| remove_known(&mut self.census, key).map(|_| ()))?;
        Ok(flows)
    }

    fn now_s(&self) -> u32 {
        now_s()
    }

    fn service_traffic(&self, id: u32) -> Result<Traffic> {
        let mut carried = sum(&self.service_traffic, id)?;
        carried += sum(&self.service_traffic, self.left_row(id))?;
        Ok(carried)
    }

    fn gone_traffic(&self) -> Result<Traffic> {
        sum(&self.service_traffic, self.gone_row())
    }

    fn backend_traffic(&self, id: u32) -> Result<Traffic> {
        sum(&self.backend_traffic, id)
    }

    fn limit_count(&self, id: u32) -> Result<LimitCount> {
        sum(&self.limit_counts, id)
    }

    fn buckets(&self, limits: &[u32]) -> Result<Vec<Owned>> {
        Ok(self.buckets.shared().iter().filter(|owned| limits.contains(&owned.key.limit)).collect())
    }

    fn refusals(&self) -> Result<Vec<(Refusal, u64)>> {
        Refusal::ALL.iter().map(|&refusal| Ok((refusal, sum(&self.refusals, refusal as u32)?))).collect()
    }
}
