//! A service's limits.

use crate::abi::{
    BucketKey, Class, DeviceFlags, Limit, LimitFlags, LimitOver, LimitScope, LimitUnit, MAX_LIMITS, Service,
};
use crate::bucket_table::Taken;
use crate::gcra::{self, Admission, Bucket, MAX_TRIES, Room, TICKS_PER_NS};
use crate::headers::Headers;
use crate::packet::Packet;
use crate::tables::Tables;
use crate::{Address, Refusal, fair, mark};

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

/// What became of a packet that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Admitted {
    /// Its sender is to be told to slow down.
    pub mark: bool,
    /// The `htb` class that it goes by; 0 for none.
    pub class: u16,
    /// For how long it is to wait, in nanoseconds.
    pub delay_ns: u32,
}

/// What a limit said, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Within the limit.
    Admitted,
    /// Over it, and dropped.
    Over,
    /// Over it, and marked.
    Marked,
    /// Over it, and let through.
    WouldDrop,
    /// Over it, and let through later.
    Delayed,
}

impl Admitted {
    const MARK: u64 = 1 << 8;
    const CLASS: u32 = 16;
    const DELAY: u32 = 32;

    /// As a word, or a refusal in it: all that a function of the kernel's gives back.
    #[inline(always)]
    pub const fn pack(answer: Result<Self, Refusal>) -> u64 {
        match answer {
            Ok(Self { mark, class, delay_ns }) => {
                let mark = if mark { Self::MARK } else { 0 };
                mark | (class as u64) << Self::CLASS | (delay_ns as u64) << Self::DELAY
            }
            Err(refusal) => refusal as u64 + 1,
        }
    }

    /// The inverse of [`Self::pack`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "parts of a word")]
    pub const fn unpack(word: u64) -> Result<Self, Refusal> {
        match (word & 0xff) as u32 {
            0 => Ok(Self {
                mark: word & Self::MARK != 0,
                class: (word >> Self::CLASS) as u16,
                delay_ns: (word >> Self::DELAY) as u32,
            }),
            code => match Refusal::from_index(code - 1) {
                Some(refusal) => Err(refusal),
                None => Err(Refusal::Malformed),
            },
        }
    }

    /// Both, as words: whoever waits for several waits for the longest.
    #[inline(always)]
    const fn and(one: u64, other: u64) -> u64 {
        let (later, earlier) = if one > other { (one, other) } else { (other, one) };
        later | earlier & 0xffff_ff00
    }
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

/// Asks the limits of a service that has only [plain ones](LimitFlags::PLAIN).
#[inline(always)]
pub fn plain<T: Tables>(tables: &T, service: &Service, id: u32, who: Address, bytes: u32) -> Result<(), Refusal> {
    // Nearly always there is one, and nobody else is at its bucket at this moment.
    if service.limits[1] == 0
        && let Some(only) = service.limits[0].checked_sub(1).map(u32::from)
        && let Some(limit) = tables.limit(only)
        && limit.scope == LimitScope::SERVICE
        && let Some(bucket) = tables.service_bucket(only)
        && let Admission::Admitted(_) = pour_plain(1, limit, &bucket, tables.now_ns(), bytes)
    {
        tables.count_limit(only, Said::Admitted);
        return Ok(());
    }
    tables.ask_plain(id, &who, bytes)
}

#[inline(always)]
fn pour_plain(max_tries: u32, limit: &Limit, bucket: &impl Bucket, now_ns: u64, bytes: u32) -> Admission {
    let units = if limit.unit == LimitUnit::BYTES { bytes } else { 1 };
    gcra::pour(max_tries, Room::of(limit.depth_ticks, gcra::cost(limit, units)), bucket, gcra::ticks(now_ns))
}

/// The same, one after the other.
#[inline(always)]
pub fn all_plain<T: Tables>(tables: &T, id: u32, who: &Address, bytes: u32) -> Result<(), Refusal> {
    let service = tables.service(id).ok_or(Refusal::NoBackend)?;
    let mut at = 0;
    while at < MAX_LIMITS {
        let Some(id) = service.limits[at].checked_sub(1) else { break };
        one_plain(tables, u32::from(id), who, bytes)?;
        at += 1;
    }
    Ok(())
}

#[inline(always)]
fn one_plain<T: Tables>(tables: &T, id: u32, who: &Address, bytes: u32) -> Result<(), Refusal> {
    let Some(limit) = tables.limit(id) else { return Ok(()) };
    let now_ns = tables.now_ns();
    let (admission, over) = if limit.scope == LimitScope::SERVICE {
        let bucket = tables.service_bucket(id).ok_or(Refusal::LimitTableFull)?;
        (pour_plain(MAX_TRIES, limit, &bucket, now_ns, bytes), Refusal::OverServiceLimit)
    } else {
        let key = BucketKey { who: who.prefix(limit.source_bits(who.is_v4())), limit: id };
        let Some(index) = own(tables, &key, limit, now_ns) else {
            let counts = limit.over == LimitOver::COUNT;
            tables.count_limit(id, if counts { Said::WouldDrop } else { Said::Over });
            return if counts { Ok(()) } else { Err(Refusal::LimitTableFull) };
        };
        let bucket = tables.bucket(index).ok_or(Refusal::LimitTableFull)?;
        let admission = pour_plain(MAX_TRIES, limit, &bucket, now_ns, bytes);
        tables.note_asked(index, !matches!(admission, Admission::Admitted(_)));
        (admission, Refusal::OverSourceLimit)
    };
    let (said, answer) = match admission {
        Admission::Admitted(_) => (Said::Admitted, Ok(())),
        _ if limit.over == LimitOver::COUNT => (Said::WouldDrop, Ok(())),
        Admission::Over => (Said::Over, Err(over)),
        Admission::Contended => (Said::Over, Err(Refusal::LimitContended)),
    };
    tables.count_limit(id, said);
    answer
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

/// Asks one limit.
#[inline(always)]
pub fn ask<T: Tables>(tables: &T, headers: &Headers, asker: &Asker, id: u32) -> u64 {
    let free = Admitted::pack(Ok(Admitted { mark: false, class: 0, delay_ns: 0 }));
    let Some(limit) = tables.limit(id) else { return free };
    let is_asked = match limit.unit {
        // They are counted elsewhere.
        LimitUnit::CONNECTIONS => false,
        LimitUnit::OPENINGS => headers.opens,
        _ => true,
    };
    if !is_asked || stage(limit) != asker.stage {
        return free;
    }
    let queue = if limit.over == LimitOver::DELAY { asker.waits } else { 0 };
    let class = Class::of(limit, id, asker.backend);
    if queue & DeviceFlags::CLASSED != 0 && class != 0 {
        tables.count_limit(id, Said::Admitted);
        return Admitted::pack(Ok(Admitted { mark: false, class, delay_ns: 0 }));
    }
    let now_ns = tables.now_ns();
    let units = match limit.unit {
        LimitUnit::BYTES => headers.length,
        LimitUnit::PACKETS => asker.packets,
        _ => 1,
    };
    let cost = gcra::cost(limit, units);
    let (admission, over) = if limit.scope == LimitScope::SERVICE {
        let Some(bucket) = tables.service_bucket(id) else { return Admitted::pack(Err(Refusal::LimitTableFull)) };
        let presses = limit.flags & LimitFlags::FAIR != 0
            && fair::presses(tables, limit, &key(limit, headers, asker, id), &bucket, now_ns, cost);
        if limit.over == LimitOver::MARK {
            let Some(debt) = tables.debt(id) else { return Admitted::pack(Err(Refusal::LimitTableFull)) };
            let (said, answer) = marked(limit, headers, cost, gcra::ticks(now_ns), &bucket, &debt);
            tables.count_limit(id, said);
            return answer;
        }
        let room = room(limit, headers, asker, cost, presses);
        (gcra::pour(MAX_TRIES, room, &bucket, gcra::ticks(now_ns)), Refusal::OverServiceLimit)
    } else {
        let Some(index) = own(tables, &key(limit, headers, asker, id), limit, now_ns) else {
            // One that only counts refuses nothing.
            let counts = limit.over == LimitOver::COUNT;
            tables.count_limit(id, if counts { Said::WouldDrop } else { Said::Over });
            return if counts { free } else { Admitted::pack(Err(Refusal::LimitTableFull)) };
        };
        let Some(bucket) = tables.bucket(index) else { return Admitted::pack(Err(Refusal::LimitTableFull)) };
        let admission = gcra::pour(MAX_TRIES, room(limit, headers, asker, cost, false), &bucket, gcra::ticks(now_ns));
        tables.note_asked(index, !matches!(admission, Admission::Admitted(_)));
        let source = limit.scope == LimitScope::SOURCE;
        (admission, if source { Refusal::OverSourceLimit } else { Refusal::OverBackendLimit })
    };
    let (said, answer) = judged(limit, admission, cost, queue & DeviceFlags::TIMED != 0, over);
    tables.count_limit(id, said);
    answer
}

/// What becomes of a packet by a limit that marks.
///
/// Marked packets do not fill the bucket: otherwise what came too much while the sender's TCP did not know the limit yet would have to
/// leak away first, and until then every round trip has its window shrink once more (RFC 3168 §6.1.2), to next to nothing. They do
/// fill a second one, of the same rate and two seconds deeper, as all packets do: who does not slow down is marked when that is half
/// full, and when it is full gets no more than the rate.
#[inline(always)]
fn marked(
    limit: &Limit,
    headers: &Headers,
    cost: u64,
    now: u64,
    bucket: &impl Bucket,
    debt: &impl Bucket,
) -> (Said, u64) {
    let let_through = |mark| Admitted::pack(Ok(Admitted { mark, class: 0, delay_ns: 0 }));
    let within = gcra::pour(MAX_TRIES, Room::of(limit.depth_ticks, cost), bucket, now);
    let owed = gcra::pour(MAX_TRIES, Room::of(limit.depth_ticks.wrapping_add(DEBT_TICKS), cost), debt, now);
    let fits = matches!(within, Admission::Admitted(_));
    if !mark::is_capable(headers.tos) {
        return if fits {
            (Said::Admitted, let_through(false))
        } else {
            (Said::Over, Admitted::pack(Err(Refusal::OverServiceLimit)))
        };
    }
    match owed {
        Admission::Admitted(level) if fits && level <= limit.depth_ticks.wrapping_add(DEBT_TICKS / 2) => {
            (Said::Admitted, let_through(false))
        }
        Admission::Admitted(_) => (Said::Marked, let_through(true)),
        Admission::Over => (Said::Over, Admitted::pack(Err(Refusal::OverServiceLimit))),
        Admission::Contended => (Said::Over, Admitted::pack(Err(Refusal::LimitContended))),
    }
}

/// How much more than its burst whoever is marked may send before it is dropped, in ticks: what two seconds of the rate make.
const DEBT_TICKS: u64 = 2_000_000_000 * TICKS_PER_NS;

/// What a bucket's answer means.
#[inline(always)]
fn judged(limit: &Limit, admission: Admission, cost: u64, waits: bool, over: Refusal) -> (Said, u64) {
    let let_through = |mark, delay_ns| Admitted::pack(Ok(Admitted { mark, class: 0, delay_ns }));
    match admission {
        Admission::Admitted(level) if waits && level != 0 => {
            let delay = level / TICKS_PER_NS;
            #[expect(clippy::cast_possible_truncation, reason = "limited")]
            let delay = if delay > MAX_DELAY_NS { MAX_DELAY_NS as u32 } else { delay as u32 };
            (Said::Delayed, let_through(false, delay))
        }
        Admission::Admitted(level) if limit.over == LimitOver::MARK && level.wrapping_add(cost) > limit.depth_ticks => {
            (Said::Marked, let_through(true, 0))
        }
        Admission::Admitted(_) => (Said::Admitted, let_through(false, 0)),
        _ if limit.over == LimitOver::COUNT => (Said::WouldDrop, let_through(false, 0)),
        Admission::Over => (Said::Over, Admitted::pack(Err(over))),
        Admission::Contended => (Said::Over, Admitted::pack(Err(Refusal::LimitContended))),
    }
}

/// The longest that a packet waits: what fits its 32 bits.
pub const MAX_DELAY_NS: u64 = 4_000_000_000;

/// How much room a packet needs. Whoever understands marks has as much once more before it is dropped; whoever presses on a fair
/// limit, half as much. What was merged before it was seen and is more than a bucket ever holds goes into an empty one, as on the
/// wire its packets would one by one.
#[inline(always)]
fn room(limit: &Limit, headers: &Headers, asker: &Asker, cost: u64, presses: bool) -> Room {
    let depth = limit.depth_ticks;
    if asker.packets > 1 && cost > depth {
        Room::of(0, cost)
    } else if presses {
        Room::of((depth >> 1) + (depth & 1), cost)
    } else if limit.over == LimitOver::MARK && mark::is_capable(headers.tos) {
        Room::of(depth.wrapping_mul(2), cost)
    } else {
        Room::of(depth, cost)
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

/// The number of a key's bucket.
#[inline(always)]
fn own<T: Tables>(tables: &T, key: &BucketKey, limit: &Limit, now_ns: u64) -> Option<u32> {
    let (index, taken) = tables.find_bucket(key, gcra::ticks(now_ns), limit.depth_ticks)?;
    match taken {
        Taken::Known | Taken::Fresh => {}
        Taken::Idle => tables.count_eviction(key.limit, false),
        Taken::Busy => tables.count_eviction(key.limit, true),
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::host::HostTables;

    #[test]
    fn an_answer_is_what_was_packed() {
        for mark in [false, true] {
            for class in [0, 1, u16::MAX] {
                for delay_ns in [0, 1, u32::MAX] {
                    let answer = Ok(Admitted { mark, class, delay_ns });
                    assert_eq!(Admitted::unpack(Admitted::pack(answer)), answer);
                }
            }
        }
        for &refusal in Refusal::ALL {
            assert_eq!(Admitted::unpack(Admitted::pack(Err(refusal))), Err(refusal));
        }
    }

    #[test]
    fn who_waits_for_two_waits_for_the_longer_and_is_marked_by_either() {
        let one = Admitted::pack(Ok(Admitted { mark: true, class: 0, delay_ns: 5 }));
        let other = Admitted::pack(Ok(Admitted { mark: false, class: 3, delay_ns: 9 }));
        let both = Ok(Admitted { mark: true, class: 3, delay_ns: 9 });
        assert_eq!(Admitted::unpack(Admitted::and(one, other)), both);
        assert_eq!(Admitted::unpack(Admitted::and(other, one)), both);
    }

    /// A limit per service of 1,000 packets a second with a burst of 100, and a packet that understands marks or does not.
    fn marking(tos: u8) -> (HostTables, Headers) {
        let cost = 1_000_000 * TICKS_PER_NS;
        let limit = Limit { cost, depth_ticks: 100 * cost, over: LimitOver::MARK, ..Limit::default() };
        let tables = HostTables {
            limits: vec![limit],
            service_buckets: vec![Cell::new(0)],
            shares: vec![Default::default()],
            ..HostTables::default()
        };
        (tables, Headers { tos, v4: true, ..Headers::default() })
    }

    /// How many of so many packets a second go on, marked or not, in ten seconds; and how many are marked.
    fn flood(tos: u8, per_second: u64) -> (u64, u64) {
        let (tables, headers) = marking(tos);
        let asker = Asker { packets: 1, ..Asker::default() };
        for number in 0..10 * per_second {
            tables.now_ns.set(1_000_000_000_000 + number * 1_000_000_000 / per_second);
            ask(&tables, &headers, &asker, 0);
        }
        let counts = tables.limit_counts.borrow()[&0];
        (counts.admitted + counts.marked, counts.marked)
    }

    #[test]
    fn who_ignores_marks_gets_no_more_than_the_rate() {
        // Two seconds of the rate more than the burst, once.
        let (went_on, marked) = flood(0b10, 20_000);
        assert!((12_000..=12_101).contains(&went_on), "{went_on}");
        assert!(marked > 0);
        // Who does not understand is dropped over the burst.
        assert_eq!(flood(0, 20_000), (10_099, 0));
        // Who keeps to the rate is never marked.
        assert_eq!(flood(0b01, 1_000), (10_000, 0));
    }
}
