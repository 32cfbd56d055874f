//! The table of remembered flows: a line of the cache for each, so that a packet of one pays for one miss and not for those
//! of a list of a hash's.
//!
//! It is an array of groups of eight lines. A flow's hash says in which group it is, and where in it to begin; the others
//! follow, each line's neighbour in its pair first, which processors fetch along. So nothing is ever moved, and a lookup is
//! bounded. A flow for which its group has no room is not remembered, which is no harm (see [`handover`](crate::handover));
//! with two lines for each flow that there is to be room for, that is one in a hundred when the table is full, and one in ten
//! thousand when it is half full.
//!
//! **A line's state** is one word: what it is used for, a part of its flow's hash, and since when. Programs take lines, by
//! compare-and-swap, and the controller alone gives them back:
//!
//! ```text
//! never used ──> being written ──> taken ──> given back ──> being written …
//! ```
//!
//! **A line that was given back rests** for a second at least before another flow has it. No program runs for nearly as long,
//! so whoever has found a line reads, and writes, that flow's or nobody's: never another one's, and without a second look
//! at the state. The time is in the state; so the controller's compare-and-swap fails when the line was taken anew.
//!
//! **The hash** is keyed (Dietzfelbinger et al., A Reliable Randomized Algorithm for the Closest-Pair Problem, 1997: a sum of
//! products with odd numbers that nobody knows, here mixed once more), so that nobody fills a group by choosing ports.

use crate::abi::{Flow, FlowGroup};
use crate::hash::{GOLDEN, Keyed, mix};

/// How often a line is looked for while other CPUs take those that were found.
const TRIES: u32 = 2;

/// For how long a line that was given back is nobody's, in seconds of a clock that is cut to whole ones.
const RESTS_S: u32 = 2;

/// After how many seconds a line that is being written was left by a writer that was killed. Programs are not; a controller
/// that fills a table may be.
const LEFT_S: u32 = 60;

/// Lines for each flow that there is room for: of so many more the table is never full, but its groups are.
const LINES_A_FLOW: u32 = 2;

/// Flows that a group has room for, on average.
const FLOWS_A_GROUP: u32 = FlowGroup::LINES / LINES_A_FLOW;

/// How many groups a table for so many flows has.
pub const fn groups(flows: u32) -> u32 {
    flows.div_ceil(FLOWS_A_GROUP)
}

/// How many flows a table of so many groups is for.
pub const fn room(groups: u32) -> u32 {
    groups.saturating_mul(FLOWS_A_GROUP)
}

/// What places are computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowHash(Keyed);

/// Where a flow is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The group's number.
    pub group: u32,
    /// The line of it at which to begin.
    first: u32,
    /// What states of its lines have in their lower half, but for what they are used for.
    mark: u32,
}

/// What a line is used for: the lowest bits of its state, which is 0 before it was ever used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Writing = 1,
    Taken = 2,
    GivenBack = 3,
}

const USE: u32 = 3;

/// A line, shared by every CPU and the controller.
pub trait Line {
    /// Its state. What is read of the line after this was written before the state was.
    fn state(&self) -> u64;
    /// Its state becomes `new` if it is `expected`, after everything that was written before; returns what it was. Atomic.
    fn exchange(&self, expected: u64, new: u64) -> u64;
    /// Whether it has this key.
    fn has(&self, key: &[u64; 3]) -> bool;
    /// The backend of its flow.
    fn backend(&self) -> u32;
    /// Writes key and flow. Nobody else does, and nobody reads them.
    fn write(&self, key: &[u64; 3], flow: &Flow);
}

/// A group's lines, by their number below [`FlowGroup::LINES`].
pub trait Group {
    /// A line.
    type Line: Line;
    /// The line with this number.
    fn line(&self, number: u32) -> Self::Line;
    /// The same number: for a compiler that is not to write a loop out.
    #[inline(always)]
    fn opaque(&self, number: u32) -> u32 {
        number
    }
}

impl FlowHash {
    /// For a table of so many groups, with a seed that strangers do not know.
    pub const fn new(groups: u32, seed: u64) -> Self {
        let (first, second, third) = (mix(seed), mix(seed.wrapping_add(GOLDEN)), mix(seed.wrapping_sub(GOLDEN)));
        Self(Keyed::new(groups, [first, second, third]))
    }

    /// From [`Keyed::to_words`].
    #[inline(always)]
    pub const fn from_words(words: [u64; 4]) -> Self {
        Self(Keyed::from_words(words))
    }

    /// As words, for the programs.
    pub const fn to_words(&self) -> [u64; 4] {
        self.0.to_words()
    }

    /// Where a flow with this key is looked for.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "halves of a word")]
    pub const fn spot(&self, key: &[u64; 3]) -> Spot {
        let hash = self.0.hash(*key);
        let upper = hash >> 32;
        Spot {
            group: ((upper * self.0.groups as u64) >> 32) as u32,
            first: upper as u32 & (FlowGroup::LINES - 1),
            mark: hash as u32 & !USE,
        }
    }
}

impl Spot {
    /// The number of the line that comes after `step` others.
    #[inline(always)]
    const fn line(&self, step: u32) -> u32 {
        (self.first ^ step) & (FlowGroup::LINES - 1)
    }

    #[inline(always)]
    const fn state(&self, used: Use, when_s: u32) -> u64 {
        (when_s as u64) << 32 | (self.mark | used as u32) as u64
    }
}

/// The lower half of a state.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "half a word")]
const fn lower(state: u64) -> u32 {
    state as u32
}

/// Since when a line is in its state, in seconds.
#[inline(always)]
const fn since(state: u64) -> u32 {
    (state >> 32) as u32
}

/// Whether a line with this state can be taken.
#[inline(always)]
const fn is_free(state: u64, now_s: u32) -> bool {
    // The two clocks may be a second apart either way.
    let rests = now_s.wrapping_sub(since(state)).wrapping_add(1) <= RESTS_S;
    state == 0 || lower(state) & USE == Use::GivenBack as u32 && !rests
}

/// Whether a line with this state has a flow.
pub const fn is_taken(state: u64) -> bool {
    lower(state) & USE == Use::Taken as u32
}

/// Whether whoever was writing a line with this state is gone.
pub const fn is_left(state: u64, now_s: u32) -> bool {
    lower(state) & USE == Use::Writing as u32 && now_s.wrapping_sub(since(state)).cast_signed() > LEFT_S.cast_signed()
}

/// A line's state once it was given back.
pub const fn given_back(state: u64, now_s: u32) -> u64 {
    (now_s as u64) << 32 | (lower(state) & !USE | Use::GivenBack as u32) as u64
}

/// Finds a flow's line: its number.
#[inline(always)]
pub fn find<G: Group>(group: &G, spot: &Spot, key: &[u64; 3]) -> Option<u32> {
    let mut step = 0;
    while step < FlowGroup::LINES {
        let number = spot.line(step);
        let line = group.line(number);
        let state = line.state();
        if lower(state) == spot.mark | Use::Taken as u32 && line.has(key) {
            return Some(number);
        }
        // Nobody went past it.
        if state == 0 {
            return None;
        }
        step = group.opaque(step + 1);
    }
    None
}

/// Has a flow be in the table that was not there a moment ago. False when it is not: there is no room, another CPU is
/// writing it, or has written it with another backend.
#[inline(always)]
pub fn insert<G: Group>(group: &G, spot: &Spot, key: &[u64; 3], flow: &Flow, now_s: u32) -> bool {
    let mut tries = 0;
    while tries < TRIES {
        tries = group.opaque(tries + 1);
        // A number of no line's, as long as none is free.
        let (mut free, mut was) = (FlowGroup::LINES, 0);
        let mut step = 0;
        while step < FlowGroup::LINES {
            let number = spot.line(step);
            step = group.opaque(step + 1);
            let line = group.line(number);
            let state = line.state();
            if lower(state) == spot.mark | Use::Taken as u32 && line.has(key) {
                return line.backend() == flow.backend;
            }
            if lower(state) == spot.mark | Use::Writing as u32 {
                return false;
            }
            if free == FlowGroup::LINES && is_free(state, now_s) {
                (free, was) = (number, state);
            }
            if state == 0 {
                break;
            }
        }
        if free == FlowGroup::LINES {
            return false;
        }
        let line = group.line(free);
        let writing = spot.state(Use::Writing, now_s);
        if line.exchange(was, writing) == was {
            line.write(key, flow);
            return line.exchange(writing, spot.state(Use::Taken, now_s)) == writing;
        }
    }
    false
}

#[cfg(test)]
#[path = "flow_table_tests.rs"]
mod tests;
