//! What each operation writes into the maps.

use std::mem::offset_of;

use anyhow::{Result, ensure};
use aya::maps::IterableMap as _;
use lb_common::Address;
use lb_common::abi::{Backend, Endpoint, Limit, MAX_LIMITS, PathMtu, QuicIds, Service, Slot, Table, VipKey};

use super::keys::{insert_new, remove_known};
use super::traffic::zero;
use super::unused::Unused;
use super::{Kernel, batch};
use crate::dataplane::{Op, is_there};

impl Kernel {
    pub(super) fn write(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::PutLimit { id, limit } => self.put_limit(*id, *limit),
            Op::ChangeLimit { id, limit } => self.change_limit(*id, limit),
            Op::PutBackend { id, backend } => self.put_backend(*id, *backend),
            Op::MoveBackend { id, backend } => self.move_backend(*id, *backend),
            Op::WeighBackends { weights } => {
                weights.iter().try_for_each(|(id, weight)| self.weigh_backend(*id, *weight))
            }
            Op::RemoveBackend { id } => self.remove_backend(*id),
            Op::WriteTable { table, slots } => self.write_table(*table, slots),
            Op::WriteSlots { table, slots } => self.write_slots(*table, slots),
            Op::SetLimits { service, limits } => self.set_limits(*service, limits),
            Op::PutOrder { key, order } => Ok(self.orders.insert(key, order, 0)?),
            Op::RemoveOrder { key } => remove_known(&mut self.orders, key).map(drop),
            Op::PutService { id, head } => self.put_service(*id, *head),
            Op::Publish { service, table } => {
                self.services.store_u64(*service, offset_of!(Service, table), table.pack())
            }
            Op::SetFlags { service, flags } => self.services.store_u32(*service, offset_of!(Service, flags), *flags),
            Op::SetNetworks { service, networks } => {
                self.services.store_u32(*service, offset_of!(Service, networks), *networks)
            }
            Op::RemoveService { id } => self.remove_service(*id),
            Op::PutVip { vip, service } => self.put_vip(vip, *service),
            Op::RemoveVip { vip } => self.remove_vip(vip),
            Op::PutEndpoint { listens, endpoint } => self.put_endpoint(listens, endpoint),
            Op::PutEndpoints { endpoints } => self.put_endpoints(endpoints),
            Op::RemoveEndpoint { listens } => self.remove_endpoint(listens),
            Op::PutDevice { ifindex, device } => Ok(self.devices.insert(ifindex, device, 0)?),
            Op::RemoveDevice { ifindex } => remove_known(&mut self.devices, ifindex).map(drop),
            Op::SetQuicIds { service, quic: QuicIds(word) } => {
                self.services.store_u32(*service, offset_of!(Service, quic), *word)
            }
            Op::PutQuicServer { key, backend } => Ok(self.quic_servers.insert(key, backend, 0)?),
            Op::RemoveQuicServer { key } => remove_known(&mut self.quic_servers, key).map(drop),
            Op::PutAddress { address, flags } => self.put_address(address, *flags),
            Op::RemoveAddress { address } => self.remove_address(address),
            Op::PutSettings { settings } => Ok(self.settings.set(0, **settings, 0)?),
            Op::PutPath { address } => insert_new(&mut self.paths, address, &PathMtu::default()).map(drop),
            Op::RemovePath { address } => remove_known(&mut self.paths, address).map(drop),
        }
    }

    fn put_limit(&mut self, id: u32, limit: Limit) -> Result<()> {
        if !Unused::take(&mut self.unused.limits, id) {
            zero(&mut self.limit_counts, id, self.cpus)?;
            // What an earlier limit with this id has left.
            self.buckets.forget(id)?;
        }
        self.limits.set(id, limit, 0)?;
        self.buckets.describe(id, &limit)
    }

    fn change_limit(&mut self, id: u32, limit: &Limit) -> Result<()> {
        let old = self.limits.get(&id, 0)?;
        self.limits.set(id, *limit, 0)?;
        self.buckets.describe(id, limit)?;
        self.buckets.carry_over(id, &old, limit)
    }

    fn put_backend(&mut self, id: u32, backend: Backend) -> Result<()> {
        if !Unused::take(&mut self.unused.backends, id) {
            // Packets that were under way when the id's last owner left.
            self.bury_backend(id, self.gone_row())?;
        }
        self.write_backend(id, backend)
    }

    fn move_backend(&mut self, id: u32, backend: Backend) -> Result<()> {
        let row = self.backends.read(id)?;
        if row.version & 1 == 0
            && (Backend { weight: backend.weight, ..row }) == (Backend { version: row.version, ..backend })
        {
            // No program reads it: nobody has to wait for it.
            self.weigh_backend(id, backend.weight)
        } else {
            self.write_backend(id, backend)
        }
    }

    fn weigh_backend(&mut self, id: u32, weight: u32) -> Result<()> {
        self.backends.store_u32(id, offset_of!(Backend, weight), weight)
    }

    fn remove_backend(&mut self, id: u32) -> Result<()> {
        let row = self.backends.read(id)?;
        self.write_backend(id, Backend::default())?;
        // A row that was taken back already says nothing of its service any more, nor does one whose service is gone.
        let known = is_there(&row) && row.service < self.services.len();
        let stays = known && self.services.read(row.service)?.vip != VipKey::default();
        self.bury_backend(id, if stays { self.left_row(row.service) } else { self.gone_row() })
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

    fn write_table(&mut self, table: Table, slots: &[Slot]) -> Result<()> {
        ensure!(table.len as usize == slots.len(), "{} slots for a table of {}", slots.len(), table.len);
        self.slots.write_run(table.base, slots.iter().map(|slot| slot.word()))
    }

    fn write_slots(&mut self, table: Table, slots: &[(u32, Slot)]) -> Result<()> {
        for &(number, slot) in slots {
            ensure!(number < table.len, "slot {number} of a table of {}", table.len);
            self.slots.store_u64(table.base + number, 0, slot.word())?;
        }
        Ok(())
    }

    fn put_service(&mut self, id: u32, head: Service) -> Result<()> {
        if !Unused::take(&mut self.unused.services, id) {
            self.bury_service(id)?;
        }
        self.services.write(id, head)
    }

    fn set_limits(&mut self, service: u32, limits: &[u16; MAX_LIMITS]) -> Result<()> {
        let places = (offset_of!(Service, limits)..).step_by(size_of::<u64>());
        for (four, place) in limits.as_chunks::<4>().0.iter().zip(places) {
            let [a, b, c, d] = four.map(u16::to_ne_bytes);
            let word = u64::from_ne_bytes([a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]);
            self.services.store_u64(service, place, word)?;
        }
        Ok(())
    }

    fn remove_service(&mut self, id: u32) -> Result<()> {
        self.services.write(id, Service::default())?;
        self.bury_service(id)
    }

    fn put_vip(&mut self, vip: &VipKey, service: u32) -> Result<()> {
        self.index.need(&vip.address)?;
        if !insert_new(&mut self.vips, vip, &service)? {
            self.index.need_not(&vip.address)?;
            self.index.take(vip)?;
            self.vips.insert(vip, service, 0)?;
        }
        self.index.put(vip, service)
    }

    fn remove_vip(&mut self, vip: &VipKey) -> Result<()> {
        self.index.take(vip)?;
        if remove_known(&mut self.vips, vip)? {
            self.index.need_not(&vip.address)?;
        }
        Ok(())
    }

    fn put_endpoint(&mut self, listens: &VipKey, endpoint: &Endpoint) -> Result<()> {
        self.index.need(&listens.address)?;
        if !insert_new(&mut self.endpoints, listens, endpoint)? {
            self.index.need_not(&listens.address)?;
            self.endpoints.insert(listens, endpoint, 0)?;
        }
        Ok(())
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

    fn remove_endpoint(&mut self, listens: &VipKey) -> Result<()> {
        if remove_known(&mut self.endpoints, listens)? {
            self.index.need_not(&listens.address)?;
        }
        Ok(())
    }

    fn put_address(&mut self, address: &Address, flags: u32) -> Result<()> {
        self.index.need(address)?;
        if !insert_new(&mut self.addresses, address, &flags)? {
            self.index.need_not(address)?;
            self.addresses.insert(address, flags, 0)?;
        }
        Ok(())
    }

    fn remove_address(&mut self, address: &Address) -> Result<()> {
        if remove_known(&mut self.addresses, address)? {
            self.index.need_not(address)?;
        }
        Ok(())
    }
}
