//! What an answer of a bucket's means for a packet.

use crate::Refusal;
use crate::abi::{Limit, LimitOver};
use crate::gcra::{self, Admission, Bucket, MAX_TRIES, Room, TICKS_PER_NS};
use crate::headers::Headers;
use crate::mark;

use super::{Admitted, Asker, FREE, Said, over};

/// What becomes of a packet by a limit that marks.
///
/// Marked packets do not fill the bucket: otherwise what came too much while the sender's TCP did not know the limit yet would have to
/// leak away first, and until then every round trip has its window shrink once more (RFC 3168 §6.1.2), to next to nothing. They do
/// fill a second one, of the same rate and two seconds deeper, as all packets do: who does not slow down is marked when that is half
/// full, and when it is full gets no more than the rate.
#[inline(always)]
pub(super) fn marked(
    limit: &Limit,
    headers: &Headers,
    cost: u64,
    now: u64,
    bucket: &impl Bucket,
    debt: &impl Bucket,
) -> (Said, u64) {
    let within = gcra::pour(MAX_TRIES, Room::of(limit.depth_ticks, cost), bucket, now);
    let owed = gcra::pour(MAX_TRIES, Room::of(limit.depth_ticks.wrapping_add(DEBT_TICKS), cost), debt, now);
    let fits = matches!(within, Admission::Admitted(_));
    if !mark::is_capable(headers.tos) {
        return if fits { (Said::Admitted, FREE) } else { refused(Refusal::OverServiceLimit) };
    }
    match owed {
        Admission::Admitted(level) if fits && level <= limit.depth_ticks.wrapping_add(DEBT_TICKS / 2) => {
            (Said::Admitted, FREE)
        }
        Admission::Admitted(_) => (Said::Marked, MARKED),
        Admission::Over => refused(Refusal::OverServiceLimit),
        Admission::Contended => refused(Refusal::LimitContended),
    }
}

/// A packet that is marked, as a word.
const MARKED: u64 = Admitted::pack(Ok(Admitted { mark: true, ..Admitted::FREE }));

#[inline(always)]
const fn refused(refusal: Refusal) -> (Said, u64) {
    (Said::Over, Admitted::pack(Err(refusal)))
}

/// How much more than its burst whoever is marked may send before it is dropped, in ticks: what two seconds of the rate make.
const DEBT_TICKS: u64 = 2_000_000_000 * TICKS_PER_NS;

/// What a bucket's answer means; of a limit that marks, one per source or backend.
#[inline(always)]
pub(super) fn judged(limit: &Limit, admission: Admission, cost: u64, waits: bool) -> (Said, u64) {
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
pub(super) fn room(limit: &Limit, headers: &Headers, asker: &Asker, cost: u64, presses: bool) -> Room {
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
