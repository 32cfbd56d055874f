//! Address translation: either end of a packet is replaced, its checksums follow.

use core::mem::offset_of;

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::Address;
use crate::abi::VipKey;
use crate::checksum::Delta;
use crate::headers::{Headers, Part};
use crate::packet::Packet;

/// One end of a packet: an address and a port, which is as it lies in memory on the wire.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// The address, of the packet's family.
    pub address: Address,
    /// The port. Later fragments have none.
    pub port: u16,
    /// Always zero.
    pub pad: u16,
}

impl End {
    /// An end.
    #[inline(always)]
    pub const fn new(address: Address, port: u16) -> Self {
        Self { address, port, pad: 0 }
    }

    /// An end of a packet.
    #[inline(always)]
    pub const fn of(at: &VipKey) -> Self {
        Self::new(at.address, at.port)
    }
}

/// What becomes of a packet's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// Another sender.
    pub source: Option<End>,
    /// Another receiver.
    pub destination: Option<End>,
    /// Another identification, of a fragment: as its bytes on the wire.
    pub fragment_id: Option<u32>,
    /// Whether one is taken from its time to live.
    pub lower_ttl: bool,
}

/// Where the checksum of a transport header is, from its first byte on.
#[inline(always)]
pub const fn checksum_offset(tcp: bool) -> usize {
    if tcp { offset_of!(TcpHdr, check) } else { offset_of!(UdpHdr, check) }
}

/// Changes a TCP or UDP packet, or a fragment of one.
///
/// `None` when the packet ends before its transport checksum; a well-formed packet never does.
#[inline(always)]
pub fn rewrite<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, change: &Change) -> Option<()> {
    let addresses = addresses(headers, change);
    if headers.part != Part::LATER {
        transport(packet, headers, change, addresses)?;
    }
    network(packet, headers, change, addresses)
}

/// Changes a packet's IP header, and nothing behind it: whatever it carries, its ports and checksum are the caller's.
#[inline(always)]
pub fn rewrite_network<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, change: &Change) -> Option<()> {
    network(packet, headers, change, addresses(headers, change))
}

/// The sum's change with the addresses.
#[inline(always)]
fn addresses(headers: &Headers, change: &Change) -> Delta {
    let mut addresses = Delta::none();
    if let Some(source) = change.source {
        addresses = replace(addresses, headers.v4, headers.source.address, source.address);
    }
    if let Some(destination) = change.destination {
        addresses = replace(addresses, headers.v4, headers.destination.address, destination.address);
    }
    addresses
}

#[inline(always)]
fn network<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, change: &Change, addresses: Delta) -> Option<()> {
    if headers.v4 { network_v4(packet, headers, change, addresses) } else { network_v6(packet, headers, change) }
}

/// The sum's change when an address is replaced.
#[inline(always)]
pub(crate) fn replace(delta: Delta, v4: bool, old: Address, new: Address) -> Delta {
    let (old, new) = (old.words(), new.words());
    let low = delta.replace32(old[3], new[3]);
    if v4 { low } else { low.replace32(old[0], new[0]).replace32(old[1], new[1]).replace32(old[2], new[2]) }
}

/// The ports, and the checksum: the pseudo-header holds the addresses, so it changes with them (RFC 9293 §3.1, RFC 768).
#[inline(always)]
fn transport<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, change: &Change, addresses: Delta) -> Option<()> {
    let l4 = usize::from(headers.l4);
    let checksum_at = l4 + checksum_offset(headers.tcp());
    // Nothing is written of a packet that ends before it.
    let _: [u8; 2] = packet.read(checksum_at)?;
    let mut ports = Delta::none();
    if let Some(End { port, .. }) = change.source {
        ports = ports.replace16(headers.source.port, port);
        packet.write(l4, port.to_ne_bytes())?;
    }
    if let Some(End { port, .. }) = change.destination {
        ports = ports.replace16(headers.destination.port, port);
        packet.write(l4 + 2, port.to_ne_bytes())?;
    }
    packet.correct(checksum_at, addresses, ports, headers.tcp())
}

#[inline(always)]
fn network_v4<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, change: &Change, mut delta: Delta) -> Option<()> {
    let l3 = usize::from(headers.l3);
    if change.lower_ttl {
        delta = lower_ttl_v4(packet, headers, delta)?;
    }
    if let Some(id) = change.fragment_id {
        let [a, b, ..] = id.to_ne_bytes();
        let [c, d, ..] = headers.fragment_id.to_ne_bytes();
        delta = delta.replace16(u16::from_ne_bytes([c, d]), u16::from_ne_bytes([a, b]));
        packet.write(l3 + offset_of!(Ipv4Hdr, id), [a, b])?;
    }
    if let Some(End { address, .. }) = change.source {
        packet.write(l3 + offset_of!(Ipv4Hdr, src_addr), address.v4())?;
    }
    if let Some(End { address, .. }) = change.destination {
        packet.write(l3 + offset_of!(Ipv4Hdr, dst_addr), address.v4())?;
    }
    let checksum_at = l3 + offset_of!(Ipv4Hdr, check);
    let checksum = u16::from_ne_bytes(packet.read(checksum_at)?);
    packet.write(checksum_at, delta.apply(checksum).to_ne_bytes())
}

/// Takes one from an IPv4 packet's time to live, which shares its word with the protocol; its checksum is the caller's.
#[inline(always)]
fn lower_ttl_v4<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, delta: Delta) -> Option<Delta> {
    let protocol = headers.source.protocol;
    let new = [headers.ttl.saturating_sub(1), protocol];
    packet.write(usize::from(headers.l3) + offset_of!(Ipv4Hdr, ttl), new)?;
    Some(delta.replace16(u16::from_ne_bytes([headers.ttl, protocol]), u16::from_ne_bytes(new)))
}

#[inline(always)]
fn network_v6<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, change: &Change) -> Option<()> {
    let l3 = usize::from(headers.l3);
    if change.lower_ttl {
        packet.write(l3 + offset_of!(Ipv6Hdr, hop_limit), [headers.ttl.saturating_sub(1)])?;
    }
    if let Some(id) = change.fragment_id {
        packet.write(usize::from(headers.fragment_at) + 4, id.to_ne_bytes())?;
    }
    if let Some(End { address, .. }) = change.source {
        packet.write(l3 + offset_of!(Ipv6Hdr, src_addr), address.v6())?;
    }
    match change.destination {
        Some(End { address, .. }) => packet.write(l3 + offset_of!(Ipv6Hdr, dst_addr), address.v6()),
        None => Some(()),
    }
}
