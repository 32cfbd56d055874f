//! The way of nearly every packet of nearly every day: whole, without tags or options, TCP or UDP, to a service that needs no
//! more than a look at its slot, or of a flow that is remembered while that moves; or a stranger's.
//!
//! What it does [`decide`](crate::decide()) would do, too, and every frame that is not such goes there as it came: nothing has
//! been counted or changed then, but for what is noted of a remembered flow, which is noted again. It has two stretches:
//!
//! - [`straight`]: from the frame to the slot, and into a tunnel of the packet's own family. It is written for the processor
//!   that runs it: every offset is a number in an instruction, the frame is compared with its end once, and what is wanted
//!   again later is read again, since that costs one load, and to keep it over a call costs a store and a load.
//! - [`onwards`]: from the slot on, whatever the slot and its backend are. A function of its own in the kernel.

mod family;
pub mod onwards;
mod straight;
#[cfg(test)]
mod tests;
mod wrap;

use network_types::eth::{EthHdr, EtherType};
use network_types::ip::Ipv4Hdr;
use network_types::udp::UdpHdr;

use crate::Verdict;
use crate::packet::{Front, Fronted};
use crate::parse::{self, TYPE_AT};
use crate::path::Path;
use family::{V4, V6};

/// Forwards a frame, or says that it is a stranger's, and has the caller act upon that; nothing when it has to be looked at
/// more closely, and whether its limits were `asked` before that was known.
#[inline(always)]
pub fn forward<P: Fronted + ?Sized, T: Path<P>, A>(
    packet: &mut P,
    tables: &T,
    asked: &mut bool,
    act: impl Fn(Verdict) -> A + Copy,
) -> Option<A> {
    const IPV4: u16 = EtherType::Ipv4 as u16;
    const IPV6: u16 = EtherType::Ipv6 as u16;
    const SHORTEST: usize = EthHdr::LEN + Ipv4Hdr::LEN + UdpHdr::LEN;
    // No frame with a transport header is shorter.
    let link = packet.front::<SHORTEST>()?;
    let [first] = link.at::<0, 1>();
    if first & parse::ETHERNET_GROUP != 0 {
        return None;
    }
    match u16::from_ne_bytes(link.at::<TYPE_AT, 2>()) {
        IPV4 => straight::serve::<V4, P, T, A>(packet, tables, asked, act),
        IPV6 => straight::serve::<V6, P, T, A>(packet, tables, asked, act),
        _ => None,
    }
}
