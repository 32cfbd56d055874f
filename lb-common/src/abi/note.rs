//! What XDP has left to do with a frame, for the tc program behind it.

/// Lies in front of a frame, in its metadata: how it is delivered, and where. Nobody but an XDP program of the device can write there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// [`Delivery`](super::Delivery).
    pub delivery: u16,
    /// The index of the device that it goes to.
    pub ifindex: u32,
}

impl Note {
    /// How long it is, in bytes: a multiple of four, as the kernel wants it.
    pub const LEN: usize = 8;

    /// What it begins with: other programs leave notes, too.
    const MARK: u32 = 0x7765_0000;

    /// As it lies in memory.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        ((self.ifindex as u64) << 32 | (Self::MARK | self.delivery as u32) as u64).to_ne_bytes()
    }

    /// The inverse of [`Self::to_bytes`]; nothing of somebody else's.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "parts of the word are meant")]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Option<Self> {
        let word = u64::from_ne_bytes(bytes);
        let said = word as u32;
        if said & 0xffff_0000 == Self::MARK {
            Some(Self { delivery: said as u16, ifindex: (word >> 32) as u32 })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_what_was_written() {
        for (delivery, ifindex) in [(0, 0), (4, 7), (u16::MAX, u32::MAX)] {
            let note = Note { delivery, ifindex };
            assert_eq!(Note::from_bytes(note.to_bytes()), Some(note));
        }
        assert_eq!(Note::from_bytes([0; 8]), None);
        assert_eq!(Note::from_bytes([0xff; 8]), None);
    }
}
