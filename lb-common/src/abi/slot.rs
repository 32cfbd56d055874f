//! One cell of a service's Maglev table.

use core::fmt;

/// The backend that a slot's flows go to; while it hands over, also the one they went to before.
///
/// One word, so that one store changes it and one load reads it: bits 0 to 31 are `current`, bits 32 to 62 `old` plus
/// one (0: settled), bit 63 says that the slot is learning.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Slot(u64);

impl Slot {
    /// In place of a backend id: no backend takes new flows.
    pub const NOBODY: u32 = u32::MAX;

    /// One more than the largest id that a slot can move away from.
    pub const MAX_BACKENDS: u32 = 1 << 30;

    const LEARNING: u64 = 1 << 63;

    /// A slot that has one backend.
    pub const fn settled(backend: u32) -> Self {
        Self(backend as u64)
    }

    /// A slot that hands over from `old`, below [`Self::MAX_BACKENDS`], to `current`.
    ///
    /// While it is `learning`, a flow that nobody remembers began before the change, whatever its packet looks like:
    /// for protocols that do not mark the first packet of a flow.
    pub const fn moving(current: u32, old: u32, learning: bool) -> Self {
        let learning = if learning { Self::LEARNING } else { 0 };
        Self(current as u64 | (old as u64 + 1) << 32 | learning)
    }

    /// Where new flows go, or [`Self::NOBODY`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub const fn current(self) -> u32 {
        self.0 as u32
    }

    /// Whom it hands over from; `None` when it is settled.
    #[inline(always)]
    pub const fn old(self) -> Option<u32> {
        (((self.0 & !Self::LEARNING) >> 32) as u32).checked_sub(1)
    }

    /// Whether unknown flows are still taken for old ones.
    #[inline(always)]
    pub const fn is_learning(self) -> bool {
        self.0 & Self::LEARNING != 0
    }

    /// The word.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The slot of a word.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.old() {
            None => write!(f, "Slot({})", self.current()),
            Some(old) if self.is_learning() => write!(f, "Slot({old}=>{}, learning)", self.current()),
            Some(old) => write!(f, "Slot({old}=>{})", self.current()),
        }
    }
}

/// When two neighbouring slots last sent a packet of a flow that could not be remembered, in seconds of the kernel's
/// monotonic clock.
///
/// Two in one element, because the kernel rounds an array's elements up to eight bytes.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamps(pub [u32; 2]);

const _: () = assert!(size_of::<Slot>() == 8);
const _: () = assert!(size_of::<Stamps>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_says_what_was_put_into_it() {
        for current in [0, 1, 7, Slot::MAX_BACKENDS - 1, Slot::NOBODY] {
            let slot = Slot::settled(current);
            assert_eq!((slot.current(), slot.old(), slot.is_learning()), (current, None, false));
            for old in [0, 1, 7, Slot::MAX_BACKENDS - 1] {
                for learning in [false, true] {
                    let slot = Slot::moving(current, old, learning);
                    assert_eq!((slot.current(), slot.old(), slot.is_learning()), (current, Some(old), learning));
                    assert_eq!(Slot::from_word(slot.word()), slot);
                }
            }
        }
        assert_eq!(Slot::default(), Slot::settled(0));
    }
}
