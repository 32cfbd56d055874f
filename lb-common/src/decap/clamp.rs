//! TCP segments that fit into the tunnel they come back through.
//!
//! With direct server return a client's segments reach the server in the tunnel, and are as large as the server's
//! SYN-ACK allows (RFC 9293 §3.7.1): the option is lowered where it leaves.

use core::mem::offset_of;

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;

use crate::Address;
use crate::packet::Packet;
use crate::parse::TCP;

use super::link::{self, Link};
use super::{ClampOutcome, DecapTables};

/// The flags of a TCP header (RFC 9293 §3.1).
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Kinds of TCP options (RFC 9293 §3.2).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// Length of the option, with its kind and its length.
const MSS_LEN: u8 = 4;

/// Bytes of an IP header and a TCP header without options, which the MSS does not count (RFC 6691 §2).
const V4_HEADERS: u32 = 20 + 20;
/// See [`V4_HEADERS`].
const V6_HEADERS: u32 = 40 + 20;

/// How many options are looked at. Forty bytes have no more.
const OPTIONS: usize = 40;

/// No segment has to be smaller: the kernel refuses to send such (`TCP_MIN_SND_MSS` of include/net/tcp.h).
const SMALLEST: u32 = 48;

/// A frame that is on its way out, whose transport checksum may be left to the device to finish.
pub trait Segment: Packet {
    /// Corrects the transport checksum at `offset` after a word of 16 bits became another. Words are as they lie in
    /// memory. After this, as after any write, the frame may lie elsewhere.
    fn correct_checksum(&mut self, offset: usize, old: u16, new: u16) -> Option<()>;
}

/// Lowers the MSS of a SYN-ACK whose source has its packets from a tunnel. `None` for any other frame, which is left as
/// it is and not counted.
#[inline(always)]
pub fn clamp<P: Segment + ?Sized, T: DecapTables>(packet: &mut P, tables: &T) -> Option<ClampOutcome> {
    let Syn { l4, header_len, source, v4 } = syn_ack(packet, tables)?;
    let overhead = tables.overhead(&source)?;
    let headers = if v4 { V4_HEADERS } else { V6_HEADERS };
    let most = tables.mtu().saturating_sub(overhead + headers).max(SMALLEST);
    let outcome = lower(packet, tables, l4, header_len, most).unwrap_or(ClampOutcome::Unreadable);
    tables.count_clamp(outcome);
    Some(outcome)
}

/// A SYN-ACK.
struct Syn {
    l4: usize,
    header_len: usize,
    source: Address,
    v4: bool,
}

#[inline(always)]
fn syn_ack<P: Packet + ?Sized, T: DecapTables>(packet: &P, tables: &T) -> Option<Syn> {
    let Link { l3, v4, .. } = link::parse(packet, tables)?;
    let v4 = v4?;
    let (l4, source) = if v4 {
        let [version, _] = packet.read(l3)?;
        let [_, protocol] = packet.read(l3 + offset_of!(Ipv4Hdr, proto) - 1)?;
        let fragment: [u8; 2] = packet.read(l3 + offset_of!(Ipv4Hdr, frags))?;
        let header_len = usize::from(version & 0x0f) * 4;
        if protocol != TCP || u16::from_be_bytes(fragment) & 0x1fff != 0 || header_len < Ipv4Hdr::LEN {
            return None;
        }
        (l3 + header_len, Address::from_v4(packet.read(l3 + offset_of!(Ipv4Hdr, src_addr))?))
    } else {
        let [protocol, _] = packet.read(l3 + offset_of!(Ipv6Hdr, next_hdr))?;
        if protocol != TCP {
            return None;
        }
        (l3 + Ipv6Hdr::LEN, Address::from_v6(packet.read(l3 + offset_of!(Ipv6Hdr, src_addr))?))
    };
    let [offset, flags]: [u8; 2] = packet.read(l4 + 12)?;
    (flags & (SYN | ACK | RST) == SYN | ACK).then_some(Syn { l4, header_len: usize::from(offset >> 4) * 4, source, v4 })
}

/// Lowers the option of the TCP header at `l4`, if it is there and says more.
#[inline(always)]
fn lower<P: Segment + ?Sized, T: DecapTables>(
    packet: &mut P,
    tables: &T,
    l4: usize,
    header_len: usize,
    most: u32,
) -> Option<ClampOutcome> {
    let mut at = TcpHdr::LEN;
    for _ in 0..OPTIONS {
        at = tables.forget(at);
        if at + usize::from(MSS_LEN) > header_len {
            return Some(ClampOutcome::NoOption);
        }
        let [kind, length]: [u8; 2] = packet.read(l4 + at)?;
        match kind {
            END => return Some(ClampOutcome::NoOption),
            NO_OPERATION => at += 1,
            MAXIMUM_SEGMENT_SIZE if length == MSS_LEN => return replace(packet, l4, at + 2, most),
            _ if length < 2 => return None,
            _ => at += usize::from(length),
        }
    }
    Some(ClampOutcome::NoOption)
}

#[inline(always)]
fn replace<P: Segment + ?Sized>(packet: &mut P, l4: usize, at: usize, most: u32) -> Option<ClampOutcome> {
    let old: [u8; 2] = packet.read(l4 + at)?;
    if u32::from(u16::from_be_bytes(old)) <= most {
        return Some(ClampOutcome::SmallEnough);
    }
    #[expect(clippy::cast_possible_truncation, reason = "it was just compared with a number of 16 bits")]
    let new = (most as u16).to_be_bytes();
    packet.write(l4 + at, new)?;
    // Across two words of the sum each byte counts in the other place (RFC 1071 §2 (B)).
    let word = |[first, second]: [u8; 2]| {
        if at & 1 == 0 { u16::from_ne_bytes([first, second]) } else { u16::from_ne_bytes([second, first]) }
    };
    packet.correct_checksum(l4 + offset_of!(TcpHdr, check), word(old), word(new))?;
    Some(ClampOutcome::Lowered)
}
