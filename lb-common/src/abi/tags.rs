//! VLAN tags.

/// Up to two VLAN tags of a frame, the outer one first, each as its four bytes on the wire: the protocol identifier
/// (0x8100 or 0x88a8) and the control information (IEEE 802.1Q-2022 §9.3). A word of zero is no tag; the first one is never
/// absent when the second is there.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tags(pub [u32; 2]);

impl Tags {
    /// No tag.
    pub const NONE: Self = Self([0; 2]);

    /// The bytes of one tag on the wire.
    pub const LEN: usize = 4;

    /// One 802.1Q tag.
    pub const fn vlan(id: u16) -> Self {
        let [high, low] = id.to_be_bytes();
        Self([u32::from_ne_bytes([0x81, 0x00, high, low]), 0])
    }

    /// How many bytes they take in a frame.
    #[inline(always)]
    pub const fn len(self) -> usize {
        (self.0[0] != 0) as usize * Self::LEN + (self.0[1] != 0) as usize * Self::LEN
    }

    /// Whether there is none.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0[0] == 0
    }
}
