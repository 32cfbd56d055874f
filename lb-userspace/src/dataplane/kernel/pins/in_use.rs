//! How much of a set of maps is in use, which is how small it can become.

use std::os::fd::AsFd as _;

use anyhow::Result;
use aya::Pod;
use aya::maps::{Array, HashMap, MapData};
use lb_common::abi::{
    Backend, Endpoint, FlowKey, Forward, Limit, Order, OrderKey, QuicKey, Service, Settings, Snat, Table, VipKey, map,
};
use lb_common::{Address, flow_table};

use super::set::Set;
use crate::dataplane::kernel::mapped::Mapped;
use crate::dataplane::{Capacity, is_there};

/// The least sizes that hold what is there. Ids and places stay as they are, so it is the highest one that counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::dataplane::kernel) struct InUse {
    services: u32,
    backends: u32,
    tables: u32,
    limits: u32,
    flows: u32,
    addresses: u32,
    snat_flows: u32,
    snat_pools: u32,
    snat_stride: u32,
    quic_servers: u32,
}

impl InUse {
    pub(super) fn of(set: &Set<'_>) -> Result<Self> {
        let heads: Mapped<Service> = open(set, map::SERVICES)?;
        let rows: Mapped<Backend> = open(set, map::BACKENDS)?;
        let vips: HashMap<MapData, VipKey, u32> = set.open(map::VIPS)?;
        let endpoints: HashMap<MapData, VipKey, Endpoint> = set.open(map::ENDPOINTS)?;
        let orders: HashMap<MapData, OrderKey, Order> = set.open(map::ORDERS)?;
        let flows = set.flows()?;
        let limits: Array<MapData, Limit> = set.open(map::LIMITS)?;

        let addresses: HashMap<MapData, Address, u32> = set.open(map::ADDRESSES)?;
        let quic_servers: HashMap<MapData, QuicKey, u32> = set.open(map::QUIC_SERVERS)?;
        let snats: HashMap<MapData, FlowKey, Snat> = set.open(map::SNATS)?;

        let mut used = Self {
            flows: count(flows.shared().iter()),
            addresses: count(addresses.keys()),
            quic_servers: count(quic_servers.keys()),
            snat_stride: stride(&set.settings()?),
            ..Self::default()
        };
        for snat in snats.iter() {
            let (_, snat) = snat?;
            used.snat_flows += 1;
            used.snat_pools = used.snat_pools.max(u32::from(snat.pool) + 1);
            used.snat_stride = used.snat_stride.max(snat.index + 1);
        }
        for id in 0..heads.len() {
            let head = heads.read(id)?;
            if head != Service::default() {
                used.services = id + 1;
                let Table { base, len } = Table::unpack(head.table);
                // Every place is a multiple of the size; a service without backends has no table.
                used.tables = used.tables.max(base.checked_div(len).map_or(0, |place| place + 1));
            }
        }
        for id in 0..rows.len() {
            let row = rows.read(id)?;
            if is_there(&row) {
                used.backends = id + 1;
                if row.forward == Forward::SNAT {
                    used.snat_pools = used.snat_pools.max(u32::from(row.pool) + 1);
                }
            }
        }
        for id in 0..limits.len() {
            if limits.get(&id, 0)? != Limit::default() {
                used.limits = id + 1;
            }
        }
        used.services = used.services.max(count(vips.keys()));
        used.backends = used.backends.max(count(endpoints.keys())).max(count(orders.keys()));
        Ok(used)
    }

    /// The sizes that are wanted, but none below what is in use; and what was wanted smaller than that, for a person.
    pub(in crate::dataplane::kernel) fn grow(self, wanted: Capacity) -> (Capacity, Vec<String>) {
        let mut notes = Vec::new();
        let mut at_least = |what: &str, key: &str, wanted: u32, used: u32| {
            if used > wanted {
                notes.push(format!(
                    "room for {wanted} {what} was asked for ({key}), and {used} are in use: it stays at {used} until \
                     `weir detach`, or a start that finds fewer"
                ));
            }
            used.max(wanted)
        };
        let capacity = Capacity {
            services: at_least("services", "max_services", wanted.services, self.services),
            backends: at_least("backends", "twice max_backends", wanted.backends, self.backends),
            tables: at_least("tables", "max_services and 8", wanted.tables, self.tables),
            limits: at_least("limits", "by max_services", wanted.limits, self.limits),
            flows: room_for(at_least("flows", "max_flows", wanted.flows, self.flows)),
            addresses: self.addresses.max(wanted.addresses),
            snat_flows: at_least("flows of snat", "max_snat_flows", wanted.snat_flows, self.snat_flows),
            snat_pools: at_least("backends of snat", "max_snat_backends", wanted.snat_pools, self.snat_pools),
            snat_stride: at_least("addresses", "snat_addresses", wanted.snat_stride, self.snat_stride),
            quic_servers: self.quic_servers.max(wanted.quic_servers),
            ..wanted
        };
        (capacity, notes)
    }
}

/// So many flows, and those that there is room for then.
const fn room_for(flows: u32) -> u32 {
    flow_table::room(flow_table::groups(flows))
}

/// How many addresses of a family flows of snat leave from.
fn stride(settings: &Settings) -> u32 {
    let of = |all: &[Address]| count(all.iter().filter(|own| **own != Address::default()));
    of(&settings.snat_v4).max(of(&settings.snat_v6))
}

fn open<T: Pod>(set: &Set<'_>, name: &str) -> Result<Mapped<T>> {
    let data = set.data(name)?;
    Mapped::new(data.fd().as_fd(), data.info()?.max_entries())
}

fn count<T>(keys: impl Iterator<Item = T>) -> u32 {
    u32::try_from(keys.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_smaller_than_what_is_in_use() {
        let wanted = Capacity {
            services: 16,
            backends: 64,
            table_size: 251,
            tables: 24,
            limits: 65,
            sources: 1,
            flows: 1024,
            replies: 1,
            devices: 1,
            addresses: 1,
            snat_flows: 1024,
            snat_pools: 1,
            snat_stride: 1,
            fragments: 64,
            quic_servers: 1,
            paths: 1,
        };
        let used = InUse { services: 3, backends: 80, tables: 24, flows: 2000, ..InUse::default() };
        let (capacity, notes) = used.grow(wanted);
        assert_eq!(capacity, Capacity { backends: 80, flows: 2000, ..wanted });
        assert_eq!(notes.len(), 2);
        assert!(notes[1].contains("1024 flows") && notes[1].contains("2000 are in use"), "{notes:?}");
    }
}
