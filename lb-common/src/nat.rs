//! Forwarding by address translation: one end of a packet is replaced, its checksums follow.

use core::mem::offset_of;

use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::Address;
use crate::checksum::Delta;
use crate::packet::Packet;
use crate::parse::{Headers, L3};

/// Which end is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The sender's, on a reply.
    Source,
    /// The receiver's, on a request.
    Destination,
}

/// Replaces one end of the packet by `address` and `port`, and with `lower_ttl` takes one from its time to live.
///
/// `None`, with nothing written, when the packet ends before its transport checksum; a well-formed packet never does.
#[inline(always)]
pub fn translate<P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers,
    end: End,
    address: Address,
    port: [u8; 2],
    lower_ttl: bool,
) -> Option<()> {
    let (old, port_at) = match end {
        End::Source => (&headers.source, headers.l4),
        End::Destination => (&headers.destination, headers.l4 + 2),
    };
    let checksum_at = headers.l4 + if headers.tcp { offset_of!(TcpHdr, check) } else { offset_of!(UdpHdr, check) };
    let checksum = u16::from_ne_bytes(packet.read(checksum_at)?);

    let addresses = address_delta(headers.v4, old.address, address);
    // The pseudo-header holds the addresses, so the transport checksum changes with them (RFC 9293 §3.1, RFC 768).
    let delta = addresses.replace16(old.port, u16::from_ne_bytes(port));
    let checksum = if headers.tcp { delta.apply(checksum) } else { delta.apply_udp(checksum) };

    if headers.v4 {
        network_v4(packet, headers, end, address, addresses, lower_ttl)?;
    } else {
        network_v6(packet, headers, end, address, lower_ttl)?;
    }
    packet.write(port_at, port)?;
    packet.write(checksum_at, checksum.to_ne_bytes())
}

/// Writes the frame's Ethernet addresses.
#[inline(always)]
pub fn address_frame<P: Packet + ?Sized>(packet: &mut P, destination: [u8; 6], source: [u8; 6]) -> Option<()> {
    packet.write(offset_of!(EthHdr, dst_addr), destination)?;
    packet.write(offset_of!(EthHdr, src_addr), source)
}

#[inline(always)]
fn address_delta(v4: bool, old: Address, new: Address) -> Delta {
    let (old, new) = (old.words(), new.words());
    let low = Delta::none().replace32(old[3], new[3]);
    if v4 { low } else { low.replace32(old[0], new[0]).replace32(old[1], new[1]).replace32(old[2], new[2]) }
}

#[inline(always)]
fn network_v4<P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers,
    end: End,
    address: Address,
    mut delta: Delta,
    lower_ttl: bool,
) -> Option<()> {
    const TTL: usize = L3 + offset_of!(Ipv4Hdr, ttl);
    const CHECKSUM: usize = L3 + offset_of!(Ipv4Hdr, check);
    if lower_ttl {
        // The time to live shares its word with the protocol.
        let protocol = headers.source.protocol;
        let new = [headers.ttl.saturating_sub(1), protocol];
        delta = delta.replace16(u16::from_ne_bytes([headers.ttl, protocol]), u16::from_ne_bytes(new));
        packet.write(TTL, new)?;
    }
    let checksum = u16::from_ne_bytes(packet.read(CHECKSUM)?);
    packet.write(CHECKSUM, delta.apply(checksum).to_ne_bytes())?;
    match end {
        End::Source => packet.write(L3 + offset_of!(Ipv4Hdr, src_addr), address.v4()),
        End::Destination => packet.write(L3 + offset_of!(Ipv4Hdr, dst_addr), address.v4()),
    }
}

#[inline(always)]
fn network_v6<P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers,
    end: End,
    address: Address,
    lower_ttl: bool,
) -> Option<()> {
    if lower_ttl {
        packet.write(L3 + offset_of!(Ipv6Hdr, hop_limit), [headers.ttl.saturating_sub(1)])?;
    }
    match end {
        End::Source => packet.write(L3 + offset_of!(Ipv6Hdr, src_addr), address.v6()),
        End::Destination => packet.write(L3 + offset_of!(Ipv6Hdr, dst_addr), address.v6()),
    }
}
