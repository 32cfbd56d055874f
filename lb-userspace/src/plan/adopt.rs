//! Books for a data plane that somebody else has filled: a controller that ended, or was killed in the midst of a write.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use lb_common::abi::{AddressFlags, Backend, ERROR_LIMIT, FLOW_LIMIT, MAX_LIMITS, Service, Slot, Table, VipKey};

use super::held::NO_POOL;
use super::{BackendState, LimitState, ReadSlots, ServiceState, SlotCount, State};
use crate::address::show;
use crate::dataplane::{Capacity, Dump, Op, is_there};
use crate::vip::{Protocol, Vip};

/// Books, and what to write first so that they are true.
#[derive(Debug, Clone, PartialEq)]
pub struct Adopted {
    /// The books.
    pub state: State,
    /// What was half written: nobody finds it, and it goes; or slots that name nobody.
    pub repairs: Vec<Op>,
}

/// Reads the books of a data plane.
///
/// # Errors
/// When it cannot be one that Weir has filled, whatever was half written; or a table cannot be read.
pub fn adopt(capacity: Capacity, dump: &Dump, slots: ReadSlots<'_>) -> Result<Adopted> {
    let mut state = State::new(capacity);
    let mut repairs = Vec::new();
    state.endpoints.clone_from(&dump.endpoints);
    state.devices.clone_from(&dump.devices);
    state.addresses.clone_from(&dump.addresses);
    state.paths.clone_from(&dump.paths);
    state.settings = dump.settings;
    let own = dump.addresses.iter().filter(|(_, flags)| **flags & AddressFlags::SNAT != 0);
    state.snat_sources.extend(own.map(|(address, _)| *address));
    state.flow_limit = dump.limits.get(&FLOW_LIMIT).copied();
    state.error_limit = dump.limits.get(&ERROR_LIMIT).copied();
    let mut places = BTreeSet::new();
    for (&id, head) in &dump.services {
        let Some(vip) = vip(&head.vip) else {
            repairs.push(Op::RemoveService { id });
            continue;
        };
        let published = dump.vips.get(&head.vip) == Some(&id);
        // One of two heads for a VIP is a new one that nobody finds yet.
        if !published && (dump.vips.contains_key(&head.vip) || state.services.contains_key(&vip)) {
            repairs.push(Op::RemoveService { id });
            continue;
        }
        check_table(&state, capacity, &vip, head, &mut places)?;
        state.service_ids.hold(id);
        let (head, limits) = limits(dump, *head, &mut state);
        let service = ServiceState {
            name: vip.to_string(),
            id,
            head,
            limits,
            backends: BTreeMap::new(),
            slots: BTreeMap::new(),
            published,
        };
        state.services.insert(vip, service);
    }
    for vip in dump.vips.keys().filter(|key| vip(key).is_none_or(|vip| !state.services.contains_key(&vip))) {
        repairs.push(Op::RemoveVip { vip: *vip });
    }
    backends(dump, &mut state, &mut repairs);
    let torn = dump.backends.iter().filter(|(_, row)| row.version & 1 == 1).map(|(id, _)| *id).collect();
    tables(&mut state, &torn, slots, &mut repairs)?;
    quic(dump, &mut state, &mut repairs);
    state.index();
    Ok(Adopted { state, repairs })
}

fn vip(key: &VipKey) -> Option<Vip> {
    let protocol = Protocol::of_number(key.protocol)?;
    let at = show(key.address, key.port_bytes());
    Some(Vip { address: at.ip(), port: at.port(), protocol })
}

fn check_table(state: &State, capacity: Capacity, vip: &Vip, head: &Service, places: &mut BTreeSet<u32>) -> Result<()> {
    let table = Table::unpack(head.table);
    if table.len == 0 {
        return Ok(());
    }
    let place = table.base / state.table_size;
    ensure!(
        table.len == state.table_size
            && table.base.is_multiple_of(state.table_size)
            && place < capacity.tables
            && places.insert(place),
        "the kept maps make no sense: found a table of {} slots from slot {} for {vip}, expected {} slots of its own \
         from a multiple of that; `weir detach` takes them away",
        table.len,
        table.base,
        state.table_size
    );
    Ok(())
}

/// A service's limits, of those that are there; and its head with just those.
fn limits(dump: &Dump, mut head: Service, state: &mut State) -> (Service, Vec<LimitState>) {
    let mut limits = Vec::new();
    let named = head.limits;
    for id in named.iter().map_while(|word| word.checked_sub(1)).map(u32::from).filter(|id| *id > ERROR_LIMIT) {
        if let Some(&limit) = dump.limits.get(&id) {
            state.limit_ids.hold(id);
            limits.push(LimitState { id, limit });
        }
    }
    head.limits = [0; MAX_LIMITS];
    for (place, limit) in head.limits.iter_mut().zip(&limits) {
        *place = u16::try_from(limit.id + 1).unwrap_or(0);
    }
    // Limits that cannot be told are made anew: a list that differs from any that is desired.
    if head.limits != named {
        limits.clear();
    }
    (head, limits)
}

/// Rows of services that are there; the others nobody finds.
fn backends(dump: &Dump, state: &mut State, repairs: &mut Vec<Op>) {
    let by_id: BTreeMap<u32, Vip> = state.services.iter().map(|(vip, service)| (service.id, *vip)).collect();
    for (&id, row) in &dump.backends {
        let service = by_id.get(&row.service).and_then(|vip| state.services.get_mut(vip));
        let listens = show(row.address, row.port.to_ne_bytes());
        let known = |service: &ServiceState| service.backends.contains_key(&listens);
        match service {
            Some(service)
                if is_there(row) && (listens.port() != 0 || service.head.vip.port == 0) && !known(service) =>
            {
                // A row whose writer was stopped half-way is written again: no device is this one.
                let torn = row.version & 1 == 1;
                let mut row = Backend { version: 0, ifindex: if torn { u32::MAX } else { row.ifindex }, ..*row };
                // A pool that somebody else has, or that is none: it is given another one, where it needs one.
                if !state.pool_ids.claim(row.pool.into()) {
                    row.pool = NO_POOL;
                }
                if row.pool != NO_POOL {
                    state.snat_unswept.insert(id);
                }
                service.backends.insert(listens, BackendState { id, name: listens.to_string().into(), row });
                state.backend_ids.hold(id);
                // Nobody has looked yet whether remembered flows go to it.
                state.unswept.insert(id);
            }
            _ => repairs.push(Op::RemoveBackend { id }),
        }
    }
}

/// Server ids of backends that are there.
fn quic(dump: &Dump, state: &mut State, repairs: &mut Vec<Op>) {
    let of = |service: &ServiceState| {
        let id = service.id;
        service.backends.values().map(move |backend| (backend.id, id)).collect::<Vec<_>>()
    };
    let services: BTreeMap<u32, u32> = state.services.values().flat_map(of).collect();
    for (&key, &backend) in &dump.quic {
        if services.get(&backend) == Some(&key.service) {
            state.quic.insert(key, backend);
        } else {
            repairs.push(Op::RemoveQuicServer { key });
        }
    }
}

/// What the slots name.
fn tables(state: &mut State, torn: &BTreeSet<u32>, slots: ReadSlots<'_>, repairs: &mut Vec<Op>) -> Result<()> {
    let mut held = Vec::new();
    for service in state.services.values_mut() {
        let table = Table::unpack(service.head.table);
        if table.len == 0 {
            continue;
        }
        held.push(table.base / state.table_size);
        let known: BTreeSet<u32> = service.backends.values().map(|backend| backend.id).collect();
        let mut read = slots(table)?;
        let mut changes = Vec::new();
        for (number, slot) in (0_u32..).zip(&mut read) {
            let whole = repaired(*slot, &known);
            if whole != *slot {
                *slot = whole;
                changes.push((number, whole));
            }
        }
        if !changes.is_empty() {
            repairs.push(Op::WriteSlots { table, slots: changes.into() });
        }
        service.slots = SlotCount::of(&read);
    }
    // Half of a row that nobody is sent to may be half of another's.
    let mut gone: Vec<BackendState> = Vec::new();
    for service in state.services.values_mut() {
        let slots = &service.slots;
        service.backends.retain(|_, backend| {
            let stays = !torn.contains(&backend.id) || slots.contains_key(&backend.id);
            if !stays {
                gone.push(backend.clone());
            }
            stays
        });
    }
    for backend in gone {
        let id = backend.id;
        state.backend_ids.free(id);
        if let Some(pool) = backend.pool() {
            state.pool_ids.free(pool.into());
        }
        repairs.push(Op::RemoveBackend { id });
    }
    for place in held {
        state.table_ids.hold(place);
    }
    Ok(())
}

/// The slot without backends that are not there.
fn repaired(slot: Slot, known: &BTreeSet<u32>) -> Slot {
    let current = if known.contains(&slot.current()) { slot.current() } else { Slot::NOBODY };
    match slot.old().filter(|old| known.contains(old)) {
        Some(old) => Slot::moving(current, old, slot.is_learning()),
        None => Slot::settled(current),
    }
}
