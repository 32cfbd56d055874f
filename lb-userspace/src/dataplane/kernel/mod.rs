//! The data plane in the kernel.

mod attach;
mod attachments;
mod mapped;
mod object;
mod unresolved;

use std::borrow::BorrowMut;
use std::mem::offset_of;
use std::ops::AddAssign;

use anyhow::{Context as _, Result, ensure};
use aya::Pod;
use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues};
use lb_common::Refusal;
use lb_common::abi::{Backend, BucketCell, Endpoint, Limit, LimitCount, Service, Slot, Traffic, VipKey, map};

pub use attach::{Attached, Attachment};
pub use attachments::Attachments;
pub use object::{Object, TOOLCHAIN};
pub use unresolved::Unresolved;

use super::{Capacity, DataPlane, Op};
use mapped::Mapped;

/// The maps of a loaded object. The programs live as long as their [`Object`] and [`Attached`].
pub struct Kernel {
    vips: HashMap<MapData, VipKey, u32>,
    services: Mapped<Service>,
    slots: Mapped<Slot>,
    backends: Mapped<Backend>,
    endpoints: HashMap<MapData, VipKey, Endpoint>,
    limits: Array<MapData, Limit>,
    service_buckets: Array<MapData, BucketCell>,
    devices: HashMap<MapData, u32, u32>,
    service_traffic: PerCpuArray<MapData, Traffic>,
    backend_traffic: PerCpuArray<MapData, Traffic>,
    limit_counts: PerCpuArray<MapData, LimitCount>,
    refusals: PerCpuArray<MapData, u64>,
    /// CPUs the kernel may have, which is how many values a per-CPU element has.
    cpus: usize,
}

impl Kernel {
    /// Takes the maps out of a loaded object.
    pub fn new(object: &mut Object, capacity: Capacity) -> Result<Self> {
        let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        Ok(Self {
            vips: object.map(map::VIPS)?,
            services: Mapped::new(object.array_fd(map::SERVICES)?, capacity.services)?,
            slots: Mapped::new(object.array_fd(map::SLOTS)?, capacity.tables * capacity.table_size)?,
            backends: Mapped::new(object.array_fd(map::BACKENDS)?, capacity.backends)?,
            endpoints: object.map(map::ENDPOINTS)?,
            limits: object.map(map::LIMITS)?,
            service_buckets: object.map(map::SERVICE_BUCKETS)?,
            devices: object.map(map::DEVICES)?,
            service_traffic: object.map(map::SERVICE_TRAFFIC)?,
            backend_traffic: object.map(map::BACKEND_TRAFFIC)?,
            limit_counts: object.map(map::LIMIT_COUNTS)?,
            refusals: object.map(map::REFUSALS)?,
            cpus,
        })
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

/// Sets a per-CPU element to zero on every CPU.
fn zero<T: Pod + Default>(map: &mut PerCpuArray<impl BorrowMut<MapData>, T>, id: u32, cpus: usize) -> Result<()> {
    let zeroes = PerCpuValues::try_from(vec![T::default(); cpus]).context("one value for each CPU")?;
    map.set(id, zeroes, 0).context("setting a counter to zero")
}

/// The sum of a per-CPU element.
fn sum<T: Pod + Default + AddAssign>(map: &PerCpuArray<MapData, T>, id: u32) -> Result<T> {
    let mut total = T::default();
    for value in map.get(&id, 0).context("reading a counter")?.iter() {
        total += *value;
    }
    Ok(total)
}

/// A removal that found nothing has already happened.
fn gone(result: Result<(), aya::maps::MapError>) -> Result<()> {
    match result {
        Err(aya::maps::MapError::KeyNotFound) => Ok(()),
        Err(aya::maps::MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
            Ok(())
        }
        other => Ok(other?),
    }
}

impl DataPlane for Kernel {
    fn apply(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::PutLimit { id, limit } => {
                self.service_buckets.set(*id, BucketCell::default(), 0)?;
                zero(&mut self.limit_counts, *id, self.cpus)?;
                self.limits.set(*id, *limit, 0)?;
            }
            Op::PutBackend { id, backend } => {
                zero(&mut self.backend_traffic, *id, self.cpus)?;
                self.write_backend(*id, *backend)?;
            }
            Op::MoveBackend { id, backend } => self.write_backend(*id, *backend)?,
            Op::RemoveBackend { id } => self.write_backend(*id, Backend::default())?,
            Op::WriteTable { table, slots } => {
                ensure!(table.len as usize == slots.len(), "{} slots for a table of {}", slots.len(), table.len);
                self.slots.write_run(table.base, slots.iter().map(|&backend| Slot::settled(backend)))?;
            }
            Op::PutService { id, head } => {
                zero(&mut self.service_traffic, *id, self.cpus)?;
                self.services.write(*id, *head)?;
            }
            Op::Publish { service, table } => {
                self.services.store_u64(*service, offset_of!(Service, table), table.pack())?;
            }
            Op::SetFlags { service, flags } => {
                self.services.store_u32(*service, offset_of!(Service, flags), *flags)?;
            }
            Op::RemoveService { id } => self.services.write(*id, Service::default())?,
            Op::PutVip { vip, service } => self.vips.insert(vip, service, 0)?,
            Op::RemoveVip { vip } => gone(self.vips.remove(vip))?,
            Op::PutEndpoint { listens, endpoint } => self.endpoints.insert(listens, endpoint, 0)?,
            Op::RemoveEndpoint { listens } => gone(self.endpoints.remove(listens))?,
            Op::PutDevice { ifindex, flags } => self.devices.insert(ifindex, flags, 0)?,
            Op::RemoveDevice { ifindex } => gone(self.devices.remove(ifindex))?,
        }
        Ok(())
    }

    fn service_traffic(&self, id: u32) -> Result<Traffic> {
        sum(&self.service_traffic, id)
    }

    fn backend_traffic(&self, id: u32) -> Result<Traffic> {
        sum(&self.backend_traffic, id)
    }

    fn limit_count(&self, id: u32) -> Result<LimitCount> {
        sum(&self.limit_counts, id)
    }

    fn refusals(&self) -> Result<Vec<(Refusal, u64)>> {
        Refusal::ALL.iter().map(|&refusal| Ok((refusal, sum(&self.refusals, refusal as u32)?))).collect()
    }
}
