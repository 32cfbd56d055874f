//! Connections that are counted, because a limit says how many there may be at once.

use super::Flow;

/// One of them.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connection {
    /// When the client was last heard, in seconds of the kernel's clock.
    pub seen_s: u32,
    /// [`ConnectionFlags`].
    pub flags: u32,
    /// The backend's id.
    pub backend: u32,
    /// Always zero.
    pub pad: u32,
}

/// Bits of [`Connection::flags`].
pub struct ConnectionFlags;

impl Connection {
    /// For how long what follows an end is known as such, in seconds.
    pub const LINGER_S: u32 = 10;

    /// Whether it is still to be known, at `now_s` and with this idle time-out, both in seconds: of one of which only the opening
    /// was seen, for no longer than [`Flow::HALF_OPEN_S`].
    pub const fn is_living(&self, now_s: u32, idle_s: u32) -> bool {
        let silent_s = now_s.wrapping_sub(self.seen_s).cast_signed();
        // The kernel's clock may be ahead of the one that was read before.
        let silent_s = if silent_s < 0 { 0 } else { silent_s.cast_unsigned() };
        let most = if self.flags & ConnectionFlags::ENDED != 0 {
            Self::LINGER_S
        } else if self.flags & ConnectionFlags::SPOKE == 0 && idle_s > Flow::HALF_OPEN_S {
            Flow::HALF_OPEN_S
        } else {
            idle_s
        };
        silent_s <= most
    }

    /// The two words that change, as one.
    #[inline(always)]
    pub const fn word(seen_s: u32, flags: u32) -> u64 {
        let ([a, b, c, d], [e, f, g, h]) = (seen_s.to_ne_bytes(), flags.to_ne_bytes());
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }

    /// The inverse of [`Self::word`].
    #[inline(always)]
    pub const fn of_word(word: u64) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
        (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
    }
}

impl ConnectionFlags {
    /// It has ended, and is not counted any more.
    pub const ENDED: u32 = 1;
    /// Its client sent more than what opens it.
    pub const SPOKE: u32 = 2;
}

const _: () = assert!(size_of::<Connection>() == 16);
