//! Telling a sender to slow down without losing a packet: Explicit Congestion Notification (RFC 3168).

use crate::checksum::Delta;
use crate::headers::Headers;
use crate::packet::Packet;

/// Congestion experienced, and the bits of ECN (RFC 3168 §5).
const CE: u8 = 0b11;

/// Where the type of service lies in an IPv4 header, as the second byte of a word; and the checksum.
const TOS: usize = 0;
const CHECKSUM: usize = 10;

/// Whether a packet's sender understands: ECT(0), ECT(1), or marked already.
#[inline(always)]
pub const fn is_capable(tos: u8) -> bool {
    tos & CE != 0
}

/// The type of service, or traffic class, of a packet that is marked.
#[inline(always)]
pub const fn marked(tos: u8) -> u8 {
    tos | CE
}

/// Has a packet the type of service, or traffic class, `tos`.
#[inline(always)]
pub fn set<P: Packet + ?Sized>(packet: &mut P, headers: &mut Headers, tos: u8) -> Option<()> {
    if tos == headers.tos {
        return Some(());
    }
    let at = usize::from(headers.l3) + TOS;
    let [first, second]: [u8; 2] = packet.read(at)?;
    if headers.v4 {
        let checksum_at = usize::from(headers.l3) + CHECKSUM;
        let checksum = u16::from_ne_bytes(packet.read(checksum_at)?);
        let (old, new) = (u16::from_ne_bytes([first, second]), u16::from_ne_bytes([first, tos]));
        packet.write(checksum_at, Delta::none().replace16(old, new).apply(checksum).to_ne_bytes())?;
        packet.write(at, [first, tos])?;
    } else {
        packet.write(at, [first & 0xf0 | tos >> 4, second & 0x0f | tos << 4])?;
    }
    headers.tos = tos;
    Some(())
}
