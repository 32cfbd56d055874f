//! What an ICMP error quotes, translated with it.

use core::mem::offset_of;

use network_types::ip::Ipv4Hdr;

use crate::checksum::Delta;
use crate::forward::{Change, End, checksum_offset, replace, rewrite_network};
use crate::headers::Headers;
use crate::packet::Packet;
use crate::{Address, Refusal};

/// What becomes of an error: the ends of the packet that it quotes, and its own addresses.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quote {
    /// Where the quoted packet came from.
    pub source: End,
    /// Where it went.
    pub destination: End,
    /// Where the error comes from.
    pub outer_source: Address,
    /// Where it goes.
    pub outer_destination: Address,
    /// Whether one is taken from its time to live.
    pub lower_ttl: bool,
}

/// Changes an error, within and without, and its checksums.
#[inline(always)]
pub fn translate<P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers,
    quoted: &Headers,
    quote: &Quote,
) -> Result<(), Refusal> {
    try_translate(packet, headers, quoted, quote).ok_or(Refusal::Malformed)
}

#[inline(always)]
fn try_translate<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, quoted: &Headers, quote: &Quote) -> Option<()> {
    let checksum_at = usize::from(headers.l4) + 2;
    let checksum = u16::from_ne_bytes(packet.read(checksum_at)?);
    let mut delta = requote(packet, headers, quoted, quote)?;
    if !headers.v4 {
        // The pseudo-header of ICMPv6 (RFC 4443 §2.3).
        delta = replace(delta, false, headers.source.address, quote.outer_source);
        delta = replace(delta, false, headers.destination.address, quote.outer_destination);
    }
    packet.write(checksum_at, delta.apply(checksum).to_ne_bytes())?;
    let change = Change {
        source: Some(End::new(quote.outer_source, 0)),
        destination: Some(End::new(quote.outer_destination, 0)),
        fragment_id: None,
        lower_ttl: quote.lower_ttl,
    };
    rewrite_network(packet, headers, &change)
}

/// Changes a quoted packet; returns how the sum over the error changes by it.
#[inline(always)]
fn requote<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, quoted: &Headers, quote: &Quote) -> Option<Delta> {
    let (l3, l4) = (usize::from(quoted.l3), usize::from(quoted.l4));
    let (source_at, destination_at) = if quoted.v4 { (l3 + 12, l3 + 16) } else { (l3 + 8, l3 + 24) };
    let addresses = replace(Delta::none(), quoted.v4, quoted.source.address, quote.source.address);
    let addresses = replace(addresses, quoted.v4, quoted.destination.address, quote.destination.address);
    let ends = addresses
        .replace16(quoted.source.port, quote.source.port)
        .replace16(quoted.destination.port, quote.destination.port);
    write_address(packet, quoted.v4, source_at, quote.source.address)?;
    write_address(packet, quoted.v4, destination_at, quote.destination.address)?;
    packet.write(l4, quote.source.port.to_ne_bytes())?;
    packet.write(l4 + 2, quote.destination.port.to_ne_bytes())?;
    let mut sum = ends;
    if quoted.v4 {
        let at = l3 + offset_of!(Ipv4Hdr, check);
        let old = u16::from_ne_bytes(packet.read(at)?);
        let new = addresses.apply(old);
        packet.write(at, new.to_ne_bytes())?;
        sum = sum.replace16(old, new);
    }
    // Errors may quote no more than eight bytes of it (RFC 792), which UDP's checksum is within and TCP's is not.
    let at = l4 + checksum_offset(quoted.tcp());
    if !quoted.sctp()
        && at + 2 <= headers.ends_at()
        && let Some(old) = packet.read(at)
    {
        let old = u16::from_ne_bytes(old);
        let new = if quoted.tcp() { ends.apply(old) } else { ends.apply_udp(old) };
        packet.write(at, new.to_ne_bytes())?;
        sum = sum.replace16(old, new);
    }
    Some(sum)
}

#[inline(always)]
fn write_address<P: Packet + ?Sized>(packet: &mut P, v4: bool, at: usize, address: Address) -> Option<()> {
    if v4 { packet.write(at, address.v4()) } else { packet.write(at, address.v6()) }
}
