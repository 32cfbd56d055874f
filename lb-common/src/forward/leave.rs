//! How a frame leaves: its Ethernet header, with the tags of the way out.

use core::mem::offset_of;

use network_types::eth::{EthHdr, EtherType};

use crate::abi::Tags;
use crate::headers::Headers;
use crate::packet::Packet;
use crate::parse::TYPE_AT;

/// What a frame leaves with.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// The next hop's Ethernet address.
    pub destination: [u8; 6],
    /// The device's own.
    pub source: [u8; 6],
    /// The VLAN tags.
    pub tags: Tags,
}

impl Link {
    /// Of a frame that does not leave.
    pub const NONE: Self = Self { destination: [0; 6], source: [0; 6], tags: Tags::NONE };
}

/// Gives a frame the Ethernet header that it leaves with.
///
/// `None` when there is no room for more tags than it came with; nothing has been written then.
#[inline(always)]
pub fn readdress<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, link: &Link) -> Option<()> {
    if headers.tags.is_empty() && link.tags.is_empty() {
        packet.write(offset_of!(EthHdr, dst_addr), link.destination)?;
        return packet.write(offset_of!(EthHdr, src_addr), link.source);
    }
    let (had, has) = (headers.tags.len(), link.tags.len());
    if has > had {
        packet.grow(has - had)?;
    } else if had > has {
        packet.shrink(had - has)?;
    }
    write_link(packet, link, headers.v4)
}

/// Writes a whole Ethernet header; returns nothing when the frame ends in it.
#[inline(always)]
pub fn write_link<P: Packet + ?Sized>(packet: &mut P, link: &Link, v4: bool) -> Option<()> {
    packet.write(offset_of!(EthHdr, dst_addr), link.destination)?;
    packet.write(offset_of!(EthHdr, src_addr), link.source)?;
    let mut at = TYPE_AT;
    if link.tags.0[0] != 0 {
        packet.write(at, link.tags.0[0].to_ne_bytes())?;
        at += Tags::LEN;
        if link.tags.0[1] != 0 {
            packet.write(at, link.tags.0[1].to_ne_bytes())?;
            at += Tags::LEN;
        }
    }
    let ether_type = if v4 { EtherType::Ipv4 as u16 } else { EtherType::Ipv6 as u16 };
    packet.write(at, ether_type.to_ne_bytes())
}
