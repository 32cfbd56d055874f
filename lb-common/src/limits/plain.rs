//! Limits that the fast way asks.

use crate::abi::{BucketKey, Limit, LimitOver, LimitScope, LimitUnit, MAX_LIMITS, Service};
use crate::gcra::{self, Admission, Bucket, MAX_TRIES, Room};
use crate::tables::Tables;
use crate::{Address, Refusal};

use super::{OwnBucket, Said, over, own, without_bucket};

/// Asks the limits of a service that has only [plain ones](crate::abi::LimitFlags::PLAIN); `who` is
/// asked only when one is a source's.
#[inline(always)]
pub fn plain<T: Tables>(
    tables: &T,
    service: &Service,
    id: u32,
    who: impl FnOnce() -> Address,
    bytes: u32,
    now_ns: u64,
) -> Result<(), Refusal> {
    // Nearly always there is one, and nobody else is at its bucket at this moment.
    if service.limits[1] != 0 {
        return tables.ask_plain(id, who().halves(), bytes, now_ns);
    }
    let Some(only) = service.limits[0].checked_sub(1).map(u32::from) else { return Ok(()) };
    if let Some((bucket, limit)) = tables.plain_bucket(only) {
        let cost = gcra::scaled(limit.cost, limit.shift, if limit.bytes != 0 { bytes } else { 1 });
        let room = Room::of(limit.depth_ticks, cost);
        if let Admission::Admitted(_) = gcra::pour(1, room, &bucket, gcra::ticks(now_ns)) {
            tables.count_limit(only, Said::Admitted);
            return Ok(());
        }
    }
    tables.ask_one_plain(only, who().halves(), bytes, now_ns)
}

/// Asks all of them, one after the other.
#[inline(always)]
pub fn all_plain<T: Tables>(tables: &T, id: u32, who: [u64; 2], bytes: u32, now_ns: u64) -> Result<(), Refusal> {
    let service = tables.service(id).ok_or(Refusal::NoBackend)?;
    let mut at = 0;
    while at < MAX_LIMITS {
        let Some(id) = service.limits[at].checked_sub(1) else { break };
        one_plain(tables, u32::from(id), who, bytes, now_ns)?;
        at += 1;
    }
    Ok(())
}

/// Asks one, of a source with these halves of an [`Address`].
#[inline(always)]
pub fn one_plain<T: Tables>(tables: &T, id: u32, who: [u64; 2], bytes: u32, now_ns: u64) -> Result<(), Refusal> {
    let Some(limit) = tables.limit(id) else { return Ok(()) };
    let (said, answer) = if limit.scope == LimitScope::SERVICE {
        match tables.service_bucket(id) {
            Some(bucket) => judged(limit, pour(limit, &bucket, now_ns, bytes)),
            None => without_bucket(limit),
        }
    } else {
        match own(tables, &key(limit, Address::from_halves(who), id), limit, now_ns) {
            Some(bucket) => {
                let admission = pour(limit, &bucket, now_ns, bytes);
                bucket.note_asked(!matches!(admission, Admission::Admitted(_)));
                judged(limit, admission)
            }
            None => without_bucket(limit),
        }
    };
    tables.count_limit(id, said);
    answer
}

#[inline(always)]
fn pour(limit: &Limit, bucket: &impl Bucket, now_ns: u64, bytes: u32) -> Admission {
    let units = if limit.unit == LimitUnit::BYTES { bytes } else { 1 };
    gcra::pour(MAX_TRIES, Room::of(limit.depth_ticks, gcra::cost(limit, units)), bucket, gcra::ticks(now_ns))
}

#[inline(always)]
fn key(limit: &Limit, who: Address, id: u32) -> BucketKey {
    BucketKey { who: who.prefix(limit.source_bits(who.is_v4())), limit: id }
}

/// What a bucket's answer means.
#[inline(always)]
fn judged(limit: &Limit, admission: Admission) -> (Said, Result<(), Refusal>) {
    match admission {
        Admission::Admitted(_) => (Said::Admitted, Ok(())),
        _ if limit.over == LimitOver::COUNT => (Said::WouldDrop, Ok(())),
        Admission::Over => (Said::Over, Err(over(limit))),
        Admission::Contended => (Said::Over, Err(Refusal::LimitContended)),
    }
}
