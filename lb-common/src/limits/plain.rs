//! Limits that the fast way asks.

use crate::abi::{Limit, LimitOver, LimitScope, LimitUnit, MAX_LIMITS, PlainFlags, Service};
use crate::gcra::{self, Admission, Bucket, MAX_TRIES, Room};
use crate::tables::Tables;
use crate::{Address, Refusal};

use super::{OwnBucket, Said, over, own, without_bucket};

/// Asks the limits of a service that has only [plain ones](crate::abi::LimitFlags::PLAIN); `who` is not
/// asked of a single one per service that there is room in.
#[inline(always)]
pub fn plain<T: Tables>(
    tables: &T,
    service: &Service,
    id: u32,
    who: impl FnOnce() -> Address,
    bytes: u32,
) -> Result<(), Refusal> {
    // Nearly always there is one, and nobody else is at its bucket at this moment.
    if service.limits[1] != 0 {
        return tables.ask_plain(id, who().halves(), bytes);
    }
    let Some(only) = service.limits[0].checked_sub(1).map(u32::from) else { return Ok(()) };
    if let Some((bucket, limit)) = tables.plain_bucket(only) {
        let cost = gcra::scaled(limit.cost, limit.shift, if limit.flags & PlainFlags::BYTES != 0 { bytes } else { 1 });
        if limit.flags & PlainFlags::SOURCE != 0 {
            return tables.ask_source(only, who().halves(), cost, limit.depth_ticks);
        }
        let room = Room::of(limit.depth_ticks, cost);
        if let Admission::Admitted(_) = gcra::pour(1, room, &bucket, gcra::ticks(tables.now_ns())) {
            tables.count_limit(only, Said::Admitted);
            return Ok(());
        }
    }
    tables.ask_one_plain(only, who().halves(), bytes)
}

/// Asks all of them, one after the other, at one and the same time.
#[inline(always)]
pub fn all_plain<T: Tables>(tables: &T, id: u32, who: [u64; 2], bytes: u32) -> Result<(), Refusal> {
    let service = tables.service(id).ok_or(Refusal::NoBackend)?;
    let now_ns = tables.now_ns();
    let mut at = 0;
    while at < MAX_LIMITS {
        let Some(id) = service.limits[at].checked_sub(1) else { break };
        one(tables, u32::from(id), who, bytes, || now_ns)?;
        at += 1;
    }
    Ok(())
}

/// Asks one, of a source with these halves of an [`Address`].
#[inline(always)]
pub fn one_plain<T: Tables>(tables: &T, id: u32, who: [u64; 2], bytes: u32) -> Result<(), Refusal> {
    one(tables, id, who, bytes, || tables.now_ns())
}

#[inline(always)]
fn one<T: Tables>(tables: &T, id: u32, who: [u64; 2], bytes: u32, clock: impl FnOnce() -> u64) -> Result<(), Refusal> {
    let Some(limit) = tables.limit(id) else { return Ok(()) };
    let room = room(limit, bytes);
    if limit.scope == LimitScope::SERVICE {
        let admission = tables.service_bucket(id).map(|bucket| pour(room, &bucket, clock()));
        return said(tables, limit, id, admission);
    }
    let who = Address::from_halves(who);
    let who = who.prefix(limit.source_bits(who.is_v4()));
    of_source(tables, (id, Some(limit)), who.halves(), (limit.depth_ticks, room), clock)
}

/// Asks the bucket of an address, whose halves are `who`, under a limit of this depth for whole addresses; what the packet costs
/// is known.
#[inline(always)]
pub fn source_plain<T: Tables>(tables: &T, id: u32, who: [u64; 2], cost: u64, depth: u64) -> Result<(), Refusal> {
    let clock = || tables.now_ns();
    of_source(tables, (id, None), who, (depth, Room::of(depth, cost)), clock)
}

/// The limit itself is looked up, if it is not known, for who is over it.
#[inline(always)]
fn of_source<T: Tables>(
    tables: &T,
    (id, limit): (u32, Option<&Limit>),
    who: [u64; 2],
    (depth, room): (u64, Room),
    clock: impl FnOnce() -> u64,
) -> Result<(), Refusal> {
    let admission = match own(tables, who, id, depth, clock) {
        Some((bucket, now_ns)) => {
            let admission = pour(room, &bucket, now_ns);
            bucket.note_asked(!matches!(admission, Admission::Admitted(_)));
            if let Admission::Admitted(_) = admission {
                tables.count_limit(id, Said::Admitted);
                return Ok(());
            }
            Some(admission)
        }
        None => None,
    };
    let Some(limit) = limit.or_else(|| tables.limit(id)) else { return Ok(()) };
    said(tables, limit, id, admission)
}

/// What a bucket's answer means; nothing where there is none to be had. Counts it.
#[inline(always)]
fn said<T: Tables>(tables: &T, limit: &Limit, id: u32, admission: Option<Admission>) -> Result<(), Refusal> {
    let (said, answer) = match admission {
        None => without_bucket(limit),
        Some(Admission::Admitted(_)) => (Said::Admitted, Ok(())),
        Some(_) if limit.over == LimitOver::COUNT => (Said::WouldDrop, Ok(())),
        Some(Admission::Over) => (Said::Over, Err(over(limit))),
        Some(Admission::Contended) => (Said::Over, Err(Refusal::LimitContended)),
    };
    tables.count_limit(id, said);
    answer
}

/// How much room a packet needs.
#[inline(always)]
fn room(limit: &Limit, bytes: u32) -> Room {
    let units = if limit.unit == LimitUnit::BYTES { bytes } else { 1 };
    Room::of(limit.depth_ticks, gcra::cost(limit, units))
}

#[inline(always)]
fn pour(room: Room, bucket: &impl Bucket, now_ns: u64) -> Admission {
    gcra::pour(MAX_TRIES, room, bucket, gcra::ticks(now_ns))
}
