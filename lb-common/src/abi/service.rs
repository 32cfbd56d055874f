//! Services: the VIP that finds one, and the head that says everything about it.

use super::QuicIds;
use crate::Address;

/// A transport endpoint: what a VIP is found by, and what a backend's replies are recognised by.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VipKey {
    /// Network address.
    pub address: Address,
    /// Port, in network byte order as it lies in memory.
    pub port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Always zero.
    pub pad: u8,
}

impl VipKey {
    /// A key from an address, a port as its bytes on the wire, and a protocol number.
    #[inline(always)]
    pub const fn new(address: Address, port: [u8; 2], protocol: u8) -> Self {
        Self { address, port: u16::from_ne_bytes(port), protocol, pad: 0 }
    }

    /// Whether both are the same: as `==`, in two words and a half.
    #[inline(always)]
    pub const fn is(&self, other: &Self) -> bool {
        let ([a, b], [c, d]) = (self.address.halves(), other.address.halves());
        a == c && b == d && self.tail() == other.tail()
    }

    /// Port, protocol and what follows, as they lie in memory.
    #[inline(always)]
    pub(crate) const fn tail(&self) -> u32 {
        let [port, more] = self.port.to_ne_bytes();
        u32::from_ne_bytes([port, more, self.protocol, self.pad])
    }

    /// The port's bytes on the wire.
    #[inline(always)]
    pub const fn port_bytes(&self) -> [u8; 2] {
        self.port.to_ne_bytes()
    }
}

/// How many limits a service may have.
pub const MAX_LIMITS: usize = 8;

/// A service's head.
///
/// Nothing but `table`, `flags` and `limits` changes while packets can find it. A new Maglev table is published by one
/// store of an aligned word, and nobody sees half of it; so is every single limit, of which a packet may meet some of the
/// old and some of the new.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Service {
    /// The VIP, which replies are translated back to.
    pub vip: VipKey,
    /// [`ServiceFlags`].
    pub flags: u32,
    /// Where the Maglev table lies: [`Table::pack`]. Read through [`Tables::table`](crate::Tables::table) alone, in one
    /// load.
    pub table: u64,
    /// What the flow hash starts from.
    pub seed: u64,
    /// Limit ids plus one, 0 ends the list. Limits per source come first: a packet that its source may not send must
    /// not cost the others.
    pub limits: [u16; MAX_LIMITS],
    /// Which QUIC connection ids it routes.
    pub quic: QuicIds,
    /// From where it may be used, as bits: see [`Networks`](super::Networks). 0 is from everywhere. This host itself always may.
    pub networks: u32,
}

/// Bits of [`Service::flags`].
pub struct ServiceFlags;

impl ServiceFlags {
    /// A backend of this service also serves another one, so that a reply alone does not say whose it is: every flow
    /// is remembered in `REPLIES`.
    pub const REMEMBER_REPLIES: u32 = 1;
    /// Its flows are noted in `CENSUS`, for a moment.
    pub const CENSUS: u32 = 2;
    /// A backend of this service is reached by [`Forward::SNAT`](super::Forward::SNAT): its flows are looked for in `SNATS`
    /// before they are given a backend.
    pub const SNAT: u32 = 4;
    /// Not everybody who comes by an attached device may use it: [`Service::networks`] is to be asked.
    pub const INSIDE: u32 = 8;
    /// Some of its limits are per backend.
    pub const BACKEND_LIMITS: u32 = 16;
    /// Some of its limits are of what backends send.
    pub const OUT_LIMITS: u32 = 32;
    /// Some of its limits are of connections at the same time: they are counted in `CONNECTIONS`.
    pub const COUNTED: u32 = 64;
    /// Some of its limits are not [`LimitFlags::PLAIN`](super::LimitFlags::PLAIN): the fast way cannot ask them.
    pub const CLOSE_LIMITS: u32 = 128;
}

/// Where a Maglev table lies in `SLOTS`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Table {
    /// Index of its first slot.
    pub base: u32,
    /// Number of slots; 0 when the service has no backend.
    pub len: u32,
}

impl Table {
    /// Both in one word, to be stored at once.
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        (self.len as u64) << 32 | self.base as u64
    }

    /// The inverse of [`Self::pack`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub const fn unpack(word: u64) -> Self {
        Self { base: word as u32, len: (word >> 32) as u32 }
    }
}

const _: () = assert!(size_of::<VipKey>() == 20);
const _: () = assert!(size_of::<Service>() == 64);
const _: () = assert!(core::mem::offset_of!(Service, flags) == 20);
const _: () = assert!(core::mem::offset_of!(Service, table) == 24);
const _: () = assert!(core::mem::offset_of!(Service, limits) == 40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vip_is_another_by_any_of_its_fields() {
        let vip = |words, port, protocol| VipKey::new(Address::from_words(words), port, protocol);
        let one = vip([1, 2, 3, 4], [0, 80], 6);
        assert!(one.is(&one));
        for other in [
            vip([9, 2, 3, 4], [0, 80], 6),
            vip([1, 9, 3, 4], [0, 80], 6),
            vip([1, 2, 9, 4], [0, 80], 6),
            vip([1, 2, 3, 9], [0, 80], 6),
            vip([1, 2, 3, 4], [9, 80], 6),
            vip([1, 2, 3, 4], [0, 81], 6),
            vip([1, 2, 3, 4], [0, 80], 17),
        ] {
            assert!(!one.is(&other), "{other:?}");
        }
    }
}
