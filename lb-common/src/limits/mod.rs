//! A service's limits.

mod answer;
mod law;
mod plain;
mod tables;
#[cfg(test)]
mod tests;

use crate::abi::{BucketKey, Class, DeviceFlags, Limit, LimitFlags, LimitOver, LimitScope, LimitUnit, MAX_LIMITS};
use crate::bucket_table::Taken;
use crate::gcra::{self, Admission, Bucket, MAX_TRIES};
use crate::headers::Headers;
use crate::packet::Packet;
use crate::tables::Tables;
use crate::{Address, Refusal, fair};

pub use answer::{Admitted, Said};
pub use law::{DEBT_TICKS, MAX_DELAY_NS};
pub use plain::{all_plain, one_plain, plain, source_plain};
pub use tables::{LimitTables, OwnBucket};

/// When limits are asked.
pub struct Stage;

impl Stage {
    /// Before a client's packet has a backend.
    pub const ARRIVING: u32 = 0;
    /// When it has one.
    pub const CHOSEN: u32 = 1;
    /// When a backend's packet goes back to a client.
    pub const LEAVING: u32 = 2;
}

/// Who asks.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asker {
    /// The client.
    pub who: Address,
    /// The service.
    pub service: u32,
    /// The backend, if there is one yet.
    pub backend: u32,
    /// [`Stage`].
    pub stage: u32,
    /// How many packets it is on the wire.
    pub packets: u32,
    /// What kind of a queue there is where it goes: [`DeviceFlags::TIMED`], [`DeviceFlags::CLASSED`], or 0 for none.
    pub waits: u32,
}

/// How many packets a frame is on the wire: more than one when they were merged.
#[inline(always)]
pub fn packets<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> u32 {
    match packet.merged() {
        0 => 1,
        payload => (headers.length / payload).max(1),
    }
}

/// Asks every limit of the service that is asked at this stage, in their order: what became of the packet, as
/// [`Admitted::pack`] says. What an earlier limit admitted stays in its bucket when a later one refuses: the packet did press
/// on it.
#[inline(always)]
pub fn admit<T: Tables>(tables: &T, headers: &Headers, asker: &Asker) -> u64 {
    let Some(service) = tables.service(asker.service) else { return Admitted::pack(Err(Refusal::NoBackend)) };
    let mut answer = 0;
    let mut at = 0;
    while at < MAX_LIMITS {
        // The list ends with 0; a limit is never published before it is written.
        let Some(id) = service.limits[at].checked_sub(1) else { break };
        let one = tables.ask_limit(headers, asker, u32::from(id));
        if one & 0xff != 0 {
            return one;
        }
        answer = Admitted::and(answer, one);
        at += 1;
    }
    answer
}

/// Asks one limit.
#[inline(always)]
pub fn ask<T: Tables>(tables: &T, headers: &Headers, asker: &Asker, id: u32) -> u64 {
    let Some(limit) = tables.limit(id) else { return FREE };
    if !is_asked(limit, headers, asker) {
        return FREE;
    }
    let queue = if limit.over == LimitOver::DELAY { asker.waits } else { 0 };
    let class = Class::of(limit, id, asker.backend);
    if queue & DeviceFlags::CLASSED != 0 && class != 0 {
        tables.count_limit(id, Said::Admitted);
        return Admitted::pack(Ok(Admitted { class, ..Admitted::FREE }));
    }
    let units = match limit.unit {
        LimitUnit::BYTES => headers.length,
        LimitUnit::PACKETS => asker.packets,
        _ => 1,
    };
    let (cost, waits) = (gcra::cost(limit, units), queue & DeviceFlags::TIMED != 0);
    let question = Question { limit, headers, asker, id, cost, waits, now_ns: tables.now_ns() };
    let (said, answer) =
        if limit.scope == LimitScope::SERVICE { of_service(tables, &question) } else { of_one(tables, &question) }
            .unwrap_or_else(|| {
                let (said, answer) = without_bucket(limit);
                (said, Admitted::pack(answer.map(|()| Admitted::FREE)))
            });
    tables.count_limit(id, said);
    answer
}

/// A packet that goes on as it came, as a word.
const FREE: u64 = Admitted::pack(Ok(Admitted::FREE));

/// What a limit is asked.
struct Question<'a> {
    limit: &'a Limit,
    headers: &'a Headers,
    asker: &'a Asker,
    /// The limit's.
    id: u32,
    /// Of the packet, in ticks.
    cost: u64,
    /// Whether there is a queue where it goes that keeps times.
    waits: bool,
    now_ns: u64,
}

impl Question<'_> {
    #[inline(always)]
    fn key(&self) -> BucketKey {
        key(self.limit, self.headers, self.asker, self.id)
    }

    #[inline(always)]
    const fn now(&self) -> u64 {
        gcra::ticks(self.now_ns)
    }
}

/// Asks the one bucket of a limit; nothing when there is none.
#[inline(always)]
fn of_service<T: Tables>(tables: &T, question: &Question<'_>) -> Option<(Said, u64)> {
    let Question { limit, id, cost, now_ns, .. } = *question;
    if limit.over == LimitOver::MARK {
        return law::marked(tables, question);
    }
    let bucket = tables.service_bucket(id)?;
    let presses =
        limit.flags & LimitFlags::FAIR != 0 && fair::presses(tables, limit, &question.key(), &bucket, now_ns, cost);
    let admission = gcra::pour(MAX_TRIES, law::room(question, presses), &bucket, question.now());
    Some(law::judged(question, admission))
}

/// Asks the bucket of a source or a backend; nothing when there is none to be had.
#[inline(always)]
fn of_one<T: Tables>(tables: &T, question: &Question<'_>) -> Option<(Said, u64)> {
    let key = question.key();
    let (bucket, _) = own(tables, key.who.halves(), key.limit, question.limit.depth_ticks, || question.now_ns)?;
    let admission = gcra::pour(MAX_TRIES, law::room(question, false), &bucket, question.now());
    bucket.note_asked(!matches!(admission, Admission::Admitted(_)));
    Some(law::judged(question, admission))
}

/// Whether a limit is asked of this packet, here.
#[inline(always)]
const fn is_asked(limit: &Limit, headers: &Headers, asker: &Asker) -> bool {
    let by_this = match limit.unit {
        // They are counted elsewhere.
        LimitUnit::CONNECTIONS => false,
        LimitUnit::OPENINGS => headers.opens,
        _ => true,
    };
    by_this && stage(limit) == asker.stage
}

/// When a limit is asked.
#[inline(always)]
const fn stage(limit: &Limit) -> u32 {
    if limit.flags & LimitFlags::OUT != 0 {
        Stage::LEAVING
    } else if limit.scope == LimitScope::BACKEND {
        Stage::CHOSEN
    } else {
        Stage::ARRIVING
    }
}

/// Whose bucket it is.
#[inline(always)]
pub(crate) fn key(limit: &Limit, headers: &Headers, asker: &Asker, id: u32) -> BucketKey {
    if limit.scope == LimitScope::BACKEND {
        return BucketKey::of_backend(asker.backend, id);
    }
    BucketKey { who: asker.who.prefix(limit.source_bits(headers.v4)), limit: id }
}

/// The bucket of `who`, the halves of a [key](BucketKey)'s, under a limit of this depth, and the time that `clock` says then, in
/// nanoseconds. Counts whose it was before.
///
/// A processor ends whatever it has begun before it reads its clock, and begins nothing meanwhile. So the bucket is touched
/// before: who waits for it waits for the rest of the packet's way at once.
#[inline(always)]
fn own<T: Tables>(
    tables: &T,
    who: [u64; 2],
    limit: u32,
    depth: u64,
    clock: impl FnOnce() -> u64,
) -> Option<(T::Own<'_>, u64)> {
    let known = tables.known_bucket(who, limit);
    if let Some(bucket) = &known {
        bucket.load();
    }
    let now_ns = clock();
    if let Some(bucket) = known {
        return Some((bucket, now_ns));
    }
    let (bucket, taken) = tables.find_bucket(who, limit, gcra::ticks(now_ns), depth)?;
    match taken {
        Taken::Known | Taken::Fresh => {}
        Taken::Idle => tables.count_eviction(limit, false),
        Taken::Busy => tables.count_eviction(limit, true),
    }
    Some((bucket, now_ns))
}

/// What becomes of a packet that there is no bucket for: a limit that only counts refuses nothing.
#[inline(always)]
const fn without_bucket(limit: &Limit) -> (Said, Result<(), Refusal>) {
    if limit.over == LimitOver::COUNT { (Said::WouldDrop, Ok(())) } else { (Said::Over, Err(Refusal::LimitTableFull)) }
}

/// What a packet is told that is over a limit.
#[inline(always)]
pub(crate) const fn over(limit: &Limit) -> Refusal {
    match limit.scope {
        LimitScope::SERVICE => Refusal::OverServiceLimit,
        LimitScope::SOURCE => Refusal::OverSourceLimit,
        _ => Refusal::OverBackendLimit,
    }
}
