//! The data plane in the kernel.

mod attach;
mod attachments;
mod batch;
mod buckets;
mod fdinfo;
mod flows;
mod index;
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

use std::cell::Cell;
use std::mem::offset_of;

use anyhow::{Context as _, Result, ensure};
use aya::Pod;
use aya::maps::{Array, HashMap, IterableMap as _, MapData, PerCpuArray};
use lb_common::abi::{
    Backend, Connection, Device, Endpoint, Flow, FlowKey, Limit, LimitCount, Order, OrderKey, PORT_WORDS, PathMtu,
    QuicIds, QuicKey, Service, Settings, Slot, Snat, SnatReply, SnatReplyKey, Stamps, Table, Tally, Traffic, VipKey,
    map,
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

use super::{Capacity, DataPlane, Dump, Gauge, Left, Op, Release, is_there, present};
use mapped::Mapped;
use traffic::{sum, zero};

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

/// The first ids that were never used since the maps were made.
#[derive(Debug, Clone, Copy)]
struct Unused {
    services: u32,
    backends: u32,
    limits: u32,
}

impl Unused {
    /// Whether an id was never used; from now on it was.
    fn take(first: &mut u32, id: u32) -> bool {
        let unused = id >= *first;
        if unused {
            *first = id.saturating_add(1);
        }
        unused
    }
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
            unused: Unused { services: u32::MAX, backends: u32::MAX, limits: u32::MAX },
        };
        // What an earlier controller has left.
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
        Self { unused: Unused { services: 0, backends: 0, limits: 0 }, ..self }
    }

    /// Puts endpoints that are not there, all or none of them.
    fn put_endpoints(&mut self, endpoints: &[(VipKey, Endpoint)]) -> Result<()> {
        for (listens, _) in endpoints {
            self.index.need(&listens.address)?;
        }
        let (keys, values): (Vec<VipKey>, Vec<Endpoint>) = endpoints.iter().copied().unzip();
        let Err(batch::Stopped { done, error }) = batch::put(self.endpoints.map().fd(), &keys, &values) else {
            return Ok(());
        };
        // Nobody would know of those that were put.
        for listens in keys.iter().take(done) {
            remove_known(&mut self.endpoints, listens)?;
        }
        keys.iter().try_for_each(|listens| self.index.need_not(&listens.address))?;
        Err(error)
    }

    /// Writes a backend's row, which programs may be reading at this moment: its version is odd until it is whole.
    fn write_backend(&mut self, id: u32, backend: Backend) -> Result<()> {
        const VERSION: usize = offset_of!(Backend, version);
        // A version that was left odd by a writer that died is taken for even: one more change is as good.
        let version = self.backends.read(id)?.version & !1;
        self.backends.store_u32(id, VERSION, version.wrapping_add(1))?;
        self.backends.barrier();
        self.backends.write(id, Backend { version: version.wrapping_add(1), ..backend })?;
        self.backends.barrier();
        self.backends.store_u32(id, VERSION, version.wrapping_add(2))
    }
}

/// `BPF_NOEXIST` (bpf.h): an update that changes nothing that is there.
const BPF_NOEXIST: u64 = 1;

/// Inserts what is not there yet; whether it was not.
fn insert_new<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>, key: &K, value: &V) -> Result<bool> {
    match map.insert(key, value, BPF_NOEXIST) {
        Err(aya::maps::MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(false)
        }
        other => Ok(other.map(|()| true)?),
    }
}

/// The programs' clock, in seconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds since the host's start")]
fn now_s() -> u32 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(0, |now| now.tv_sec() as u32)
}

/// Removes a key; whether it was there.
fn remove_known<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>, key: &K) -> Result<bool> {
    match map.remove(key) {
        Err(aya::maps::MapError::KeyNotFound) => Ok(false),
        Err(aya::maps::MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
            Ok(false)
        }
        other => Ok(other.map(|()| true)?),
    }
}

impl DataPlane for Kernel {
    fn apply(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::PutLimit { id, limit } => {
                if !Unused::take(&mut self.unused.limits, *id) {
                    zero(&mut self.limit_counts, *id, self.cpus)?;
                    // What an earlier limit with this id has left.
                    self.buckets.forget(*id)?;
                }
                self.limits.set(*id, *limit, 0)?;
            }
            Op::ChangeLimit { id, limit } => {
                let old = self.limits.get(id, 0)?;
                self.limits.set(*id, *limit, 0)?;
                self.buckets.carry_over(*id, &old, limit)?;
            }
            Op::PutBackend { id, backend } => {
                if !Unused::take(&mut self.unused.backends, *id) {
                    // Packets that were under way when the id's last owner left.
                    self.bury_backend(*id, self.gone_row())?;
                }
                self.write_backend(*id, *backend)?;
            }
            Op::MoveBackend { id, backend } => {
                let row = self.backends.read(*id)?;
                if row.version & 1 == 0
                    && (Backend { weight: backend.weight, ..row }) == (Backend { version: row.version, ..*backend })
                {
                    // No program reads it: nobody has to wait for it.
                    self.backends.store_u32(*id, offset_of!(Backend, weight), backend.weight)?;
                } else {
                    self.write_backend(*id, *backend)?;
                }
            }
            Op::WeighBackends { weights } => {
                for (id, weight) in weights.iter() {
                    self.backends.store_u32(*id, offset_of!(Backend, weight), *weight)?;
                }
            }
            Op::RemoveBackend { id } => {
                let row = self.backends.read(*id)?;
                self.write_backend(*id, Backend::default())?;
                // A row that was taken back already says nothing of its service any more, nor does one whose service is gone.
                let known = is_there(&row) && row.service < self.services.len();
                let stays = known && self.services.read(row.service)?.vip != VipKey::default();
                self.bury_backend(*id, if stays { self.left_row(row.service) } else { self.gone_row() })?;
            }
            Op::WriteTable { table, slots } => {
                ensure!(table.len as usize == slots.len(), "{} slots for a table of {}", slots.len(), table.len);
                self.slots.write_run(table.base, slots.iter().map(|slot| slot.word()))?;
            }
            Op::WriteSlots { table, slots } => {
                for &(number, slot) in slots.iter() {
                    ensure!(number < table.len, "slot {number} of a table of {}", table.len);
                    self.slots.store_u64(table.base + number, 0, slot.word())?;
                }
            }
            Op::SetLimits { service, limits } => {
                let places = (offset_of!(Service, limits)..).step_by(size_of::<u64>());
                for (four, place) in limits.as_chunks::<4>().0.iter().zip(places) {
                    let [a, b, c, d] = four.map(u16::to_ne_bytes);
                    let word = u64::from_ne_bytes([a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]);
                    self.services.store_u64(*service, place, word)?;
                }
            }
            Op::PutOrder { key, order } => self.orders.insert(key, order, 0)?,
            Op::RemoveOrder { key } => {
                remove_known(&mut self.orders, key)?;
            }
            Op::PutService { id, head } => {
                if !Unused::take(&mut self.unused.services, *id) {
                    self.bury_service(*id)?;
                }
                self.services.write(*id, *head)?;
            }
            Op::Publish { service, table } => {
                self.services.store_u64(*service, offset_of!(Service, table), table.pack())?;
            }
            Op::SetFlags { service, flags } => {
                self.services.store_u32(*service, offset_of!(Service, flags), *flags)?;
            }
            Op::SetNetworks { service, networks } => {
                self.services.store_u32(*service, offset_of!(Service, networks), *networks)?;
            }
            Op::RemoveService { id } => {
                self.services.write(*id, Service::default())?;
                self.bury_service(*id)?;
            }
            Op::PutVip { vip, service } => {
                self.index.need(&vip.address)?;
                if !insert_new(&mut self.vips, vip, service)? {
                    self.index.need_not(&vip.address)?;
                    self.index.take(vip)?;
                    self.vips.insert(vip, service, 0)?;
                }
                self.index.put(vip, *service)?;
            }
            Op::RemoveVip { vip } => {
                self.index.take(vip)?;
                if remove_known(&mut self.vips, vip)? {
                    self.index.need_not(&vip.address)?;
                }
            }
            Op::PutEndpoint { listens, endpoint } => {
                self.index.need(&listens.address)?;
                if !insert_new(&mut self.endpoints, listens, endpoint)? {
                    self.index.need_not(&listens.address)?;
                    self.endpoints.insert(listens, endpoint, 0)?;
                }
            }
            Op::PutEndpoints { endpoints } => self.put_endpoints(endpoints)?,
            Op::RemoveEndpoint { listens } => {
                if remove_known(&mut self.endpoints, listens)? {
                    self.index.need_not(&listens.address)?;
                }
            }
            Op::PutDevice { ifindex, device } => self.devices.insert(ifindex, device, 0)?,
            Op::RemoveDevice { ifindex } => {
                remove_known(&mut self.devices, ifindex)?;
            }
            Op::SetQuicIds { service, quic: QuicIds(word) } => {
                self.services.store_u32(*service, offset_of!(Service, quic), *word)?;
            }
            Op::PutQuicServer { key, backend } => self.quic_servers.insert(key, backend, 0)?,
            Op::RemoveQuicServer { key } => {
                remove_known(&mut self.quic_servers, key)?;
            }
            Op::PutAddress { address, flags } => {
                self.index.need(address)?;
                if !insert_new(&mut self.addresses, address, flags)? {
                    self.index.need_not(address)?;
                    self.addresses.insert(address, flags, 0)?;
                }
            }
            Op::RemoveAddress { address } => {
                if remove_known(&mut self.addresses, address)? {
                    self.index.need_not(address)?;
                }
            }
            Op::PutSettings { settings } => self.settings.set(0, **settings, 0)?,
            Op::PutPath { address } => {
                insert_new(&mut self.paths, address, &PathMtu::default())?;
            }
            Op::RemovePath { address } => {
                remove_known(&mut self.paths, address)?;
            }
        }
        Ok(())
    }

    fn dump(&self) -> Result<Dump> {
        let services: Result<Vec<Service>> = (0..self.services.len()).map(|id| self.services.read(id)).collect();
        let backends: Result<Vec<Backend>> = (0..self.backends.len()).map(|id| self.backends.read(id)).collect();
        let limits: Result<Vec<Limit>, _> = self.limits.iter().collect();
        Ok(Dump {
            vips: self.vips.iter().collect::<Result<_, _>>()?,
            services: present(services?.into_iter()),
            // A row that was taken back keeps its version.
            backends: present(
                backends?
                    .into_iter()
                    .map(|row| if is_there(&row) || row.version & 1 == 1 { row } else { Backend::default() }),
            ),
            endpoints: self.endpoints.iter().collect::<Result<_, _>>()?,
            devices: self.devices.iter().collect::<Result<_, _>>()?,
            addresses: self.addresses.iter().collect::<Result<_, _>>()?,
            settings: self.settings.get(&0, 0)?,
            paths: self.paths.keys().collect::<Result<_, _>>()?,
            quic: self.quic_servers.iter().collect::<Result<_, _>>()?,
            limits: present(limits?.into_iter()),
            orders: self.orders.iter().collect::<Result<_, _>>()?,
        })
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
