//! What a limit says.

use crate::Refusal;

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
    /// It goes on as it came, at once.
    pub const FREE: Self = Self { mark: false, class: 0, delay_ns: 0 };

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
    pub(super) const fn and(one: u64, other: u64) -> u64 {
        let (later, earlier) = if one > other { (one, other) } else { (other, one) };
        later | earlier & 0xffff_ff00
    }
}
