//! From a frame with a tunnel's packet to a frame with what it carries.

use core::mem::offset_of;

use network_types::ip::Ipv4Hdr;

use crate::abi::Forward;
use crate::checksum::Delta;
use crate::forward::tunnel::overhead;
use crate::packet::Packet;

use super::outer::Outer;
use super::{DecapOutcome, DecapTables, ecn, inner, link, outer};

/// Unwraps a frame, if it is a tunnel's that ends here. Any other is left as it is.
///
/// The outcome is counted. A frame that is to be dropped may have been changed.
#[inline(always)]
pub fn unwrap<P: Packet + ?Sized, T: DecapTables>(packet: &mut P, tables: &T) -> DecapOutcome {
    let outcome = match attempt(packet, tables) {
        Ok(outcome) | Err(outcome) => outcome,
    };
    tables.count(outcome);
    outcome
}

#[inline(always)]
fn attempt<P: Packet + ?Sized, T: DecapTables>(packet: &mut P, tables: &T) -> Result<DecapOutcome, DecapOutcome> {
    let outer = outer::parse(packet, tables)?;
    let inner = inner::parse(packet, &outer, tables)?;
    let ecn = ecn::combine(inner.class, outer.class).ok_or(DecapOutcome::CongestionDrop)?;
    let Outer { l3, inner: from, v4, inner_v4, gue, .. } = outer;
    link::cut(packet, l3, from - l3, inner_v4).ok_or(DecapOutcome::Immovable)?;
    if ecn != inner.class & ecn::MASK {
        mark(packet, l3, inner_v4, ecn).ok_or(DecapOutcome::Immovable)?;
    }
    let forward = if gue { Forward::GUE } else { Forward::IPIP };
    tables.note_unwrapped(&inner.destination, overhead(forward, v4).into());
    Ok(if gue { DecapOutcome::Gue } else { DecapOutcome::Ipip })
}

/// Sets the ECN field of the IP header at `l3`.
#[inline(always)]
fn mark<P: Packet + ?Sized>(packet: &mut P, l3: usize, v4: bool, ecn: u8) -> Option<()> {
    if v4 {
        const CHECKSUM: usize = offset_of!(Ipv4Hdr, check);
        let [version, class]: [u8; 2] = packet.read(l3)?;
        let marked = [version, class & !ecn::MASK | ecn];
        let delta = Delta::none().replace16(u16::from_ne_bytes([version, class]), u16::from_ne_bytes(marked));
        let checksum = u16::from_ne_bytes(packet.read(l3 + CHECKSUM)?);
        packet.write(l3, marked)?;
        packet.write(l3 + CHECKSUM, delta.apply(checksum).to_ne_bytes())
    } else {
        // The class lies across the first two bytes, its lower half in the upper one of the second (RFC 8200 §3).
        let [first, second]: [u8; 2] = packet.read(l3)?;
        packet.write(l3, [first, second & !(ecn::MASK << 4) | ecn << 4])
    }
}
