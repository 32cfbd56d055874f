//! The Ethernet header, with up to two VLAN tags.

use core::mem::offset_of;

use network_types::eth::{EthHdr, EtherType};

use crate::packet::Packet;

use super::DecapTables;

/// The bit of an Ethernet address's first byte that says that it is a group's, or everybody's (IEEE 802-2014 §8.2.2).
const GROUP: u8 = 0x01;

/// Length of a VLAN tag (IEEE 802.1Q-2018 §9.3).
const TAG_LEN: usize = 4;

/// Where the IP header starts at most.
const MAX_L3: usize = EthHdr::LEN + 2 * TAG_LEN;

/// What an Ethernet header says.
pub(super) struct Link {
    /// Where the IP header starts: 14, and 4 more for each tag.
    pub(super) l3: usize,
    /// IPv4, IPv6, or neither.
    pub(super) v4: Option<bool>,
    /// Whether the frame is for all, or for a group.
    pub(super) group: bool,
}

/// The ethertype of IPv4 or IPv6, as it lies in the frame.
#[inline(always)]
const fn ether_type(v4: bool) -> [u8; 2] {
    let kind = if v4 { EtherType::Ipv4 as u16 } else { EtherType::Ipv6 as u16 };
    kind.to_ne_bytes()
}

#[inline(always)]
fn is_tag(kind: [u8; 2]) -> bool {
    const VLAN: u16 = EtherType::Ieee8021q as u16;
    const QINQ: u16 = EtherType::Ieee8021ad as u16;
    matches!(u16::from_ne_bytes(kind), VLAN | QINQ)
}

/// Reads the header; `None` when the frame ends before it does.
#[inline(always)]
pub(super) fn parse<P: Packet + ?Sized, T: DecapTables>(packet: &P, tables: &T) -> Option<Link> {
    let mut l3 = EthHdr::LEN;
    let mut kind: [u8; 2] = packet.read(offset_of!(EthHdr, ether_type))?;
    if is_tag(kind) {
        kind = packet.read(l3 + 2)?;
        l3 += TAG_LEN;
        if is_tag(kind) {
            kind = packet.read(l3 + 2)?;
            l3 += TAG_LEN;
        }
    }
    let [first] = packet.read(offset_of!(EthHdr, dst_addr))?;
    let v4 = if kind == ether_type(true) {
        Some(true)
    } else if kind == ether_type(false) {
        Some(false)
    } else {
        None
    };
    let l3 = tables.forget(l3);
    if l3 > MAX_L3 {
        return None;
    }
    Some(Link { l3, v4, group: first & GROUP != 0 })
}

/// Cuts `bytes` out of the frame behind its Ethernet header, which from then on announces the inner packet's family.
#[inline(always)]
pub(super) fn cut<P: Packet + ?Sized>(packet: &mut P, l3: usize, bytes: usize, v4: bool) -> Option<()> {
    let addresses: [u8; 12] = packet.read(0)?;
    let kind = ether_type(v4);
    // Each length by itself, so that places in the frame are constants.
    match l3 {
        EthHdr::LEN => packet.shrink(bytes)?,
        18 => {
            let tag: [u8; 4] = packet.read(12)?;
            packet.shrink(bytes)?;
            packet.write(12, tag)?;
        }
        22 => {
            let tags: [u8; 8] = packet.read(12)?;
            packet.shrink(bytes)?;
            packet.write(12, tags)?;
        }
        _ => return None,
    }
    packet.write(0, addresses)?;
    packet.write(l3 - 2, kind)
}
