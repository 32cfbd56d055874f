//! Flows of snat from one set of maps to another: which ports they have, whatever the pools' sizes.

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, MapData, MapError};
use lb_common::abi::{FlowKey, PORT_WORDS, Settings, Snat, SnatReply, SnatReplyKey, map};

use super::copy::{ANY, NOEXIST, hash, later, open_mapped};
use super::set::Set;

/// Copies everything. The new set is in nobody's use yet.
pub(super) fn all(from: &Set<'_>, to: &Set<'_>) -> Result<()> {
    let stride = to.settings()?.stride;
    let mut settings: Array<MapData, Settings> = to.open(map::SETTINGS)?;
    settings
        .set(0, Settings { stride, ..from.settings()? }, ANY)
        .with_context(|| format!("writing {}", to.shown(map::SETTINGS)))?;
    ports(from, to)?;
    hash::<SnatReplyKey, SnatReply>(from, to, map::SNAT_REPLIES, ANY)?;
    hash::<FlowKey, Snat>(from, to, map::SNATS, ANY)
}

/// Takes over what began, and what spoke, since. Of two flows with one port, one of either set, the new set's has it: the
/// other one is found to be half of a flow by the next sweep.
pub(super) fn since(from: &Set<'_>, to: &Set<'_>) -> Result<()> {
    ports(from, to)?;
    hash::<SnatReplyKey, SnatReply>(from, to, map::SNAT_REPLIES, NOEXIST)?;
    let old: HashMap<MapData, FlowKey, Snat> = from.open(map::SNATS)?;
    let mut new: HashMap<MapData, FlowKey, Snat> = to.open(map::SNATS)?;
    for flow in old.iter() {
        let (key, flow) = flow.with_context(|| format!("reading {}", from.shown(map::SNATS)))?;
        match new.get(&key, 0) {
            Ok(known) if same(&known, &flow) && later(flow.seen_s, known.seen_s) => {}
            Ok(_) => continue,
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", to.shown(map::SNATS))),
        }
        new.insert(key, flow, ANY).with_context(|| format!("writing {}", to.shown(map::SNATS)))?;
    }
    Ok(())
}

/// Whether both are the same flow, at different times.
fn same(one: &Snat, other: &Snat) -> bool {
    let Snat { source, backend, port, pool, index, .. } = *other;
    *one == Snat { source, backend, port, pool, index, ..*one }
}

/// Takes the ports that are taken in the old set also in the new one, pool by pool and address by address.
fn ports(from: &Set<'_>, to: &Set<'_>) -> Result<()> {
    let (was, is) = (from.settings()?.stride, to.settings()?.stride);
    let old = open_mapped::<u64>(from, map::PORTS)?;
    let mut new = open_mapped::<u64>(to, map::PORTS)?;
    for index in 0..old.len() {
        let bits = old.read(index)?;
        let (place, word) = (index / PORT_WORDS, index % PORT_WORDS);
        let (Some(pool), Some(own)) = (place.checked_div(was), place.checked_rem(was)) else { continue };
        let there = (pool * is + own) * PORT_WORDS + word;
        if bits != 0 && own < is && there < new.len() {
            new.set_bits(there, bits)?;
        }
    }
    Ok(())
}
