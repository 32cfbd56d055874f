//! Where the fields lie that the straight way reads, behind an Ethernet header without tags.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::abi::VipKey;
use crate::packet::{Front, Fronted};
use crate::parse::L3;
use crate::{Address, hash};

/// A version of IP.
pub(super) trait Family {
    /// Whether it is IPv4.
    const V4: bool;
    /// Bytes of its header, without options.
    const IP: usize;

    /// Ethernet, IP, and the first eight bytes of a transport header.
    fn front<P: Fronted + ?Sized>(packet: &P) -> Option<impl Front + Copy>;
    /// The bytes of a TCP header that say how long it is, and its flags (RFC 9293 §3.1).
    fn tcp<P: Fronted + ?Sized>(packet: &P) -> Option<[u8; 2]>;
    /// Whether the header is this version's, without options, and the packet whole.
    fn is_plain(front: &impl Front) -> bool;
    /// Length of layer 3 in bytes, as its header says.
    fn length(front: &impl Front) -> u32;
    /// IANA protocol number.
    fn protocol(front: &impl Front) -> u8;
    /// Type of service, or traffic class.
    fn tos(front: &impl Front) -> u8;
    /// Time to live, or hop limit.
    fn ttl(front: &impl Front) -> u8;
    /// Where it comes from.
    fn source(front: &impl Front) -> Address;
    /// Whether that is looked at more closely: every address that no client has is such, and some others.
    fn is_odd_source(front: &impl Front) -> bool;
    /// From which port, as on the wire.
    fn source_port(front: &impl Front) -> [u8; 2];
    /// Where it goes.
    fn destination(front: &impl Front) -> VipKey;
    /// The flow's hash: [`hash::flow`].
    fn flow(front: &impl Front, seed: u64) -> u64;
    /// The length in a UDP header, in bytes.
    fn udp_length(front: &impl Front) -> u16;
}

/// Bytes of a TCP header's beginning up to its flags.
const TO_FLAGS: usize = 14;

/// What lies behind the IP header, alike for both; written out for each, since an offset has to be a number of the family's.
macro_rules! transport {
    () => {
        #[inline(always)]
        fn front<P: Fronted + ?Sized>(packet: &P) -> Option<impl Front + Copy> {
            packet.front::<{ L3 + Self::IP + 8 }>()
        }

        #[inline(always)]
        fn tcp<P: Fronted + ?Sized>(packet: &P) -> Option<[u8; 2]> {
            let front = packet.front::<{ L3 + Self::IP + TO_FLAGS }>()?;
            Some(front.at::<{ L3 + Self::IP + 12 }, 2>())
        }

        #[inline(always)]
        fn source_port(front: &impl Front) -> [u8; 2] {
            front.at::<{ L3 + Self::IP }, 2>()
        }

        #[inline(always)]
        fn udp_length(front: &impl Front) -> u16 {
            u16::from_be_bytes(front.at::<{ L3 + Self::IP + 4 }, 2>())
        }
    };
}

/// IPv4 (RFC 791).
pub(super) struct V4;

impl Family for V4 {
    const V4: bool = true;
    const IP: usize = Ipv4Hdr::LEN;

    transport!();

    #[inline(always)]
    fn is_plain(front: &impl Front) -> bool {
        /// More fragments, or an offset.
        const FRAGMENT: u16 = 0x3fff;
        let [first] = front.at::<L3, 1>();
        first == 0x45 && u16::from_ne_bytes(front.at::<{ L3 + 6 }, 2>()) & FRAGMENT.to_be() == 0
    }

    #[inline(always)]
    fn length(front: &impl Front) -> u32 {
        u32::from(u16::from_be_bytes(front.at::<{ L3 + 2 }, 2>()))
    }

    #[inline(always)]
    fn protocol(front: &impl Front) -> u8 {
        let [protocol] = front.at::<{ L3 + 9 }, 1>();
        protocol
    }

    #[inline(always)]
    fn tos(front: &impl Front) -> u8 {
        let [tos] = front.at::<{ L3 + 1 }, 1>();
        tos
    }

    #[inline(always)]
    fn ttl(front: &impl Front) -> u8 {
        let [ttl] = front.at::<{ L3 + 8 }, 1>();
        ttl
    }

    #[inline(always)]
    fn source(front: &impl Front) -> Address {
        Address::from_v4(front.at::<{ L3 + 12 }, 4>())
    }

    /// 0.0.0.0/8, 127.0.0.0/8, and whatever is beyond 223: see [`Address::is_no_host`].
    #[inline(always)]
    fn is_odd_source(front: &impl Front) -> bool {
        let [first] = front.at::<{ L3 + 12 }, 1>();
        first.wrapping_sub(1) >= 223 || first == 127 || front.at::<{ L3 + 12 }, 4>() == front.at::<{ L3 + 16 }, 4>()
    }

    #[inline(always)]
    fn destination(front: &impl Front) -> VipKey {
        let address = Address::from_v4(front.at::<{ L3 + 16 }, 4>());
        VipKey::new(address, front.at::<{ L3 + Self::IP + 2 }, 2>(), Self::protocol(front))
    }

    #[inline(always)]
    fn flow(front: &impl Front, seed: u64) -> u64 {
        hash::flow_v4(seed, front.at::<{ L3 + 12 }, 4>(), Self::source_port(front))
    }
}

/// IPv6 (RFC 8200).
pub(super) struct V6;

impl Family for V6 {
    const V4: bool = false;
    const IP: usize = Ipv6Hdr::LEN;

    transport!();

    /// Addresses in ::/16 are looked at more closely: among them are those that stand for IPv4's, by which no VIP is to be found.
    #[inline(always)]
    fn is_plain(front: &impl Front) -> bool {
        let [first] = front.at::<L3, 1>();
        first >> 4 == 6 && front.at::<{ L3 + 8 }, 2>() != [0; 2] && front.at::<{ L3 + 24 }, 2>() != [0; 2]
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "forty")]
    fn length(front: &impl Front) -> u32 {
        u32::from(u16::from_be_bytes(front.at::<{ L3 + 4 }, 2>())) + Self::IP as u32
    }

    #[inline(always)]
    fn protocol(front: &impl Front) -> u8 {
        let [protocol] = front.at::<{ L3 + 6 }, 1>();
        protocol
    }

    #[inline(always)]
    fn tos(front: &impl Front) -> u8 {
        let [high, low] = front.at::<L3, 2>();
        high << 4 | low >> 4
    }

    #[inline(always)]
    fn ttl(front: &impl Front) -> u8 {
        let [hops] = front.at::<{ L3 + 7 }, 1>();
        hops
    }

    #[inline(always)]
    fn source(front: &impl Front) -> Address {
        Address::from_v6(front.at::<{ L3 + 8 }, 16>())
    }

    /// fe00::/8 and ff00::/8: see [`Address::is_no_host`].
    #[inline(always)]
    fn is_odd_source(front: &impl Front) -> bool {
        let [first] = front.at::<{ L3 + 8 }, 1>();
        first >= 0xfe || Self::source(front) == Self::destination(front).address
    }

    #[inline(always)]
    fn destination(front: &impl Front) -> VipKey {
        let address = Address::from_v6(front.at::<{ L3 + 24 }, 16>());
        VipKey::new(address, front.at::<{ L3 + Self::IP + 2 }, 2>(), Self::protocol(front))
    }

    #[inline(always)]
    fn flow(front: &impl Front, seed: u64) -> u64 {
        hash::flow_v6(seed, Self::source(front), Self::source_port(front))
    }
}
