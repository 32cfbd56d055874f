//! From bytes to what the packet path wants to know of them.

use core::mem::offset_of;

use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::abi::{Tags, VipKey};
use crate::headers::{Headers, Part};
use crate::packet::Packet;
use crate::{Address, Refusal};

/// TCP's protocol number.
pub const TCP: u8 = IpProto::Tcp as u8;
/// UDP's protocol number.
pub const UDP: u8 = IpProto::Udp as u8;
/// SCTP's protocol number.
pub const SCTP: u8 = IpProto::Sctp as u8;
/// ICMP's protocol number.
pub const ICMP: u8 = IpProto::Icmp as u8;
/// ICMPv6's protocol number.
pub const ICMP6: u8 = IpProto::Ipv6Icmp as u8;

/// Where the IP header starts in a frame without VLAN tags.
pub const L3: usize = EthHdr::LEN;

/// Where a frame's first VLAN tag, or its ether type, is.
pub(crate) const TYPE_AT: usize = offset_of!(EthHdr, ether_type);

/// How many IPv6 extension headers are looked behind.
const MAX_EXTENSIONS: usize = 6;

/// Transport headers begin before this offset: three of the longest extension headers (RFC 8200 §4.2) fit.
const MAX_L4: usize = 1024;

/// The bit of an Ethernet address's first byte that says that it is a group's, or everybody's (IEEE 802-2014 §8.2.2).
pub(crate) const ETHERNET_GROUP: u8 = 0x01;

/// The flags of a TCP header that matter here (RFC 9293 §3.1).
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// SCTP's common header, and the chunk type that begins an association (RFC 9260 §3.1, §3.3.2).
const SCTP_LEN: usize = 12;
const SCTP_INIT: u8 = 1;

/// IPv4's don't-fragment and more-fragments bits and fragment offset (RFC 791 §3.1).
const V4_DONT_FRAGMENT: u16 = 0x4000;
const V4_MORE_FRAGMENTS: u16 = 0x2000;
const V4_FRAGMENT_OFFSET: u16 = 0x1fff;

/// IPv6's fragment header (RFC 8200 §4.5): its length, and its offset field's bits.
const V6_FRAGMENT_LEN: usize = 8;
const V6_FRAGMENT_OFFSET: u16 = 0xfff8;
const V6_MORE_FRAGMENTS: u16 = 0x0001;

/// Ether types, as a frame's bytes lie in memory.
const IPV4: u16 = EtherType::Ipv4 as u16;
const IPV6: u16 = EtherType::Ipv6 as u16;
const VLAN: u16 = EtherType::Ieee8021q as u16;
const QINQ: u16 = EtherType::Ieee8021ad as u16;

/// Reads a frame's headers into `headers`. An error is always one that lets the packet pass: whatever cannot be known to be for a
/// VIP is not.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P, headers: &mut Headers) -> Result<(), Refusal> {
    packet.blank(headers);
    let mut l3 = L3;
    let mut ether_type = word16(packet, TYPE_AT)?;
    for tag in 0..2 {
        if ether_type != VLAN && ether_type != QINQ {
            break;
        }
        headers.tags.0[tag] = u32::from_ne_bytes(packet.read(l3 - 2).ok_or(Refusal::Truncated)?);
        l3 += Tags::LEN;
        ether_type = word16(packet, l3 - 2)?;
    }
    let [first] = packet.read(offset_of!(EthHdr, dst_addr)).ok_or(Refusal::Truncated)?;
    headers.link_group = first & ETHERNET_GROUP != 0;
    match ether_type {
        IPV4 => ipv4(packet, l3, headers)?,
        IPV6 => ipv6(packet, l3, headers)?,
        VLAN | QINQ => return Err(Refusal::VlanTag),
        _ => return Err(Refusal::NotIp),
    }
    transport(packet, headers)
}

/// Reads the headers of a packet that an ICMP error at `l3` quotes, of which only the first eight bytes behind the IP
/// header need be there (RFC 792).
#[inline(always)]
pub fn parse_quoted<P: Packet + ?Sized>(packet: &P, l3: usize, v4: bool, headers: &mut Headers) -> Result<(), Refusal> {
    packet.blank(headers);
    if v4 {
        ipv4(packet, l3, headers)?;
    } else {
        ipv6(packet, l3, headers)?;
    }
    if headers.part == Part::LATER || headers.icmp() { Ok(()) } else { ports(packet, headers) }
}

#[inline(always)]
fn word16<P: Packet + ?Sized>(packet: &P, at: usize) -> Result<u16, Refusal> {
    packet.read(at).map(u16::from_ne_bytes).ok_or(Refusal::Truncated)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets of headers are below MAX_L4")]
fn ipv4<P: Packet + ?Sized>(packet: &P, l3: usize, headers: &mut Headers) -> Result<(), Refusal> {
    let header: [u8; Ipv4Hdr::LEN] = packet.read(l3).ok_or(Refusal::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_len < Ipv4Hdr::LEN {
        return Err(Refusal::BadIpHeader);
    }
    let protocol = header[offset_of!(Ipv4Hdr, proto)];
    if !matches!(protocol, TCP | UDP | SCTP | ICMP) {
        return Err(Refusal::OtherProtocol);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let offset = (fragment & V4_FRAGMENT_OFFSET) * 8;
    headers.v4 = true;
    headers.l3 = l3 as u16;
    headers.l4 = (l3 + header_len) as u16;
    headers.length = u32::from(u16::from_be_bytes([header[2], header[3]]));
    headers.tos = header[1];
    headers.ttl = header[offset_of!(Ipv4Hdr, ttl)];
    headers.fragment_id = u32::from_ne_bytes([header[4], header[5], 0, 0]);
    headers.fragment_offset = offset;
    headers.more = fragment & V4_MORE_FRAGMENTS != 0;
    headers.whole_only = fragment & V4_DONT_FRAGMENT != 0;
    headers.part = part(offset, headers.more);
    headers.source = VipKey::new(Address::from_v4([header[12], header[13], header[14], header[15]]), [0; 2], protocol);
    headers.destination =
        VipKey::new(Address::from_v4([header[16], header[17], header[18], header[19]]), [0; 2], protocol);
    Ok(())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets of headers are below MAX_L4")]
fn ipv6<P: Packet + ?Sized>(packet: &P, l3: usize, headers: &mut Headers) -> Result<(), Refusal> {
    let header: [u8; offset_of!(Ipv6Hdr, src_addr)] = packet.read(l3).ok_or(Refusal::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(Refusal::BadIpHeader);
    }
    headers.l3 = l3 as u16;
    headers.length = u32::from(u16::from_be_bytes([header[4], header[5]])) + Ipv6Hdr::LEN as u32;
    headers.tos = header[0] << 4 | header[1] >> 4;
    headers.ttl = header[offset_of!(Ipv6Hdr, hop_limit)];
    let (mut protocol, mut l4) = (header[offset_of!(Ipv6Hdr, next_hdr)], l3 + Ipv6Hdr::LEN);
    if !matches!(protocol, TCP | UDP | SCTP | ICMP6) {
        (protocol, l4) = extensions(packet, protocol, l4, headers)?;
        l4 = packet.forget(l4);
    }
    headers.l4 = l4 as u16;
    let addresses = l3 + offset_of!(Ipv6Hdr, src_addr);
    let source = Address::from_v6(packet.read(addresses).ok_or(Refusal::Truncated)?);
    let destination = Address::from_v6(packet.read(addresses + 16).ok_or(Refusal::Truncated)?);
    // Such addresses are not for the wire (RFC 4942 §2.2), and here they would be taken for those of IPv4.
    if source.is_v4() || destination.is_v4() {
        return Err(Refusal::BadIpHeader);
    }
    headers.source = VipKey::new(source, [0; 2], protocol);
    headers.destination = VipKey::new(destination, [0; 2], protocol);
    Ok(())
}

/// Goes over the extension headers behind which a transport header may follow (RFC 8200 §4.1, RFC 7045 §4): returns its
/// protocol and where it starts.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets of headers are below MAX_L4")]
fn extensions<P: Packet + ?Sized>(
    packet: &P,
    first: u8,
    at: usize,
    headers: &mut Headers,
) -> Result<(u8, usize), Refusal> {
    const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
    const ROUTING: u8 = IpProto::Ipv6Route as u8;
    const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;
    const DESTINATION: u8 = IpProto::Ipv6Opts as u8;
    let (mut protocol, mut l4) = (first, at);
    for _ in 0..MAX_EXTENSIONS {
        match protocol {
            TCP | UDP | SCTP | ICMP6 => return Ok((protocol, l4)),
            HOP_BY_HOP | DESTINATION | ROUTING => {
                let [next, units, _, left]: [u8; 4] = packet.read(l4).ok_or(Refusal::Truncated)?;
                // Its destination is not where it goes in the end.
                if protocol == ROUTING && left != 0 {
                    return Err(Refusal::ExtensionHeader);
                }
                protocol = next;
                l4 += usize::from(units) * 8 + 8;
            }
            FRAGMENT if headers.fragment_at == 0 => {
                let [next, _, o0, o1, i0, i1, i2, i3]: [u8; V6_FRAGMENT_LEN] =
                    packet.read(l4).ok_or(Refusal::Truncated)?;
                let field = u16::from_be_bytes([o0, o1]);
                headers.fragment_at = l4 as u16;
                headers.fragment_id = u32::from_ne_bytes([i0, i1, i2, i3]);
                headers.fragment_offset = field & V6_FRAGMENT_OFFSET;
                headers.more = field & V6_MORE_FRAGMENTS != 0;
                headers.part = part(headers.fragment_offset, headers.more);
                protocol = next;
                l4 += V6_FRAGMENT_LEN;
                if headers.part == Part::LATER {
                    // What follows is data, whatever it looks like. The next header is the first fragment's to say.
                    return Ok((protocol, l4));
                }
            }
            // ESP, AH, mobility, HIP, Shim6 and whatever is not an extension header at all.
            50 | 51 | 135 | 139 | 140 | FRAGMENT => return Err(Refusal::ExtensionHeader),
            _ => return Err(Refusal::OtherProtocol),
        }
        l4 = packet.forget(l4);
        if l4 > MAX_L4 {
            return Err(Refusal::ExtensionHeader);
        }
    }
    match protocol {
        TCP | UDP | SCTP | ICMP6 => Ok((protocol, l4)),
        _ => Err(Refusal::ExtensionHeader),
    }
}

/// What a fragment offset and the more-fragments bit say. A packet that has a fragment header and is whole all the same
/// is whole (RFC 6946).
#[inline(always)]
const fn part(offset: u16, more: bool) -> u8 {
    if offset != 0 {
        Part::LATER
    } else if more {
        Part::FIRST
    } else {
        Part::WHOLE
    }
}

#[inline(always)]
fn ports<P: Packet + ?Sized>(packet: &P, headers: &mut Headers) -> Result<(), Refusal> {
    let [a, b, c, d] = packet.read(usize::from(headers.l4)).ok_or(Refusal::Truncated)?;
    headers.source.port = u16::from_ne_bytes([a, b]);
    headers.destination.port = u16::from_ne_bytes([c, d]);
    Ok(())
}

#[inline(always)]
fn transport<P: Packet + ?Sized>(packet: &P, headers: &mut Headers) -> Result<(), Refusal> {
    let l4 = usize::from(headers.l4);
    let ends_at = headers.ends_at();
    headers.well_formed = l4 <= ends_at && packet.holds(ends_at);
    if headers.part == Part::LATER {
        return Ok(());
    }
    // Where the transport header, and for a whole UDP datagram its payload too, says that it ends.
    let needed = match headers.source.protocol {
        TCP => {
            ports(packet, headers)?;
            match packet.read::<2>(l4 + 12) {
                Some([offset, flags]) => {
                    let header_len = usize::from(offset >> 4) * 4;
                    headers.well_formed &= header_len >= TcpHdr::LEN;
                    headers.opens = opens(flags);
                    headers.bad_flags = bad_flags(flags);
                    l4 + header_len
                }
                None => usize::MAX,
            }
        }
        UDP => {
            ports(packet, headers)?;
            match packet.read::<2>(l4 + offset_of!(UdpHdr, len)) {
                Some(length) => {
                    let length = usize::from(u16::from_be_bytes(length));
                    headers.well_formed &= length >= UdpHdr::LEN;
                    l4 + if headers.part == Part::WHOLE { length } else { UdpHdr::LEN }
                }
                None => usize::MAX,
            }
        }
        SCTP => {
            ports(packet, headers)?;
            headers.opens = matches!(packet.read(l4 + SCTP_LEN), Some([SCTP_INIT]));
            l4 + SCTP_LEN
        }
        _ => {
            let [kind] = packet.read(l4).ok_or(Refusal::Truncated)?;
            headers.icmp_type = kind;
            if !headers.icmp() {
                return Err(Refusal::OtherProtocol);
            }
            l4 + 8
        }
    };
    headers.well_formed &= needed <= ends_at;
    Ok(())
}

/// Whether a segment with these flags is a connection's first.
#[inline(always)]
pub(crate) const fn opens(flags: u8) -> bool {
    flags & (SYN | ACK) == SYN
}

/// Whether no connection has a segment with these flags.
#[inline(always)]
pub(crate) const fn bad_flags(flags: u8) -> bool {
    /// A bit for each combination of the lowest five flags: a shift is cheaper than five branches.
    const BAD: u32 = {
        let (mut bad, mut flags) = (0, 0);
        while flags < 32 {
            let no_opening = flags & SYN == 0;
            let is_bad =
                if no_opening { flags & ACK == 0 && flags & (RST | FIN) != RST } else { flags & (FIN | RST) != 0 };
            bad |= (is_bad as u32) << flags;
            flags += 1;
        }
        bad
    };
    BAD >> (flags & 31) & 1 != 0
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
