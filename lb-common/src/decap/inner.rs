//! The inner packet: whether it is whole, and fit for the host.

use core::mem::offset_of;

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use network_types::udp::UdpHdr;

use crate::Address;
use crate::packet::Packet;
use crate::parse::UDP;

use super::outer::{IPV4, IPV6, Outer};
use super::{DecapOutcome, DecapTables};

/// An inner packet that the host may have.
pub(super) struct Inner {
    /// Where it goes.
    pub(super) destination: Address,
    /// TOS or traffic class.
    pub(super) class: u8,
}

/// What an inner IP header says.
struct Network {
    source: Address,
    destination: Address,
    protocol: u8,
    class: u8,
    /// Where the transport header is, unless this is a later fragment.
    l4: usize,
    later_fragment: bool,
    ends_at: usize,
}

/// Reads the inner header. Every error drops the packet.
#[inline(always)]
pub(super) fn parse<P: Packet + ?Sized, T: DecapTables>(
    packet: &P,
    outer: &Outer,
    tables: &T,
) -> Result<Inner, DecapOutcome> {
    let network = if outer.inner_v4 { ipv4(packet, outer.inner)? } else { ipv6(packet, outer.inner)? };
    if network.ends_at > outer.ends_at {
        return Err(DecapOutcome::InnerCutOff);
    }
    let destination = network.destination;
    if network.source.is_no_host() || destination.is_no_host() {
        return Err(DecapOutcome::InnerMartian);
    }
    if is_nested(packet, &network, tables) {
        return Err(DecapOutcome::Nested);
    }
    if destination == outer.destination || destination == outer.source {
        return Err(DecapOutcome::Looped);
    }
    Ok(Inner { destination, class: network.class })
}

/// Whether it is a tunnel's itself. UDP to gue's port may be a service's, unless it goes to where tunnels end.
#[inline(always)]
fn is_nested<P: Packet + ?Sized, T: DecapTables>(packet: &P, network: &Network, tables: &T) -> bool {
    match network.protocol {
        IPV4 | IPV6 => true,
        UDP if !network.later_fragment => {
            packet.read(network.l4 + offset_of!(UdpHdr, dst)) == Some(tables.gue_port())
                && tables.is_ours(&network.destination)
        }
        _ => false,
    }
}

#[inline(always)]
fn ipv4<P: Packet + ?Sized>(packet: &P, at: usize) -> Result<Network, DecapOutcome> {
    const FRAGMENT_OFFSET: u16 = 0x1fff;
    let header: [u8; Ipv4Hdr::LEN] = packet.read(at).ok_or(DecapOutcome::InnerCutOff)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < Ipv4Hdr::LEN || length < header_len {
        return Err(DecapOutcome::InnerMalformed);
    }
    Ok(Network {
        source: Address::from_v4([header[12], header[13], header[14], header[15]]),
        destination: Address::from_v4([header[16], header[17], header[18], header[19]]),
        protocol: header[offset_of!(Ipv4Hdr, proto)],
        class: header[1],
        l4: at + header_len,
        later_fragment: u16::from_be_bytes([header[6], header[7]]) & FRAGMENT_OFFSET != 0,
        ends_at: at + length,
    })
}

#[inline(always)]
fn ipv6<P: Packet + ?Sized>(packet: &P, at: usize) -> Result<Network, DecapOutcome> {
    const ADDRESSES: usize = offset_of!(Ipv6Hdr, src_addr);
    let header: [u8; ADDRESSES] = packet.read(at).ok_or(DecapOutcome::InnerCutOff)?;
    if header[0] >> 4 != 6 {
        return Err(DecapOutcome::InnerMalformed);
    }
    let source = Address::from_v6(packet.read(at + ADDRESSES).ok_or(DecapOutcome::InnerCutOff)?);
    let destination = Address::from_v6(packet.read(at + ADDRESSES + 16).ok_or(DecapOutcome::InnerCutOff)?);
    // As in the outer header.
    if source.is_v4() || destination.is_v4() {
        return Err(DecapOutcome::InnerMalformed);
    }
    let l4 = at + Ipv6Hdr::LEN;
    Ok(Network {
        source,
        destination,
        protocol: header[offset_of!(Ipv6Hdr, next_hdr)],
        class: header[0] << 4 | header[1] >> 4,
        l4,
        later_fragment: false,
        ends_at: l4 + usize::from(u16::from_be_bytes([header[4], header[5]])),
    })
}
