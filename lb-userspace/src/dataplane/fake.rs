//! A data plane without a kernel: the host's tables, written by the same operations.

use std::cell::Cell;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lb_common::Refusal;
use lb_common::Tables as _;
use lb_common::abi::{Backend, Flow, FlowCount, FlowKey, LimitCount, Order, OrderKey, Service, Slot, Table, Traffic};
use lb_common::host::HostTables;

use super::{Capacity, DataPlane, Dump, Op, present};

/// The host's tables as a data plane: packets are decided by the same code as in the kernel.
#[derive(Debug)]
pub struct Fake {
    /// The tables, for packets to be decided by.
    pub tables: HostTables,
    /// Orders.
    pub orders: BTreeMap<OrderKey, Order>,
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
                max_flows: size(capacity.flows),
                ..HostTables::default()
            },
            orders: BTreeMap::new(),
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
            Op::PutLimit { id, limit } => {
                *at(&mut tables.limits, *id)? = *limit;
                at(&mut tables.service_buckets, *id)?.set(0);
                tables.limit_counts.get_mut().remove(id);
                tables.source_buckets.get_mut().retain(|key, _| key.limit != *id);
            }
            Op::PutBackend { id, backend } => {
                *at(&mut tables.backends, *id)? = *backend;
                tables.backend_traffic.get_mut().remove(id);
            }
            Op::MoveBackend { id, backend } => *at(&mut tables.backends, *id)? = *backend,
            Op::RemoveBackend { id } => *at(&mut tables.backends, *id)? = Backend::default(),
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
                tables.service_traffic.get_mut().remove(id);
            }
            Op::Publish { service, table } => at(&mut tables.services, *service)?.table = table.pack(),
            Op::SetFlags { service, flags } => at(&mut tables.services, *service)?.flags = *flags,
            Op::RemoveService { id } => *at(&mut tables.services, *id)? = Service::default(),
            Op::PutVip { vip, service } => {
                tables.vips.insert(*vip, *service);
            }
            Op::RemoveVip { vip } => {
                tables.vips.remove(vip);
            }
            Op::PutEndpoint { listens, endpoint } => {
                tables.endpoints.insert(*listens, *endpoint);
            }
            Op::RemoveEndpoint { listens } => {
                tables.endpoints.remove(listens);
            }
            // Devices matter to the kernel's routes alone; the host's are written down by hand.
            Op::PutDevice { .. } | Op::RemoveDevice { .. } => {}
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
            devices: BTreeMap::new(),
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
        Ok(self.tables.flows.borrow().iter().map(|(key, flow)| (*key, *flow)).collect())
    }

    fn forget_flows(&mut self, flows: &[(FlowKey, Flow)]) -> Result<u64> {
        let known = self.tables.flows.get_mut();
        let before = known.len();
        for (key, flow) in flows {
            if known.get(key) == Some(flow) {
                known.remove(key);
            }
        }
        Ok((before - known.len()) as u64)
    }

    fn flow_count(&self) -> Result<FlowCount> {
        Ok(self.tables.flow_counts.get())
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

    fn backend_traffic(&self, id: u32) -> Result<Traffic> {
        Ok(self.tables.backend_traffic.borrow().get(&id).copied().unwrap_or_default())
    }

    fn limit_count(&self, id: u32) -> Result<LimitCount> {
        Ok(self.tables.limit_counts.borrow().get(&id).copied().unwrap_or_default())
    }

    fn refusals(&self) -> Result<Vec<(Refusal, u64)>> {
        let counted = self.tables.refusals.borrow();
        Ok(Refusal::ALL.iter().map(|&refusal| (refusal, counted.get(&refusal).copied().unwrap_or(0))).collect())
    }
}
