//! Forwarding by encapsulation: IP in IP (RFC 2003, RFC 2473, RFC 4213), and IP in UDP
//! (draft-ietf-intarea-gue, variant 1).
//!
//! The backend answers the client itself: its replies do not come back through here.

use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::udp::UdpHdr;

use super::{Link, link_of, live, too_big, write_link};
use crate::abi::{Backend, Delivery, DeviceFlags, Forward, PathMtu};
use crate::checksum::{self, Sum};
use crate::hash;
use crate::headers::{Headers, Part};
use crate::packet::{ANY_PATH_V4, ANY_PATH_V6, Packet};
use crate::parse::UDP;
use crate::tables::Tables;
use crate::verdict::Outcome;
use crate::{Address, Refusal};

/// The outer packet's time to live (RFC 1700's default).
pub(crate) const TTL: u8 = 64;

/// IPv4's don't-fragment bit: what is too large for the path is to be told, not to be cut.
pub(crate) const DONT_FRAGMENT: u16 = 0x4000;

/// Source ports of UDP tunnels begin here (RFC 6335 §6): the lower fourteen bits are the flow's.
const ENTROPY: u16 = 0xc000;

/// The source port of an outer UDP header.
#[inline(always)]
pub(crate) const fn source_port(entropy: u64) -> u16 {
    ENTROPY | (entropy >> 50) as u16
}

/// The label of an outer IPv6 header: twenty bits.
#[inline(always)]
pub(crate) const fn flow_label(entropy: u64) -> u32 {
    (entropy >> 44) as u32
}

/// How many bytes a tunnel puts in front of a packet.
#[inline(always)]
pub const fn overhead(forward: u8, outer_v4: bool) -> u16 {
    let ip = if outer_v4 { 20 } else { 40 };
    let udp = if forward == Forward::GUE { 8 } else { 0 };
    ip + udp
}

/// Wraps a packet for a backend. It is as it came when that is refused.
#[inline(always)]
pub fn wrap<P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    backend: &Backend,
) -> Outcome {
    live(headers)?;
    match backend.delivery {
        // A row without an address is nobody's.
        _ if backend.address == Address::default() => return Err(Refusal::NoBackend.into()),
        Delivery::NONE | Delivery::STACK => return Err(Refusal::NoWay.into()),
        _ => {}
    }
    let settings = tables.settings().ok_or(Refusal::NoWay)?;
    let v4 = backend.address.is_v4();
    let source = if v4 { settings.tunnel_v4 } else { settings.tunnel_v6 };
    // There is none, or one of its family.
    let [a, b, c, d] = source.words();
    if d == 0 && (v4 || a | b | c == 0) {
        return Err(Refusal::NoWay.into());
    }
    let overhead = overhead(backend.forward, v4);
    let length = headers.length + u32::from(overhead);
    let mtu = path_mtu(tables, backend, headers.v4, length, overhead);
    if length > mtu {
        return Err(too_big(mtu, overhead));
    }
    if packet.is_scattered() && tables.device(backend.ifindex).flags & DeviceFlags::SCATTER == 0 {
        return Err(Refusal::Scattered.into());
    }
    let outer = Outer { source, headers, backend, length, gue_port: settings.gue_port };
    let link = link_of(backend);
    // Apart, so that each knows its offsets.
    match (v4, backend.forward == Forward::GUE) {
        (true, false) => outer.wrap::<P, true, false>(packet, &link),
        (true, true) => outer.wrap::<P, true, true>(packet, &link),
        (false, false) => outer.wrap::<P, false, false>(packet, &link),
        (false, true) => outer.wrap::<P, false, true>(packet, &link),
    }
    .ok_or(Refusal::Malformed)?;
    Ok(super::exit::verdict(u32::from(backend.delivery), backend.ifindex))
}

/// The largest packet that the way to the tunnel's far end takes. Packets that every path takes are not refused for what
/// was told, by whomever: their senders could not make them smaller.
#[inline(always)]
fn path_mtu<T: Tables>(tables: &T, backend: &Backend, inner_v4: bool, length: u32, overhead: u16) -> u32 {
    let any_path = if inner_v4 { ANY_PATH_V4 } else { ANY_PATH_V6 };
    if length <= any_path + u32::from(overhead) || !tables.has_told_paths() {
        return backend.mtu;
    }
    match tables.path_mtu(&backend.address) {
        Some(path) if path.mtu != 0 && path.mtu < backend.mtu => {
            if tables.now_s().wrapping_sub(path.told_s) < PathMtu::LIFETIME_S { path.mtu } else { backend.mtu }
        }
        _ => backend.mtu,
    }
}

/// A packet around a packet.
struct Outer<'a> {
    source: Address,
    headers: &'a Headers,
    backend: &'a Backend,
    length: u32,
    gue_port: u16,
}

impl Outer<'_> {
    /// The protocol of what the outer IP header is followed by.
    #[inline(always)]
    const fn protocol<const GUE: bool>(&self) -> u8 {
        if GUE {
            UDP
        } else if self.headers.v4 {
            IpProto::Ipv4 as u8
        } else {
            IpProto::Ipv6 as u8
        }
    }

    /// Makes room, and writes everything in front of the inner IP header, which gets its lower time to live. `None`, and the
    /// packet as it came, when there is no room.
    #[inline(always)]
    fn wrap<P: Packet + ?Sized, const V4: bool, const GUE: bool>(&self, packet: &mut P, link: &Link) -> Option<()> {
        // Over the packet as it came: before the frame grows.
        let udp_checksum = if GUE && !V4 { self.udp_checksum(packet) } else { 0 };
        let overhead = usize::from(overhead(if GUE { Forward::GUE } else { Forward::IPIP }, V4));
        packet.grow(overhead + link.tags.len() - self.headers.tags.len())?;
        write_link(packet, link, V4)?;
        let l3 = crate::parse::L3 + link.tags.len();
        let ip_len = if V4 { Ipv4Hdr::LEN } else { Ipv6Hdr::LEN };
        if V4 {
            packet.write(l3, self.header_v4::<GUE>())?;
        } else {
            packet.write(l3, self.header_v6_start::<GUE>())?;
            packet.write(l3 + 8, self.source.v6())?;
            packet.write(l3 + 24, self.backend.address.v6())?;
        }
        if GUE {
            let ([s0, s1], [d0, d1]) = (self.source_port().to_be_bytes(), self.gue_port.to_ne_bytes());
            let ([l0, l1], [c0, c1]) = (self.udp_length().to_be_bytes(), udp_checksum.to_ne_bytes());
            packet.write(l3 + ip_len, [s0, s1, d0, d1, l0, l1, c0, c1])?;
        }
        self.lower_ttl(packet, l3 + overhead)
    }

    /// An outer IPv4 header, in words.
    #[inline(always)]
    fn header_v4<const GUE: bool>(&self) -> [u8; Ipv4Hdr::LEN] {
        // RFC 6040 §4.1, normal mode, for the type of service; RFC 2983 for its other six bits. The length is not larger than
        // the MTU.
        let first = (0x4500_0000 | u32::from(self.headers.tos) << 16 | self.length).to_be();
        // A packet that is never cut needs no identification (RFC 6864 §4.1).
        let second = u32::from(DONT_FRAGMENT).to_be();
        let third = (u32::from(TTL) << 24 | u32::from(self.protocol::<GUE>()) << 16).to_be();
        let ([.., source], [.., destination]) = (self.source.words(), self.backend.address.words());
        let sum = Sum::none().add32(first).add32(second).add32(third).add32(source).add32(destination);
        // Its last two bytes, whatever the machine's byte order.
        let [c0, c1] = sum.checksum().to_ne_bytes();
        let third = third | u32::from_ne_bytes([0, 0, c0, c1]);
        let mut header = [0; Ipv4Hdr::LEN];
        for (bytes, word) in header.as_chunks_mut::<4>().0.iter_mut().zip([first, second, third, source, destination]) {
            *bytes = word.to_ne_bytes();
        }
        header
    }

    /// An outer IPv6 header up to its addresses.
    #[inline(always)]
    fn header_v6_start<const GUE: bool>(&self) -> [u8; 8] {
        // The flow label spreads flows, too (RFC 6438).
        let label = flow_label(self.entropy());
        let [a, b, c, d] = (6 << 28 | u32::from(self.headers.tos) << 20 | label).to_be_bytes();
        let [l0, l1] = self.payload_length().to_be_bytes();
        [a, b, c, d, l0, l1, self.protocol::<GUE>(), TTL]
    }

    /// The length of what follows an outer IPv6 header.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "not larger than the MTU")]
    const fn payload_length(&self) -> u16 {
        (self.length - Ipv6Hdr::LEN as u32) as u16
    }

    /// The length in the UDP header.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "not larger than the MTU")]
    const fn udp_length(&self) -> u16 {
        (self.headers.length + UdpHdr::LEN as u32) as u16
    }

    /// What spreads flows.
    #[inline(always)]
    fn entropy(&self) -> u64 {
        let Headers { source, destination, part, .. } = self.headers;
        // All fragments of a datagram go the same way, with their ports or without.
        if *part != Part::WHOLE {
            return hash::entropy(source.address, [0; 2], 0);
        }
        hash::entropy(source.address, source.port_bytes(), destination.port)
    }

    #[inline(always)]
    fn source_port(&self) -> u16 {
        source_port(self.entropy())
    }

    /// The outer UDP checksum over IPv6, or 0 where it is not known without reading everything (RFC 6935 allows that for
    /// tunnels).
    ///
    /// A transport checksum makes the sum over its segment and its pseudo-header all ones, which counts as nothing
    /// (RFC 1071 §2): so the sum over the inner packet is that over its IP header less its pseudo-header.
    #[inline(always)]
    fn udp_checksum<P: Packet + ?Sized>(&self, packet: &P) -> u16 {
        let headers = self.headers;
        if headers.part != Part::WHOLE || headers.sctp() || headers.icmp() {
            return 0;
        }
        let l4 = usize::from(headers.l4);
        let transport_length = headers.ends_at().wrapping_sub(l4);
        if headers.udp() {
            // No checksum; or one that does not cover all that follows.
            let Some([l0, l1, c0, c1]) = packet.read(l4 + 4) else { return 0 };
            if [c0, c1] == [0; 2] || usize::from(u16::from_be_bytes([l0, l1])) != transport_length {
                return 0;
            }
        }
        let mut sum = Sum::none()
            .add_address(self.source)
            .add_address(self.backend.address)
            // The length is in the pseudo-header and in the UDP header.
            .add16(self.udp_length().to_be())
            .add16(self.udp_length().to_be())
            .add16(u16::from(UDP).to_be())
            .add16(self.source_port().to_be())
            .add16(self.gue_port);
        // The inner IP header, with its lower time to live. That of IPv4 has a checksum of its own, which makes its sum
        // nothing, too.
        if !headers.v4 {
            let Some(inner) = self.header_v6(packet) else { return 0 };
            sum = sum.add(inner);
        }
        // Less the pseudo-header.
        sum = sum
            .subtract_addresses(headers.v4, headers.source.address, headers.destination.address)
            .subtract16(u16::from(headers.source.protocol).to_be());
        #[expect(clippy::cast_possible_truncation, reason = "not larger than the MTU")]
        let length = transport_length as u16;
        sum = sum.subtract16(length.to_be());
        match sum.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    /// The sum over an inner IPv6 header and its extension headers, with the lower time to live.
    #[inline(always)]
    fn header_v6<P: Packet + ?Sized>(&self, packet: &P) -> Option<Sum> {
        let l3 = usize::from(self.headers.l3);
        // Extension headers are rare: nobody sums them up here.
        if usize::from(self.headers.l4) != l3 + Ipv6Hdr::LEN {
            return None;
        }
        let first: [u8; 4] = packet.read(l3)?;
        let second: [u8; 4] = packet.read(l3 + 4)?;
        Some(
            Sum::none()
                .add32(u32::from_ne_bytes(first))
                .add32(u32::from_ne_bytes([second[0], second[1], second[2], self.headers.ttl.saturating_sub(1)]))
                .add_address(self.headers.source.address)
                .add_address(self.headers.destination.address),
        )
    }

    /// Takes one from the inner packet's time to live: to be forwarded into the tunnel is a hop (RFC 2003 §3.1).
    #[inline(always)]
    fn lower_ttl<P: Packet + ?Sized>(&self, packet: &mut P, l3: usize) -> Option<()> {
        let ttl = self.headers.ttl.saturating_sub(1);
        if !self.headers.v4 {
            return packet.write(l3 + 7, [ttl]);
        }
        let [_, protocol, c0, c1]: [u8; 4] = packet.read(l3 + 8)?;
        let [c0, c1] = checksum::after_ttl(u16::from_ne_bytes([c0, c1])).to_ne_bytes();
        packet.write(l3 + 8, [ttl, protocol, c0, c1])
    }
}
