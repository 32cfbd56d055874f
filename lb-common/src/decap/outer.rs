//! The outer headers: whether a packet is a tunnel's that ends here, and what it carries.

use core::mem::offset_of;

use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::udp::UdpHdr;

use crate::Address;
use crate::checksum::Delta;
use crate::packet::Packet;
use crate::parse::UDP;

use super::link::{self, Link};
use super::{DecapOutcome, DecapTables};

/// IPv4 in IP and IPv6 in IP (RFC 2003 §3.1, RFC 4213 §3.5).
pub(super) const IPV4: u8 = IpProto::Ipv4 as u8;
/// See [`IPV4`].
pub(super) const IPV6: u8 = IpProto::Ipv6 as u8;

/// IPv4's more-fragments bit and fragment offset (RFC 791 §3.1).
const V4_FRAGMENT: u16 = 0x3fff;
/// The longest IPv4 header, in words.
const V4_WORDS: usize = 15;

/// A packet of a tunnel that ends here.
pub(super) struct Outer {
    /// Where the outer IP header starts.
    pub(super) l3: usize,
    /// Where the inner one does.
    pub(super) inner: usize,
    /// Where what the outer headers carry ends.
    pub(super) ends_at: usize,
    /// Who sent it.
    pub(super) source: Address,
    /// Where it goes.
    pub(super) destination: Address,
    /// The family of the outer header, and of the inner one.
    pub(super) v4: bool,
    /// See `v4`.
    pub(super) inner_v4: bool,
    /// gue, or else ipip.
    pub(super) gue: bool,
    /// TOS or traffic class.
    pub(super) class: u8,
}

/// What an outer IP header says.
struct Network {
    source: Address,
    destination: Address,
    protocol: u8,
    class: u8,
    fragment: bool,
    l4: usize,
    ends_at: usize,
}

/// Reads the outer headers. An error is always one that lets the packet pass: what is not surely a tunnel's that ends
/// here is the host's.
#[inline(always)]
pub(super) fn parse<P: Packet + ?Sized, T: DecapTables>(packet: &P, tables: &T) -> Result<Outer, DecapOutcome> {
    let Link { l3, v4, group } = link::parse(packet, tables).ok_or(DecapOutcome::Truncated)?;
    let v4 = v4.ok_or(DecapOutcome::NotIp)?;
    let network = if v4 { ipv4(packet, l3)? } else { ipv6(packet, l3)? };
    let gue = network.protocol == UDP;
    // A later fragment has no port, and neither is known to be gue's.
    if gue && !network.fragment {
        let port: [u8; 2] = packet.read(network.l4 + offset_of!(UdpHdr, dst)).ok_or(DecapOutcome::Truncated)?;
        if port != tables.gue_port() {
            return Err(DecapOutcome::OtherPort);
        }
    }
    if !tables.is_ours(&network.destination) {
        return Err(DecapOutcome::NotOurs);
    }
    if !tables.is_sender(&network.source) {
        return Err(DecapOutcome::UnknownSender);
    }
    if network.fragment {
        return Err(DecapOutcome::OuterFragment);
    }
    if group {
        return Err(DecapOutcome::LinkGroup);
    }
    if !packet.holds(network.ends_at) || network.l4 > network.ends_at || v4 && !is_sound(packet, l3) {
        return Err(DecapOutcome::BadIpHeader);
    }
    let Network { source, destination, protocol, class, l4, mut ends_at, .. } = network;
    let (mut inner, mut inner_v4) = (l4, protocol == IPV4);
    if gue {
        let length: [u8; 2] = packet.read(l4 + offset_of!(UdpHdr, len)).ok_or(DecapOutcome::Truncated)?;
        let length = usize::from(u16::from_be_bytes(length));
        if length < UdpHdr::LEN || l4 + length > ends_at {
            return Err(DecapOutcome::BadUdpHeader);
        }
        (inner, ends_at) = (l4 + UdpHdr::LEN, l4 + length);
        // Variant 1 is known by the first two bits, and the IP version's others follow (draft-ietf-intarea-gue §4).
        // With the byte before it: of a single one at a place that varies the verifier does not see the bound, because
        // `place + 1 > end` is compiled to `place >= end`.
        let version = match packet.read(inner - 1) {
            Some([_, first]) if inner < ends_at => first >> 4,
            _ => 0,
        };
        inner_v4 = match version {
            4 => true,
            6 => false,
            _ => return Err(DecapOutcome::OtherGue),
        };
    }
    Ok(Outer { l3, inner, ends_at, source, destination, v4, inner_v4, gue, class })
}

/// Whether tunnels are made of this protocol.
const fn is_tunnel(protocol: u8) -> bool {
    matches!(protocol, IPV4 | IPV6 | UDP)
}

#[inline(always)]
fn ipv4<P: Packet + ?Sized>(packet: &P, l3: usize) -> Result<Network, DecapOutcome> {
    let header: [u8; Ipv4Hdr::LEN] = packet.read(l3).ok_or(DecapOutcome::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_len < Ipv4Hdr::LEN {
        return Err(DecapOutcome::BadIpHeader);
    }
    let protocol = header[offset_of!(Ipv4Hdr, proto)];
    if !is_tunnel(protocol) {
        return Err(DecapOutcome::NotTunnel);
    }
    Ok(Network {
        source: Address::from_v4([header[12], header[13], header[14], header[15]]),
        destination: Address::from_v4([header[16], header[17], header[18], header[19]]),
        protocol,
        class: header[1],
        fragment: u16::from_be_bytes([header[6], header[7]]) & V4_FRAGMENT != 0,
        l4: l3 + header_len,
        ends_at: l3 + usize::from(u16::from_be_bytes([header[2], header[3]])),
    })
}

/// Whether an IPv4 header sums up to what it says (RFC 791 §3.1). Here and not left to the stack, which does not see it.
#[inline(always)]
fn is_sound<P: Packet + ?Sized>(packet: &P, l3: usize) -> bool {
    let Some([first, _]) = packet.read(l3) else { return false };
    let words = usize::from(first & 0x0f);
    let mut sum = Delta::none();
    for word in 0..V4_WORDS {
        if word >= words {
            break;
        }
        let Some(bytes) = packet.read(l3 + 4 * word) else { return false };
        // Nothing is what stood there before: all ones, one of the two ways to write zero.
        sum = sum.replace32(u32::MAX, u32::from_ne_bytes(bytes));
    }
    // `~(~HC + sum)` with a field of all ones is the complement of the sum, and that is to be nothing.
    sum.apply(u16::MAX) == 0
}

#[inline(always)]
fn ipv6<P: Packet + ?Sized>(packet: &P, l3: usize) -> Result<Network, DecapOutcome> {
    let header: [u8; offset_of!(Ipv6Hdr, src_addr)] = packet.read(l3).ok_or(DecapOutcome::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(DecapOutcome::BadIpHeader);
    }
    let l4 = l3 + Ipv6Hdr::LEN;
    let mut protocol = header[offset_of!(Ipv6Hdr, next_hdr)];
    let fragment = protocol == IpProto::Ipv6Frag as u8;
    if fragment {
        [protocol, _] = packet.read(l4).ok_or(DecapOutcome::Truncated)?;
    }
    if !is_tunnel(protocol) {
        // Hop-by-hop, routing, fragment, ESP, AH, destination options, mobility, HIP, Shim6 (RFC 7045 §4).
        let extension = matches!(protocol, 0 | 43 | 44 | 50 | 51 | 60 | 135 | 139 | 140);
        return Err(if extension { DecapOutcome::ExtensionHeader } else { DecapOutcome::NotTunnel });
    }
    const ADDRESSES: usize = offset_of!(Ipv6Hdr, src_addr);
    let source = Address::from_v6(packet.read(l3 + ADDRESSES).ok_or(DecapOutcome::Truncated)?);
    let destination = Address::from_v6(packet.read(l3 + ADDRESSES + 16).ok_or(DecapOutcome::Truncated)?);
    // Such addresses are not for the wire (RFC 4942 §2.2), and here they would be taken for those of IPv4.
    if source.is_v4() || destination.is_v4() {
        return Err(DecapOutcome::BadIpHeader);
    }
    Ok(Network {
        source,
        destination,
        protocol,
        class: header[0] << 4 | header[1] >> 4,
        fragment,
        l4,
        ends_at: l4 + usize::from(u16::from_be_bytes([header[4], header[5]])),
    })
}
