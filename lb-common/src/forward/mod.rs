//! From a decision to a frame that leaves: what is done to a packet that goes to a backend, or back to a client.

pub mod exit;
mod leave;
mod rewrite;
pub mod tunnel;

use crate::abi::{Backend, Delivery, DeviceFlags, Forward, VipKey};
use crate::headers::Headers;
use crate::packet::Packet;
use crate::path::Path;
use crate::refusal::Stop;
use crate::request::HOST;
use crate::tables::{Direction, Tables};
use crate::verdict::Outcome;
use crate::{Address, Refusal, Verdict};

pub use exit::Exit;
pub use leave::{Link, readdress, write_link};
pub(crate) use rewrite::replace;
pub use rewrite::{Change, End, checksum_offset, rewrite, rewrite_network};

/// Where a packet of a client's goes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Course {
    /// Where it comes from from now on: the client, but for [`Forward::SNAT`].
    pub source: End,
    /// The service.
    pub service: u32,
    /// The backend's id.
    pub backend: u32,
    /// Its identification from now on, of a fragment.
    pub fragment_id: u32,
    /// The device it came in by.
    pub ingress_ifindex: u32,
}

/// Forwards a client's packet to its backend, which is reached by `forward`.
#[inline(always)]
pub fn to_backend<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    course: &Course,
    backend: &Backend,
    forward: u8,
) -> Outcome {
    let verdict = match forward {
        Forward::IPIP | Forward::GUE => tables.wrap(packet, headers, backend)?,
        _ => tables.send(packet, headers, course, backend)?,
    };
    tables.count_traffic(course.service, course.backend, Direction::Request, headers.length);
    Ok(verdict)
}

/// Sends a packet to a backend that gets it as it is, or translated.
#[inline(always)]
pub fn send<P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    course: &Course,
    backend: &Backend,
) -> Outcome {
    // A flow with a port of this host is translated, whatever others are.
    if backend.forward == Forward::L2 && course.source.address == headers.source.address {
        readdressed(packet, tables, headers, course, backend)
    } else {
        translated(packet, tables, headers, course, backend)
    }
}

/// Refuses a packet whose time ends here.
#[inline(always)]
pub(crate) fn live(headers: &Headers) -> Result<(), Stop> {
    if headers.ttl <= 1 { Err(Refusal::TtlExpired.into()) } else { Ok(()) }
}

#[inline(always)]
pub(crate) fn translated<P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    course: &Course,
    backend: &Backend,
) -> Outcome {
    live(headers)?;
    if backend.address.is_v4() != headers.v4 || headers.sctp() {
        return Err(Refusal::NoBackend.into());
    }
    // What this host sends has been routed already, to where the VIP is.
    let may_stack = course.ingress_ifindex != HOST;
    let verdict = way(packet, tables, headers, backend, course.ingress_ifindex, may_stack)?;
    // A backend of a service of every port listens at all of them.
    let port = if backend.port == 0 { headers.destination.port } else { backend.port };
    let change = Change {
        source: changed(course.source, &headers.source),
        destination: Some(End::new(backend.address, port)),
        fragment_id: changed_id(course.fragment_id, headers),
        // The stack lowers the time to live of what it routes, and finds the next hop itself.
        lower_ttl: verdict != Verdict::Stack,
    };
    rewrite(packet, headers, &change).ok_or(Refusal::Malformed)?;
    if verdict != Verdict::Stack {
        readdress(packet, headers, &link_of(backend)).ok_or(Refusal::Malformed)?;
    }
    Ok(verdict)
}

/// Only the Ethernet header changes: the backend has the VIP too. Its time to live stays, as if the client and the
/// backend were on one link.
#[inline(always)]
pub(crate) fn readdressed<P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    course: &Course,
    backend: &Backend,
) -> Outcome {
    if headers.ttl == 0 {
        return Err(Refusal::TtlExpired.into());
    }
    let verdict = way(packet, tables, headers, backend, course.ingress_ifindex, false)?;
    readdress(packet, headers, &link_of(backend)).ok_or(Refusal::Malformed)?;
    Ok(verdict)
}

/// What frames for a backend leave with.
#[inline(always)]
pub(crate) fn link_of(backend: &Backend) -> Link {
    Link { destination: backend.mac_destination, source: backend.mac_source, tags: backend.tags }
}

/// How a translated packet gets to its backend; or, unless the stack may take it (`may_stack`), one that only XDP can deliver: the
/// stack routes by what it sees, which has to be a packet to the backend.
#[inline(always)]
pub(crate) fn way<P: Packet + ?Sized, T: Tables>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    backend: &Backend,
    ingress_ifindex: u32,
    may_stack: bool,
) -> Outcome {
    match backend.delivery {
        // A row without an address is nobody's.
        _ if backend.address == Address::default() => return Err(Refusal::NoBackend.into()),
        Delivery::NONE => return Err(Refusal::NoWay.into()),
        Delivery::STACK if may_stack => return Ok(Verdict::Stack),
        Delivery::STACK => return Err(Refusal::NoWay.into()),
        _ => {}
    }
    if wire_length(packet, headers) > backend.mtu {
        return oversized(tables, headers, backend.mtu, ingress_ifindex, may_stack);
    }
    let verdict = exit::verdict(u32::from(backend.delivery), backend.ifindex);
    // The stack takes frames of several buffers, also where it hands them over.
    if matches!(verdict, Verdict::Transmit { .. })
        && packet.is_scattered()
        && tables.device(backend.ifindex).flags & DeviceFlags::SCATTER == 0
    {
        return if may_stack { Ok(Verdict::Stack) } else { Err(Refusal::Scattered.into()) };
    }
    Ok(verdict)
}

/// How long a packet is on the wire: of several that were merged into one, the longest.
#[inline(always)]
pub(crate) fn wire_length<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> u32 {
    match packet.merged() {
        0 => headers.length,
        payload => {
            let transport = if headers.tcp() {
                let [offset] = packet.read(usize::from(headers.l4) + TCP_OFFSET_AT).unwrap_or_default();
                u32::from(offset >> 4) * 4
            } else {
                UDP_LEN
            };
            u32::from(headers.l4 - headers.l3) + transport + payload
        }
    }
}

/// How long a UDP header is, in bytes (RFC 768).
const UDP_LEN: u32 = 8;

/// Where a TCP header says how long it is (RFC 9293 §3.1).
const TCP_OFFSET_AT: usize = 12;

/// What becomes of a packet larger than its way takes: the stack can fragment what its sender lets it, and part what was
/// merged before the program saw it.
#[inline(always)]
pub(crate) fn oversized<T: Tables>(
    tables: &T,
    headers: &Headers,
    mtu: u32,
    ingress_ifindex: u32,
    may_stack: bool,
) -> Outcome {
    let parts = headers.v4 && !headers.whole_only || tables.device(ingress_ifindex).flags & DeviceFlags::GENERIC != 0;
    if may_stack && parts { Ok(Verdict::Stack) } else { Err(too_big(mtu, 0)) }
}

/// Says how large packets may be on a way that takes `mtu` bytes, `overhead` of them not the sender's.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "limited before")]
pub(crate) const fn too_big(mtu: u32, overhead: u16) -> Stop {
    let mtu = if mtu > 0xffff { 0xffff } else { mtu };
    Stop { refusal: Refusal::TooBig, mtu: (mtu as u16).saturating_sub(overhead) }
}

/// The end that a packet gets, when it is another than it has.
#[inline(always)]
fn changed(end: End, had: &VipKey) -> Option<End> {
    if end == End::of(had) { None } else { Some(end) }
}

/// The identification that a fragment gets, when it is another than it has.
#[inline(always)]
fn changed_id(id: u32, headers: &Headers) -> Option<u32> {
    if id == headers.fragment_id { None } else { Some(id) }
}

/// Where a backend's packet goes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Return {
    /// The VIP, and the port that the client spoke to.
    pub vip: End,
    /// The client: whom the backend answered to, but for [`Forward::SNAT`].
    pub client: End,
    /// The service.
    pub service: u32,
    /// The backend's id.
    pub backend: u32,
    /// Its identification from now on, of a fragment.
    pub fragment_id: u32,
    /// The device it came in by.
    pub ingress_ifindex: u32,
}

/// Forwards a backend's packet to its client.
#[inline(always)]
pub fn to_client<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    back: &Return,
    exit: &mut Exit,
) -> Outcome {
    way_to_client(packet, tables, headers, back, exit)?;
    tables.send_back(packet, headers, back, exit)
}

/// Finds the way to its client of a packet that [`send_back`] is to send.
#[inline(always)]
pub(crate) fn way_to_client<P: Packet + ?Sized, T: Path<P>>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    back: &Return,
    exit: &mut Exit,
) -> Result<(), Stop> {
    live(headers)?;
    tables.way_back(packet, headers, back, exit)
}

/// Sends a backend's packet to its client by a way that was found.
#[inline(always)]
pub fn send_back<P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    back: &Return,
    exit: &Exit,
) -> Outcome {
    let change = Change {
        source: Some(back.vip),
        destination: changed(back.client, &headers.destination),
        fragment_id: changed_id(back.fragment_id, headers),
        lower_ttl: !exit.is_stack(),
    };
    rewrite(packet, headers, &change).ok_or(Refusal::Malformed)?;
    let verdict = exit::depart(packet, headers, exit)?;
    tables.count_traffic(back.service, back.backend, Direction::Reply, headers.length);
    Ok(verdict)
}
