//! Backends as the packet path needs them.

use super::Tags;
use crate::Address;

/// One backend of one service: what its packets are rewritten to, and the way out. One cache line: an array's elements lie
/// at multiples of their size. (A type of that alignment cannot be copied in a program: LLVM's BPF back end knows no copies
/// aligned to more than eight bytes.)
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backend {
    /// Its address: of the VIP's family, unless packets reach it by a tunnel.
    pub address: Address,
    /// Its port, in network byte order as it lies in memory.
    pub port: u16,
    /// How its packets leave: [`Delivery`].
    pub delivery: u16,
    /// The device to send from, where it is sent from XDP.
    pub ifindex: u32,
    /// The largest layer-3 packet the way takes, in bytes, for [`Delivery::DEVICE`]; what a tunnel puts in front counts.
    pub mtu: u32,
    /// The next hop's Ethernet address, for [`Delivery::DEVICE`].
    pub mac_destination: [u8; 6],
    /// The device's own, for [`Delivery::DEVICE`].
    pub mac_source: [u8; 6],
    /// The service it serves.
    pub service: u32,
    /// Counts the writes of this row, twice each: odd while one is under way. A reader that sees it change, or odd,
    /// has not read a whole row (a sequence lock, Lameter, "Effective Synchronization on Linux/NUMA Systems", 2005).
    pub version: u32,
    /// The weight that the service's table was built with, in units of 1/[`Self::WEIGHT_ONE`]; 0: it takes no new flows.
    /// No program reads it.
    pub weight: u32,
    /// The VLAN tags that frames for it leave with, for [`Delivery::DEVICE`].
    pub tags: Tags,
    /// Whose ports its flows take, for [`Forward::SNAT`]: the number of a pool in `PORTS`.
    pub pool: u16,
    /// How packets are forwarded: [`Forward`].
    pub forward: u8,
    /// Whether the fast way wraps its packets, and how: [`Lane`], which follows from the other fields ([`Self::lane_of`]).
    /// [`Lane::NONE`] is always right, and only slower.
    pub lane: u8,
}

impl Backend {
    /// What a registry's weight of one is in [`Backend::weight`]: fine enough for a slow start.
    pub const WEIGHT_ONE: u32 = 4096;

    /// How many words it has.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// The lane of a row with these fields.
    pub fn lane_of(&self) -> u8 {
        if self.tags != Tags::NONE || !matches!(self.delivery, Delivery::DEVICE | Delivery::REDIRECT) {
            return Lane::NONE;
        }
        match (self.forward, self.address.is_v4()) {
            _ if self.address == Address::default() => Lane::NONE,
            (Forward::IPIP, true) => Lane::IPIP_V4,
            (Forward::GUE, true) => Lane::GUE_V4,
            (Forward::IPIP, false) => Lane::IPIP_V6,
            _ => Lane::NONE,
        }
    }

    /// A row from its words as they lie in memory.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "parts of words are meant")]
    pub const fn from_words([a, b, c, d, e, f, g, h]: [u64; Self::WORDS]) -> Self {
        let (m, n) = (d.to_ne_bytes(), e.to_ne_bytes());
        Self {
            address: Address::from_words([low(a), high(a), low(b), high(b)]),
            port: low(c) as u16,
            delivery: (low(c) >> 16) as u16,
            ifindex: high(c),
            mtu: low(d),
            mac_destination: [m[4], m[5], m[6], m[7], n[0], n[1]],
            mac_source: [n[2], n[3], n[4], n[5], n[6], n[7]],
            service: low(f),
            version: high(f),
            weight: low(g),
            tags: Tags([high(g), low(h)]),
            pool: high(h) as u16,
            forward: (high(h) >> 16) as u8,
            lane: (high(h) >> 24) as u8,
        }
    }
}

/// The half of a word that comes first in memory: whoever has programs that read words has the lower one there.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "half of a word is meant")]
const fn low(word: u64) -> u32 {
    word as u32
}

/// The other half.
#[inline(always)]
const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Values of [`Backend::forward`]: what is done to a packet that goes to the backend.
pub struct Forward;

impl Forward {
    /// Destination address and port are rewritten; replies come back through this host.
    pub const NAT: u8 = 0;
    /// Both ends are rewritten, so that replies come back to this host from wherever the backend is.
    pub const SNAT: u8 = 1;
    /// Only the Ethernet addresses are: the backend has the VIP too, and answers the client itself.
    pub const L2: u8 = 2;
    /// In an IP packet of its own (RFC 2003, 2473, 4213): the backend unwraps it, and answers the client itself.
    pub const IPIP: u8 = 3;
    /// As [`Self::IPIP`], with UDP in between (draft-ietf-intarea-gue, variant 1), so that routers spread the flows.
    pub const GUE: u8 = 4;
}

/// Values of [`Backend::lane`]: packets that go out of a device, untagged, in a tunnel. Those of the tunnel's own family are
/// wrapped on the packet path's shortest way.
pub struct Lane;

impl Lane {
    /// Whatever else is done to them.
    pub const NONE: u8 = 0;
    /// [`Forward::IPIP`] over IPv4.
    pub const IPIP_V4: u8 = 1;
    /// [`Forward::GUE`] over IPv4.
    pub const GUE_V4: u8 = 2;
    /// [`Forward::IPIP`] over IPv6.
    pub const IPIP_V6: u8 = 3;
}

/// Values of [`Backend::delivery`].
pub struct Delivery;

impl Delivery {
    /// There is none (yet). A row without an address is no backend at all: the id was never given, or was taken back.
    pub const NONE: u16 = 0;
    /// The rewritten packet is handed to the host's stack, which routes it.
    pub const STACK: u16 = 1;
    /// The packet is sent from XDP.
    pub const DEVICE: u16 = 2;
    /// As [`Self::DEVICE`], by redirection also into the device it came in by.
    pub const REDIRECT: u16 = 3;
    /// The packet is handed to the tc program, which puts it before the peer of a port (a veth device whose peer is in another
    /// network namespace) as if it had come in there: `bpf_redirect_peer`, Linux 5.10.
    pub const PEER: u16 = 4;
    /// The packet is handed to the tc program, which sends it out of a port of a bridge, or of the bridge.
    pub const PORT: u16 = 5;
    /// The packet is for this host itself, and goes to its stack as if it had come in by the device. No row's.
    pub const UP: u16 = 6;
    /// The packet goes out of the device once the kernel has found the neighbour (`bpf_redirect_neigh`, Linux 5.10). No row's.
    pub const NEIGHBOUR: u16 = 7;
}

const _: () = assert!(cfg!(target_endian = "little"), "`Backend::from_words` reads words of little-endian machines");
const _: () = assert!(size_of::<Backend>() == 64);
const _: () = assert!(core::mem::offset_of!(Backend, version) == 44);
const _: () = assert!(core::mem::offset_of!(Backend, lane) == 63);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_for_untagged_tunnels_out_of_a_device() {
        let v4 = Backend {
            address: Address::from_v4([10, 0, 0, 1]),
            delivery: Delivery::DEVICE,
            forward: Forward::IPIP,
            ..Backend::default()
        };
        let v6 = Backend { address: Address::from_v6([0xfd; 16]), delivery: Delivery::REDIRECT, ..v4 };
        for (row, lane) in [
            (v4, Lane::IPIP_V4),
            (Backend { forward: Forward::GUE, ..v4 }, Lane::GUE_V4),
            (v6, Lane::IPIP_V6),
            (Backend { forward: Forward::GUE, ..v6 }, Lane::NONE),
            (Backend { forward: Forward::NAT, ..v4 }, Lane::NONE),
            (Backend { forward: Forward::SNAT, ..v4 }, Lane::NONE),
            (Backend { forward: Forward::L2, ..v4 }, Lane::NONE),
            (Backend { delivery: Delivery::STACK, ..v4 }, Lane::NONE),
            (Backend { delivery: Delivery::NONE, ..v4 }, Lane::NONE),
            (Backend { tags: Tags([1, 0]), ..v4 }, Lane::NONE),
            (Backend { address: Address::default(), ..v4 }, Lane::NONE),
        ] {
            assert_eq!(row.lane_of(), lane, "{row:?}");
        }
    }
}
