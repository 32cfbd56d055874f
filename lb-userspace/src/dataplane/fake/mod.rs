//! A data plane without a kernel: the host's tables, written by the same operations.

mod limits;

use std::cell::Cell;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lb_common::abi::{
    Backend, Connection, Flow, FlowKey, LimitCount, Order, OrderKey, PORT_WORDS, Service, Slot, Snat, SnatReply,
    SnatReplyKey, Table, Tally, Traffic,
};
use lb_common::host::{HostBuckets, HostFlows, HostTables, Owned};
use lb_common::{Refusal, Tables as _};

use super::{Capacity, DataPlane, Dump, Gauge, Left, Op, Release, present};

/// The host's tables as a data plane: packets are decided by the same code as in the kernel.
#[derive(Debug)]
pub struct Fake {
    /// The tables, for packets to be decided by.
    pub tables: HostTables,
    /// Orders.
    pub orders: BTreeMap<OrderKey, Order>,
    /// What services carried that are gone.
    gone: Traffic,
    stride: u32,
}

impl Fake {
    /// Empty tables of this size.
    pub fn new(capacity: Capacity) -> Self {
        let size = |n: u32| n as usize;
        Self {
            tables: HostTables {
                services: vec![Service::default(); size(capacity.services)],
                slots: vec![Slot::default(); size(capacity.tables) * size(capacity.table_size)],
                backends: vec![Backend::default(); size(capacity.backends)],
                limits: vec![lb_common::abi::Limit::default(); size(capacity.limits)],
                service_buckets: vec![Cell::new(0); size(capacity.limits)],
                shares: vec![Default::default(); size(capacity.limits)],
                buckets: HostBuckets::seeded(capacity.sources, 1),
                flows: HostFlows::with_room(capacity.flows),
                max_snats: size(capacity.snat_flows),
                max_connections: size(capacity.flows),
                max_fragments: size(capacity.fragments),
                ports: vec![Cell::new(0); size(capacity.snat_pools * capacity.snat_stride * PORT_WORDS)],
                ..HostTables::default()
            },
            orders: BTreeMap::new(),
            gone: Traffic::default(),
            stride: capacity.snat_stride,
        }
    }
}

fn at<T>(all: &mut [T], index: u32) -> Result<&mut T> {
    let len = all.len();
    all.get_mut(index as usize).with_context(|| format!("index {index} is outside of a map of {len}"))
}

impl DataPlane for Fake {
    fn apply(&mut self, op: &Op) -> Result<()> {
        let tables = &mut self.tables;
        match op {
            Op::PutLimit { id, limit } => self.put_limit(*id, *limit)?,
            Op::ChangeLimit { id, limit } => self.change_limit(*id, limit)?,
            Op::PutBackend { id, backend } => {
                *at(&mut tables.backends, *id)? = *backend;
                self.gone += tables.backend_traffic.get_mut().remove(id).unwrap_or_default();
            }
            Op::MoveBackend { id, backend } => *at(&mut tables.backends, *id)? = *backend,
            Op::WeighBackends { weights } => {
                for (id, weight) in weights.iter() {
                    at(&mut tables.backends, *id)?.weight = *weight;
                }
            }
            Op::RemoveBackend { id } => {
                let Backend { service, .. } = core::mem::take(at(&mut tables.backends, *id)?);
                let carried = tables.backend_traffic.get_mut().remove(id).unwrap_or_default();
                *tables.service_traffic.get_mut().entry(service).or_default() += carried;
            }
            Op::WriteTable { table, slots } => {
                ensure!(table.len as usize == slots.len(), "{} slots for a table of {}", slots.len(), table.len);
                for (index, slot) in (table.base..).zip(slots.iter()) {
                    *at(&mut tables.slots, index)? = *slot;
                }
            }
            Op::WriteSlots { table, slots } => {
                for (number, slot) in slots.iter() {
                    *at(&mut tables.slots, table.base + number)? = *slot;
                }
            }
            Op::SetLimits { service, limits } => at(&mut tables.services, *service)?.limits = *limits,
            Op::PutOrder { key, order } => {
                self.orders.insert(*key, *order);
            }
            Op::RemoveOrder { key } => {
                self.orders.remove(key);
            }
            Op::PutService { id, head } => {
                *at(&mut tables.services, *id)? = *head;
                self.gone += tables.service_traffic.get_mut().remove(id).unwrap_or_default();
            }
            Op::Publish { service, table } => at(&mut tables.services, *service)?.table = table.pack(),
            Op::SetFlags { service, flags } => at(&mut tables.services, *service)?.flags = *flags,
            Op::SetNetworks { service, networks } => at(&mut tables.services, *service)?.networks = *networks,
            Op::RemoveService { id } => {
                *at(&mut tables.services, *id)? = Service::default();
                self.gone += tables.service_traffic.get_mut().remove(id).unwrap_or_default();
            }
            Op::PutVip { vip, service } => {
                tables.vips.insert(*vip, *service);
            }
            Op::RemoveVip { vip } => {
                tables.vips.remove(vip);
            }
            Op::PutEndpoint { listens, endpoint } => {
                tables.endpoints.insert(*listens, *endpoint);
            }
            Op::PutEndpoints { endpoints } => tables.endpoints.extend(endpoints.iter().copied()),
            Op::RemoveEndpoint { listens } => {
                tables.endpoints.remove(listens);
            }
            Op::PutDevice { ifindex, device } => {
                tables.devices.insert(*ifindex, *device);
            }
            Op::RemoveDevice { ifindex } => {
                tables.devices.remove(ifindex);
            }
            Op::SetQuicIds { service, quic } => at(&mut tables.services, *service)?.quic = *quic,
            Op::PutQuicServer { key, backend } => {
                tables.quic_servers.insert(*key, *backend);
            }
            Op::RemoveQuicServer { key } => {
                tables.quic_servers.remove(key);
            }
            Op::PutAddress { address, flags } => {
                tables.addresses.insert(*address, *flags);
            }
            Op::RemoveAddress { address } => {
                tables.addresses.remove(address);
            }
            Op::PutSettings { settings } => tables.settings = **settings,
            Op::PutPath { address } => {
                tables.paths.get_mut().entry(*address).or_default();
            }
            Op::RemovePath { address } => {
                tables.paths.get_mut().remove(address);
            }
        }
        Ok(())
    }

    fn dump(&self) -> Result<Dump> {
        let tables = &self.tables;
        Ok(Dump {
            vips: tables.vips.clone(),
            services: present(tables.services.iter().copied()),
            backends: present(tables.backends.iter().copied()),
            endpoints: tables.endpoints.clone(),
            devices: tables.devices.clone(),
            addresses: tables.addresses.clone(),
            settings: tables.settings,
            paths: tables.paths.borrow().keys().copied().collect(),
            quic: tables.quic_servers.clone(),
            limits: present(tables.limits.iter().copied()),
            orders: self.orders.iter().map(|(key, order)| (*key, *order)).collect(),
        })
    }

    fn slots(&self, table: Table) -> Result<Vec<Slot>> {
        let (base, len) = (table.base as usize, table.len as usize);
        let slots = self.tables.slots.get(base..base + len);
        slots.map(<[Slot]>::to_vec).with_context(|| format!("no {len} slots from slot {base}"))
    }

    fn stamps(&self, service: u32, len: u32) -> Result<Vec<u32>> {
        let stamps = self.tables.stamps.borrow();
        Ok((0..len).map(|slot| stamps.get(&(service, slot)).copied().unwrap_or(0)).collect())
    }

    fn flows(&self) -> Result<Vec<(FlowKey, Flow)>> {
        Ok(self.tables.flows.iter().collect())
    }

    fn forget_flows(&mut self, flows: &[(FlowKey, Flow)]) -> Result<u64> {
        let (known, now_s) = (self.tables.flows.shared(), self.tables.now_s());
        Ok(flows.iter().filter(|(key, flow)| known.forget(key, flow, now_s)).count() as u64)
    }

    fn connections(&self) -> Result<Vec<(FlowKey, Connection)>> {
        Ok(self.tables.connections.borrow().iter().map(|(flow, connection)| (*flow, *connection)).collect())
    }

    fn forget_connections(&mut self, left: &[Left]) -> Result<()> {
        left.iter().for_each(|left| self.forget_connection(left));
        Ok(())
    }

    fn gauges(&self, limits: &[u32]) -> Result<Vec<(Gauge, u64)>> {
        Ok(self.counted(limits))
    }

    fn correct_gauge(&mut self, gauge: &Gauge, from: u64, to: u64) -> Result<()> {
        self.correct(gauge, from, to);
        Ok(())
    }

    fn snats(&self) -> Result<Vec<(FlowKey, Snat)>> {
        Ok(self.tables.snats.borrow().iter().map(|(key, snat)| (*key, *snat)).collect())
    }

    fn snat_replies(&self) -> Result<Vec<(SnatReplyKey, SnatReply)>> {
        Ok(self.tables.snat_replies.borrow().iter().map(|(key, reply)| (*key, *reply)).collect())
    }

    fn ports(&self) -> Result<Vec<u64>> {
        Ok(self.tables.ports.iter().map(Cell::get).collect())
    }

    fn release(&mut self, releases: &[Release]) -> Result<u64> {
        let tables = &mut self.tables;
        let mut flows = 0;
        for Release { flow, reply, port } in releases {
            if let Some((key, read)) = flow {
                if tables.snats.get_mut().get(key) != Some(read) {
                    continue;
                }
                tables.snats.get_mut().remove(key);
                flows += 1;
            }
            if let Some(key) = reply {
                tables.snat_replies.get_mut().remove(key);
            }
            for (word, bits) in port.and_then(|port| port.bits(self.stride)).into_iter().flatten() {
                let word = at(&mut tables.ports, word)?;
                word.set(word.get() & !bits);
            }
        }
        Ok(flows)
    }

    fn tally(&self) -> Result<Tally> {
        Ok(self.tables.tally.get())
    }

    fn take_census(&mut self) -> Result<Vec<FlowKey>> {
        Ok(std::mem::take(self.tables.census.get_mut()).into_iter().collect())
    }

    fn now_s(&self) -> u32 {
        self.tables.now_s()
    }

    fn service_traffic(&self, id: u32) -> Result<Traffic> {
        Ok(self.tables.service_traffic.borrow().get(&id).copied().unwrap_or_default())
    }

    fn gone_traffic(&self) -> Result<Traffic> {
        Ok(self.gone)
    }

    fn backend_traffic(&self, id: u32) -> Result<Traffic> {
        Ok(self.tables.backend_traffic.borrow().get(&id).copied().unwrap_or_default())
    }

    fn limit_count(&self, id: u32) -> Result<LimitCount> {
        Ok(self.tables.limit_counts.borrow().get(&id).copied().unwrap_or_default())
    }

    fn buckets(&self, limits: &[u32]) -> Result<Vec<Owned>> {
        Ok(self.tables.buckets.shared().iter().filter(|owned| limits.contains(&owned.key.limit)).collect())
    }

    fn refusals(&self) -> Result<Vec<(Refusal, u64)>> {
        let counted = self.tables.refusals.borrow();
        Ok(Refusal::ALL.iter().map(|&refusal| (refusal, counted.get(&refusal).copied().unwrap_or(0))).collect())
    }
}
