//! From one set of maps to another of other sizes. Ids stay as they are, so it is place by place and key by key.

use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use aya::Pod;
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use lb_common::Address;
use lb_common::abi::{
    Backend, BucketCell, Connection, Device, Endpoint, Flow, FlowKey, Limit, LimitCount, Order, OrderKey, PathMtu,
    QuicKey, ReplyKey, ReplyOwner, Service, Stamps, Tally, Traffic, VipKey, map,
};
use lb_common::bucket_table::GAUGE;
use lb_common::gauge::is_gauge;
use lb_common::tables::FlowCell as _;

use super::super::shape::{gone_row, left_row, services_of};
use super::set::Set;
use super::snat;
use crate::dataplane::kernel::clock::{now_s, now_ticks};
use crate::dataplane::kernel::index::Index;
use crate::dataplane::kernel::mapped::Mapped;

/// Flags of an update (bpf.h): whether it is there or not, or only if it is not there.
pub(super) const ANY: u64 = 0;
pub(super) const NOEXIST: u64 = 1;

/// Copies everything. The new set is in nobody's use yet.
pub(super) fn all(from: &Set<'_>, to: &Set<'_>) -> Result<()> {
    mapped::<Service>(from, to, map::SERVICES)?;
    // `Slot`s as the words that they are.
    mapped::<u64>(from, to, map::SLOTS)?;
    mapped::<Backend>(from, to, map::BACKENDS)?;
    mapped::<Stamps>(from, to, map::STAMPS)?;
    array::<Limit>(from, to, map::LIMITS)?;
    mapped::<BucketCell>(from, to, map::SERVICE_BUCKETS)?;
    hash::<VipKey, u32>(from, to, map::VIPS, ANY)?;
    hash::<VipKey, Endpoint>(from, to, map::ENDPOINTS, ANY)?;
    hash::<OrderKey, Order>(from, to, map::ORDERS, ANY)?;
    hash::<u32, Device>(from, to, map::DEVICES, ANY)?;
    hash::<Address, u32>(from, to, map::ADDRESSES, ANY)?;
    hash::<QuicKey, u32>(from, to, map::QUIC_SERVERS, ANY)?;
    hash::<Address, PathMtu>(from, to, map::PATHS, ANY)?;
    snat::all(from, to)?;
    flows(from, to)?;
    hash::<ReplyKey, ReplyOwner>(from, to, map::REPLIES, ANY)?;
    buckets(from, to)?;
    hash::<FlowKey, Connection>(from, to, map::CONNECTIONS, ANY)?;
    services_traffic(from, to)?;
    counters::<Traffic>(from, to, map::BACKEND_TRAFFIC)?;
    counters::<LimitCount>(from, to, map::LIMIT_COUNTS)?;
    counters::<Tally>(from, to, map::TALLY)?;
    counters::<u64>(from, to, map::REFUSALS)?;
    index(to)
}

/// Derives what is found without a search: where things are depends on how large the maps are.
fn index(set: &Set<'_>) -> Result<()> {
    let vips: HashMap<MapData, VipKey, u32> = set.open(map::VIPS)?;
    let addresses: HashMap<MapData, Address, u32> = set.open(map::ADDRESSES)?;
    let endpoints: HashMap<MapData, VipKey, Endpoint> = set.open(map::ENDPOINTS)?;
    let vips = vips.iter().collect::<Result<Vec<_>, _>>().with_context(|| set.shown(map::VIPS))?;
    let mut known = addresses.keys().collect::<Result<Vec<_>, _>>().with_context(|| set.shown(map::ADDRESSES))?;
    for listens in endpoints.keys() {
        known.push(listens.with_context(|| set.shown(map::ENDPOINTS))?.address);
    }
    let (places, bits) = (open_mapped(set, map::PLACES)?, open_mapped(set, map::KNOWN)?);
    Index::of(places, bits).derive(vips.into_iter(), known.into_iter())
}

/// Takes over what programs wrote into the old set since it was copied, while others may already write into the new one.
/// Done once more it does no harm.
pub(super) fn since(from: &Set<'_>, to: &Set<'_>) -> Result<()> {
    flows(from, to)?;
    snat::since(from, to)?;
    hash::<ReplyKey, ReplyOwner>(from, to, map::REPLIES, NOEXIST)?;
    buckets(from, to)?;
    hash::<FlowKey, Connection>(from, to, map::CONNECTIONS, NOEXIST)?;
    let old = open_mapped::<Stamps>(from, map::STAMPS)?;
    let mut new = open_mapped::<Stamps>(to, map::STAMPS)?;
    for index in 0..old.len().min(new.len()) {
        let (Stamps(old), Stamps(now)) = (old.read(index)?, new.read(index)?);
        for (half, (old, now)) in old.into_iter().zip(now).enumerate() {
            if later(old, now) {
                new.store_u32(index, half * size_of::<u32>(), old)?;
            }
        }
    }
    Ok(())
}

/// Whether one time in seconds comes after another, by a clock that wraps.
pub(super) fn later(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() > 0
}

/// Which of two memories of one flow holds: the old set's, or the new one's. A connection that has begun anew since the
/// copy is known to the old set with its new backend, until the links were updated, and to the new set from then on.
fn old_holds(old: &Flow, new: &Flow) -> bool {
    later(old.seen_s, new.seen_s) || old.seen_s == new.seen_s && old.backend != new.backend
}

fn flows(from: &Set<'_>, to: &Set<'_>) -> Result<()> {
    let (old, new) = (from.flows()?, to.flows()?);
    let new = new.shared();
    let mut left = 0_u64;
    for (key, flow) in old.shared().iter() {
        match new.find(&key) {
            Some(known) if old_holds(&flow, &known.read()) => known.begin(flow),
            Some(_) => {}
            // No room: who is not remembered goes to where the slot's flows went before, as ever.
            None => left += u64::from(!new.insert(&key, flow, now_s())),
        }
    }
    if left > 0 {
        tracing::warn!(flows = left, "no room for all flows that were remembered meanwhile: raise `max_flows`");
    }
    Ok(())
}

/// Copies the buckets of sources and backends. Of one that both sets have, whichever is fuller holds: what was admitted by either
/// was admitted.
fn buckets(from: &Set<'_>, to: &Set<'_>) -> Result<()> {
    let (old, new) = (from.buckets()?, to.buckets()?);
    let (new, now) = (new.shared(), now_ticks());
    let mut left = 0_u64;
    for owned in old.shared().iter().filter(|owned| owned.level.empty_at > now) {
        let depth = if is_gauge(owned.level.empty_at) { GAUGE } else { u64::MAX >> 2 };
        let found = new.find(&owned.key, now, depth).and_then(|(index, _)| new.bucket(index));
        match found {
            Some(bucket) => drop(bucket.fetch_max(owned.level.empty_at, Ordering::SeqCst)),
            None => left += 1,
        }
    }
    if left > 0 {
        tracing::warn!(buckets = left, "no room for all buckets of limits: raise `max_sources`");
    }
    Ok(())
}

pub(super) fn open_mapped<T: Pod>(set: &Set<'_>, name: &str) -> Result<Mapped<T>> {
    let data = set.data(name)?;
    let len = data.info().with_context(|| format!("asking about {}", set.shown(name)))?.max_entries();
    Mapped::new(data.fd().as_fd(), len)
}

/// Copies an array that both programs and this process have mapped.
fn mapped<T: Pod>(from: &Set<'_>, to: &Set<'_>, name: &str) -> Result<()> {
    let from = open_mapped::<T>(from, name)?;
    let mut to = open_mapped::<T>(to, name)?;
    (0..from.len().min(to.len())).try_for_each(|index| to.write(index, from.read(index)?))
}

fn array<T: Pod>(from: &Set<'_>, to: &Set<'_>, name: &str) -> Result<()> {
    let old: Array<MapData, T> = from.open(name)?;
    let mut new: Array<MapData, T> = to.open(name)?;
    for index in 0..old.len().min(new.len()) {
        let value = old.get(&index, 0).with_context(|| format!("reading {}", from.shown(name)))?;
        new.set(index, value, ANY).with_context(|| format!("writing {}", to.shown(name)))?;
    }
    Ok(())
}

/// What services carried: a row each, one of those that are gone, and a row each for what their backends carried that are.
fn services_traffic(from: &Set<'_>, to: &Set<'_>) -> Result<()> {
    let old: PerCpuArray<MapData, Traffic> = from.open(map::SERVICE_TRAFFIC)?;
    let mut new: PerCpuArray<MapData, Traffic> = to.open(map::SERVICE_TRAFFIC)?;
    let (was, is) = (services_of(old.len()), services_of(new.len()));
    let both = 0..was.min(is);
    let left = both.clone().map(|id| (left_row(was, id), left_row(is, id)));
    let rows = both.map(|id| (id, id)).chain([(gone_row(was), gone_row(is))]).chain(left);
    for (before, after) in rows {
        let values = old.get(&before, 0).with_context(|| format!("reading {}", from.shown(map::SERVICE_TRAFFIC)))?;
        if values.iter().any(|value| *value != Traffic::default()) {
            new.set(after, values, ANY).with_context(|| format!("writing {}", to.shown(map::SERVICE_TRAFFIC)))?;
        }
    }
    Ok(())
}

fn counters<T: Pod + Default + PartialEq>(from: &Set<'_>, to: &Set<'_>, name: &str) -> Result<()> {
    let old: PerCpuArray<MapData, T> = from.open(name)?;
    let mut new: PerCpuArray<MapData, T> = to.open(name)?;
    for index in 0..old.len().min(new.len()) {
        let values = old.get(&index, 0).with_context(|| format!("reading {}", from.shown(name)))?;
        if values.iter().any(|value| *value != T::default()) {
            new.set(index, values, ANY).with_context(|| format!("writing {}", to.shown(name)))?;
        }
    }
    Ok(())
}

/// Copies a hash. Of one that programs evict from, or delete in, the walk may begin again (bpf(2),
/// BPF_MAP_GET_NEXT_KEY): it ends at last after as many steps as there is room twice over.
pub(super) fn hash<K: Pod, V: Pod>(from: &Set<'_>, to: &Set<'_>, name: &str, flags: u64) -> Result<()> {
    let old: HashMap<MapData, K, V> = from.open(name)?;
    let mut new: HashMap<MapData, K, V> = to.open(name)?;
    let room = from.data(name)?.info().with_context(|| format!("asking about {}", from.shown(name)))?.max_entries();
    for entry in old.iter().take((room as usize).saturating_mul(2)) {
        let (key, value) = entry.with_context(|| format!("reading {}", from.shown(name)))?;
        match new.insert(key, value, flags) {
            Err(error) if flags == NOEXIST && is(&error, THERE) => {}
            other => other.with_context(|| format!("writing {}", to.shown(name)))?,
        }
    }
    Ok(())
}

/// What the kernel says of a key that is there.
const THERE: nix::errno::Errno = nix::errno::Errno::EEXIST;

fn is(error: &MapError, what: nix::errno::Errno) -> bool {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error() == Some(what as i32),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_memories_the_later_holds() {
        let flow = |seen_s, backend| Flow { seen_s, backend, ..Flow::default() };
        assert!(old_holds(&flow(9, 1), &flow(8, 1)));
        assert!(!old_holds(&flow(8, 1), &flow(9, 2)));
        assert!(old_holds(&flow(8, 2), &flow(8, 1)));
        assert!(!old_holds(&flow(8, 1), &flow(8, 1)));
        assert!(old_holds(&flow(1, 1), &flow(u32::MAX, 1)), "the clock wraps");
    }
}
