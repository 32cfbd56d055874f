//! What an answer of a bucket's means for a packet.

use crate::Refusal;
use crate::abi::LimitOver;
use crate::gcra::{self, Admission, Bucket, MAX_TRIES, Room, TICKS_PER_NS};
use crate::mark;
use crate::tables::Tables;

use super::{Admitted, FREE, Question, Said, over};

/// What becomes of a packet by a limit that marks.
///
/// Marked packets do not fill the bucket: otherwise what came too much while the sender's TCP did not know the limit yet would have to
/// leak away first, and until then every round trip has its window shrink once more (RFC 3168 §6.1.2), to next to nothing. They do
/// fill a second one, of the same rate and two seconds deeper, as all packets that go on do: who does not slow down is marked when
/// that is half full, and when it is full gets no more than the rate.
///
/// Until then every packet over the limit is marked only while more than twice the rate comes, as in a slow start, which is told so
/// from a quarter of the bucket on: else it would be at twenty times the rate when the bucket is full. Of what is a little too much
/// one packet is marked now and then: see [`due`].
#[inline(always)]
pub(super) fn marked<T: Tables>(tables: &T, question: &Question<'_>) -> Option<(Said, u64)> {
    let Question { limit, id, cost, now_ns, .. } = *question;
    let now = question.now();
    let depth = if is_too_much(question) { 0 } else { limit.depth_ticks };
    let within = gcra::pour(MAX_TRIES, Room::of(depth, cost), &tables.service_bucket(id)?, now);
    let capable = mark::is_capable(question.headers.tos);
    if !capable && !matches!(within, Admission::Admitted(_)) {
        return Some(judged(question, within));
    }
    // Who does not understand marks goes on when the bucket has room, and owes that, however much is owed already: else those who
    // understand would get the whole rate beside him.
    let most = if capable { 0 } else { limit.depth_ticks.wrapping_add(cost) };
    let most = most.wrapping_add(limit.depth_ticks).wrapping_add(DEBT_TICKS);
    let owed = gcra::pour(MAX_TRIES, Room::of(most, cost), &tables.debt(id)?, now);
    if !capable {
        return Some((Said::Admitted, FREE));
    }
    let owed = match owed {
        Admission::Admitted(level) => level,
        Admission::Over => return Some(refused(Refusal::OverServiceLimit)),
        Admission::Contended => return Some(refused(Refusal::LimitContended)),
    };
    let steep = is_steep(&tables.share(id)?, &tables.share_adapted(id)?, owed, now_ns);
    let marks = match within {
        Admission::Admitted(level) => steep && level > limit.depth_ticks / 4,
        _ => steep || is_due(&tables.mark_due(id)?, now_ns),
    };
    let marks = marks || owed > limit.depth_ticks.wrapping_add(DEBT_TICKS / 2);
    Some(if marks { (Said::Marked, MARKED) } else { (Said::Admitted, FREE) })
}

/// Whether more than twice the rate comes: the second bucket rises by more than the time that it is looked at for. The words say how
/// full it was when that began, and when it began, in nanoseconds.
#[inline(always)]
fn is_steep<B: Bucket>(began_level: &B, began_ns: &B, level: u64, now_ns: u64) -> bool {
    let (held_level, held_ns) = (began_level.load(), began_ns.load());
    if now_ns.wrapping_sub(held_ns) > WINDOW_NS && began_ns.compare_exchange(held_ns, now_ns) == held_ns {
        began_level.compare_exchange(held_level, level);
    }
    level > held_level.wrapping_add(WINDOW_NS * TICKS_PER_NS)
}

/// For how long it is looked at whether more than twice the rate comes: more than the clump in which a round trip's packets come.
const WINDOW_NS: u64 = 1 << 25;

/// Whether a packet over the limit is to be marked, which puts the next mark off.
///
/// A sender knows of a mark a round trip later, and what it sent meanwhile comes in clumps that find the bucket full: were all of that
/// marked, its window would shrink again and again for one and the same excess. So marks are as far apart as CoDel's (RFC 8289 §5.5,
/// whose interval is a round trip of nearly everybody): a tenth of a second after the first, and less the longer it takes.
#[inline(always)]
fn is_due(word: &impl Bucket, now_ns: u64) -> bool {
    let now_us = now_ns >> 10;
    let held = word.load();
    let next = due(held, now_us);
    next != held && word.compare_exchange(held, next) == held
}

/// When the next mark is due, in 1,024 ns, above how many there were without a pause, in eight bits; the same when this one is not.
#[inline(always)]
const fn due(held: u64, now_us: u64) -> u64 {
    let (at, count) = (held >> 8, held & 0xff);
    if now_us < at {
        return held;
    }
    let count = if now_us - at > INTERVAL_US {
        1
    } else if count < MOST {
        count + 1
    } else {
        MOST
    };
    // Over the root of their number, by halves of its logarithm.
    let interval = match count {
        0 | 1 => INTERVAL_US,
        2 | 3 => INTERVAL_US * 181 / 256,
        4..=7 => INTERVAL_US / 2,
        8..MOST => INTERVAL_US * 181 / 512,
        _ => INTERVAL_US / 4,
    };
    (now_us + interval) << 8 | count
}

/// How long a sender has to slow down after a mark, in 1,024 ns: a tenth of a second.
const INTERVAL_US: u64 = 100_000_000 >> 10;

/// At the most marks are as close as after so many.
const MOST: u64 = 16;

/// A packet that is marked, as a word.
const MARKED: u64 = Admitted::pack(Ok(Admitted { mark: true, ..Admitted::FREE }));

#[inline(always)]
const fn refused(refusal: Refusal) -> (Said, u64) {
    (Said::Over, Admitted::pack(Err(refusal)))
}

/// How much more than its burst whoever is marked may send before it is dropped, in ticks: what two seconds of the rate make.
pub const DEBT_TICKS: u64 = 2_000_000_000 * TICKS_PER_NS;

/// What a bucket's answer means; of a limit that marks, one per source or backend.
#[inline(always)]
pub(super) fn judged(question: &Question<'_>, admission: Admission) -> (Said, u64) {
    let Question { limit, cost, waits, .. } = *question;
    match admission {
        Admission::Admitted(level) if waits && level != 0 => {
            let delay = level / TICKS_PER_NS;
            #[expect(clippy::cast_possible_truncation, reason = "limited")]
            let delay_ns = if delay > MAX_DELAY_NS { MAX_DELAY_NS as u32 } else { delay as u32 };
            (Said::Delayed, Admitted::pack(Ok(Admitted { delay_ns, ..Admitted::FREE })))
        }
        Admission::Admitted(level) if limit.over == LimitOver::MARK && level.wrapping_add(cost) > limit.depth_ticks => {
            (Said::Marked, MARKED)
        }
        Admission::Admitted(_) => (Said::Admitted, FREE),
        _ if limit.over == LimitOver::COUNT => (Said::WouldDrop, FREE),
        Admission::Over => refused(over(limit)),
        Admission::Contended => refused(Refusal::LimitContended),
    }
}

/// The longest that a packet waits: what fits its 32 bits.
pub const MAX_DELAY_NS: u64 = 4_000_000_000;

/// How much room a packet needs. Whoever understands marks has as much once more before it is dropped; whoever presses on a fair
/// limit, half as much. What was merged before it was seen and is more than a bucket ever holds goes into an empty one, as on the
/// wire its packets would one by one.
#[inline(always)]
pub(super) fn room(question: &Question<'_>, presses: bool) -> Room {
    let Question { limit, headers, cost, .. } = *question;
    let depth = limit.depth_ticks;
    if is_too_much(question) {
        Room::of(0, cost)
    } else if presses {
        Room::of((depth >> 1) + (depth & 1), cost)
    } else if limit.over == LimitOver::MARK && mark::is_capable(headers.tos) {
        Room::of(depth.wrapping_mul(2), cost)
    } else {
        Room::of(depth, cost)
    }
}

/// Whether a packet was merged, and is more than its bucket ever holds.
#[inline(always)]
const fn is_too_much(question: &Question<'_>) -> bool {
    question.asker.packets > 1 && question.cost > question.limit.depth_ticks
}
