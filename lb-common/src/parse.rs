//! From bytes to what the packet path wants to know of them.

use core::mem::offset_of;

use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::abi::VipKey;
use crate::packet::Packet;
use crate::{Address, Refusal};

/// TCP's protocol number.
pub const TCP: u8 = IpProto::Tcp as u8;
/// UDP's protocol number.
pub const UDP: u8 = IpProto::Udp as u8;

/// Where the IP header starts.
pub const L3: usize = EthHdr::LEN;

/// The bit of an Ethernet address's first byte that says that it is a group's, or everybody's (IEEE 802-2014 §8.2.2).
const ETHERNET_GROUP: u8 = 0x01;

/// The flags of a TCP header that matter here (RFC 9293 §3.1).
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// IPv4's more-fragments bit and fragment offset (RFC 791 §3.1).
const V4_MORE_FRAGMENTS: u16 = 0x2000;
const V4_FRAGMENT_OFFSET: u16 = 0x1fff;

/// IPv6's fragment header (RFC 8200 §4.5): its length, and its offset field's bits.
const V6_FRAGMENT_LEN: usize = 8;
const V6_FRAGMENT_OFFSET: u16 = 0xfff8;

/// What is known of a TCP or UDP packet after one pass over its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// Where it comes from; the port's bytes as on the wire.
    pub source: VipKey,
    /// Where it goes.
    pub destination: VipKey,
    /// Where the TCP or UDP header starts in the frame.
    pub l4: usize,
    /// Length of layer 3 in bytes, as its header says.
    pub length: u32,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// TCP, or else UDP.
    pub tcp: bool,
    /// The first packet of a TCP connection: SYN without ACK.
    pub opens: bool,
    /// IPv4, or else IPv6.
    pub v4: bool,
    /// Whether more fragments follow this one.
    pub fragment: bool,
    /// Whether the frame is for all, or for a group, on its link.
    pub link_group: bool,
    /// Whether every length agrees with every other and with the frame.
    pub well_formed: bool,
}

impl Headers {
    /// Where the packet ends in the frame, as its IP header says. What follows is the link's padding.
    #[inline(always)]
    pub const fn ends_at(&self) -> usize {
        L3 + self.length as usize
    }
}

/// What an IP header says.
struct Network {
    source: Address,
    destination: Address,
    protocol: u8,
    ttl: u8,
    v4: bool,
    fragment: bool,
    l4: usize,
    length: u32,
}

/// Reads a frame's headers. An error is always one that lets the packet pass: whatever cannot be known to be for a
/// VIP is not.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P) -> Result<Headers, Refusal> {
    const IPV4: u16 = EtherType::Ipv4 as u16;
    const IPV6: u16 = EtherType::Ipv6 as u16;
    const VLAN: u16 = EtherType::Ieee8021q as u16;
    const QINQ: u16 = EtherType::Ieee8021ad as u16;

    let ether_type = packet.read(offset_of!(EthHdr, ether_type)).ok_or(Refusal::Truncated)?;
    let network = match u16::from_ne_bytes(ether_type) {
        IPV4 => ipv4(packet)?,
        IPV6 => ipv6(packet)?,
        VLAN | QINQ => return Err(Refusal::VlanTag),
        _ => return Err(Refusal::NotIp),
    };
    let [first] = packet.read(offset_of!(EthHdr, dst_addr)).ok_or(Refusal::Truncated)?;
    transport(packet, &network, first & ETHERNET_GROUP != 0)
}

#[inline(always)]
fn ipv4<P: Packet + ?Sized>(packet: &P) -> Result<Network, Refusal> {
    let header: [u8; Ipv4Hdr::LEN] = packet.read(L3).ok_or(Refusal::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let length = u32::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < Ipv4Hdr::LEN {
        return Err(Refusal::BadIpHeader);
    }
    let protocol = header[offset_of!(Ipv4Hdr, proto)];
    if protocol != TCP && protocol != UDP {
        return Err(Refusal::OtherProtocol);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if fragment & V4_FRAGMENT_OFFSET != 0 {
        return Err(Refusal::LaterFragment);
    }
    Ok(Network {
        source: Address::from_v4([header[12], header[13], header[14], header[15]]),
        destination: Address::from_v4([header[16], header[17], header[18], header[19]]),
        protocol,
        ttl: header[offset_of!(Ipv4Hdr, ttl)],
        v4: true,
        fragment: fragment & V4_MORE_FRAGMENTS != 0,
        l4: L3 + header_len,
        length,
    })
}

#[inline(always)]
fn ipv6<P: Packet + ?Sized>(packet: &P) -> Result<Network, Refusal> {
    const ADDRESSES: usize = L3 + offset_of!(Ipv6Hdr, src_addr);
    let header: [u8; offset_of!(Ipv6Hdr, src_addr)] = packet.read(L3).ok_or(Refusal::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(Refusal::BadIpHeader);
    }
    let mut protocol = header[offset_of!(Ipv6Hdr, next_hdr)];
    let mut l4 = L3 + Ipv6Hdr::LEN;
    let mut fragment = false;
    if protocol == IpProto::Ipv6Frag as u8 {
        let extension: [u8; V6_FRAGMENT_LEN] = packet.read(l4).ok_or(Refusal::Truncated)?;
        if u16::from_be_bytes([extension[2], extension[3]]) & V6_FRAGMENT_OFFSET != 0 {
            return Err(Refusal::LaterFragment);
        }
        protocol = extension[0];
        l4 += V6_FRAGMENT_LEN;
        fragment = true;
    }
    if protocol != TCP && protocol != UDP {
        return Err(if is_extension(protocol) { Refusal::ExtensionHeader } else { Refusal::OtherProtocol });
    }
    let source = Address::from_v6(packet.read(ADDRESSES).ok_or(Refusal::Truncated)?);
    let destination = Address::from_v6(packet.read(ADDRESSES + 16).ok_or(Refusal::Truncated)?);
    // Such addresses are not for the wire (RFC 4942 §2.2), and here they would be taken for those of IPv4.
    if source.is_v4() || destination.is_v4() {
        return Err(Refusal::BadIpHeader);
    }
    Ok(Network {
        source,
        destination,
        protocol,
        ttl: header[offset_of!(Ipv6Hdr, hop_limit)],
        v4: false,
        fragment,
        l4,
        length: u32::from(u16::from_be_bytes([header[4], header[5]])) + 40,
    })
}

/// Whether a next-header value names an extension header behind which TCP or UDP may follow (RFC 7045 §4).
const fn is_extension(next_header: u8) -> bool {
    // Hop-by-hop, routing, fragment, ESP, AH, destination options, mobility, HIP, Shim6.
    matches!(next_header, 0 | 43 | 44 | 50 | 51 | 60 | 135 | 139 | 140)
}

#[inline(always)]
fn transport<P: Packet + ?Sized>(packet: &P, network: &Network, link_group: bool) -> Result<Headers, Refusal> {
    let l4 = network.l4;
    let ports: [u8; 4] = packet.read(l4).ok_or(Refusal::Truncated)?;
    let tcp = network.protocol == TCP;
    let ends_at = L3 as u64 + u64::from(network.length);
    let mut well_formed = ends_at <= packet.length() as u64;
    let mut opens = false;
    // Where the transport header, and for UDP its payload too, says that it ends.
    let needed = if tcp {
        match packet.read::<2>(l4 + 12) {
            Some([offset, flags]) => {
                let header_len = usize::from(offset >> 4) * 4;
                well_formed &= header_len >= TcpHdr::LEN;
                opens = flags & (SYN | ACK) == SYN;
                l4 + header_len
            }
            None => usize::MAX,
        }
    } else {
        match packet.read::<2>(l4 + offset_of!(UdpHdr, len)) {
            Some(length) => {
                let length = usize::from(u16::from_be_bytes(length));
                well_formed &= length >= UdpHdr::LEN;
                l4 + length
            }
            None => usize::MAX,
        }
    };
    well_formed &= needed as u64 <= ends_at;
    Ok(Headers {
        source: VipKey::new(network.source, [ports[0], ports[1]], network.protocol),
        destination: VipKey::new(network.destination, [ports[2], ports[3]], network.protocol),
        l4,
        length: network.length,
        ttl: network.ttl,
        tcp,
        opens,
        v4: network.v4,
        fragment: network.fragment,
        link_group,
        well_formed,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame that records how far it was read.
    struct Watched<'a>(&'a [u8]);

    impl Packet for Watched<'_> {
        fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
            let bytes = self.0.read(offset);
            assert_eq!(bytes.is_some(), offset + N <= self.0.len());
            bytes
        }
        fn write<const N: usize>(&mut self, _: usize, _: [u8; N]) -> Option<()> {
            panic!("the parser writes nothing")
        }
        fn length(&self) -> usize {
            self.0.len()
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..3) {
            if bytes.len() > 14 {
                match kind {
                    0 => bytes[12..15].copy_from_slice(&[0x08, 0x00, 0x45]),
                    1 => bytes[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]),
                    _ => {}
                }
            }
            if let Ok(headers) = parse(&Watched(&bytes)) {
                prop_assert!(headers.l4 + 4 <= bytes.len());
                if headers.well_formed {
                    prop_assert!(headers.length as usize + L3 <= bytes.len());
                    let transport_len = if headers.tcp { 20 } else { 8 };
                    prop_assert!(headers.l4 + transport_len <= bytes.len());
                }
            }
        }
    }
}
