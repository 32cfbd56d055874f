//! ICMP messages (RFC 792, RFC 4443): errors go to whom the packet that they quote belongs to, echo requests to a VIP are
//! answered, and everything else is the host's.

mod quote;
mod tunnel;

use crate::abi::{AddressFlags, EndpointFlags, Forward, ServiceFlags, Slot};
use crate::decide::Scratch;
use crate::forward::{Course, End, Exit, Return, live};
use crate::headers::{Headers, Part};
use crate::limits::Asker;
use crate::packet::Packet;
use crate::parse::parse_quoted;
use crate::path::Path;
use crate::reply;
use crate::request::may_use;
use crate::tables::{Direction, SnatCell, Tables};
use crate::verdict::Outcome;
use crate::{Refusal, handover, snat};

pub use quote::{Quote, translate};

/// Bytes of an ICMP header, behind which an error quotes.
pub(crate) const HEADER_LEN: usize = 8;

/// Bytes of the ports that every transport header begins with.
const PORTS_LEN: usize = 4;

/// Types of ICMP messages.
pub(crate) mod kind {
    pub(crate) const V4_ECHO_REPLY: u8 = 0;
    pub(crate) const V4_UNREACHABLE: u8 = 3;
    pub(crate) const V4_ECHO: u8 = 8;
    pub(crate) const V4_TIME_EXCEEDED: u8 = 11;
    pub(crate) const V4_PARAMETER: u8 = 12;
    pub(crate) const V6_UNREACHABLE: u8 = 1;
    pub(crate) const V6_TOO_BIG: u8 = 2;
    pub(crate) const V6_TIME_EXCEEDED: u8 = 3;
    pub(crate) const V6_PARAMETER: u8 = 4;
    pub(crate) const V6_ECHO: u8 = 128;
    pub(crate) const V6_ECHO_REPLY: u8 = 129;
}

/// The code of "destination unreachable" that says "fragmentation needed and DF set".
pub(crate) const FRAGMENTATION_NEEDED: u8 = 4;

/// Says what becomes of an ICMP message: whether it is an error that a backend is to get, or else a client.
#[inline(always)]
pub fn message<P: Packet + ?Sized, T: Tables>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    quoted: &mut Headers,
) -> Result<bool, Refusal> {
    if headers.part != Part::WHOLE {
        return Err(Refusal::OtherProtocol);
    }
    let echo = headers.icmp_type == if headers.v4 { kind::V4_ECHO } else { kind::V6_ECHO };
    let error = is_error(headers.v4, headers.icmp_type);
    if echo {
        return Err(echo_request(packet, tables, headers));
    }
    if !error {
        return Err(Refusal::OtherProtocol);
    }
    error_message(packet, tables, headers, quoted)
}

/// What becomes of an echo request.
#[inline(always)]
fn echo_request<P: Packet + ?Sized, T: Tables>(packet: &P, tables: &T, headers: &Headers) -> Refusal {
    let known = tables.address(&headers.destination.address);
    if known & AddressFlags::ECHO == 0 || packet.read(usize::from(headers.l4) + 1) != Some([0]) {
        return Refusal::OtherProtocol;
    }
    let source = headers.source.address;
    if headers.link_group {
        Refusal::LinkGroup
    } else if !headers.well_formed {
        Refusal::Malformed
    } else if source.is_no_host() || source == headers.destination.address {
        Refusal::MartianSource
    } else {
        Refusal::EchoAnswered
    }
}

/// Says whom the packet belongs to that an error quotes: a backend, or else a client.
#[inline(always)]
fn error_message<P: Packet + ?Sized, T: Tables>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    quoted: &mut Headers,
) -> Result<bool, Refusal> {
    let known = tables.address(&headers.destination.address);
    if known & AddressFlags::TUNNEL != 0 && tunnel::learn(packet, tables, headers).unwrap_or(false) {
        return Err(Refusal::PathMtuLearnt);
    }
    let quote_at = usize::from(headers.l4) + HEADER_LEN;
    match parse_quoted(packet, quote_at, headers.v4, quoted) {
        Ok(()) => {}
        Err(Refusal::Truncated) => return Err(Refusal::IcmpShort),
        Err(_) => return Err(Refusal::OtherProtocol),
    }
    if quoted.icmp() {
        return Err(nested(packet, quoted));
    }
    // Without ports nobody knows whose it was; and it has to quote what its receiver sent.
    if quoted.part == Part::LATER {
        return Err(Refusal::IcmpShort);
    }
    // What lies behind the error's end is the link's.
    if usize::from(quoted.l4) + PORTS_LEN > headers.ends_at() {
        return Err(Refusal::IcmpShort);
    }
    if quoted.source.address != headers.destination.address {
        return Err(Refusal::OtherProtocol);
    }
    Ok(known & AddressFlags::VIP != 0)
}

/// What an error is that quotes an ICMP message: the host's, unless that was an error, too.
#[inline(always)]
fn nested<P: Packet + ?Sized>(packet: &P, quoted: &Headers) -> Refusal {
    match packet.read(usize::from(quoted.l4)) {
        Some([quoted_type]) if quoted.part != Part::LATER && is_error(quoted.v4, quoted_type) => Refusal::IcmpNested,
        _ => Refusal::OtherProtocol,
    }
}

/// Whether messages of this type quote a packet.
#[inline(always)]
const fn is_error(v4: bool, icmp_type: u8) -> bool {
    if v4 {
        matches!(icmp_type, kind::V4_UNREACHABLE | kind::V4_TIME_EXCEEDED | kind::V4_PARAMETER)
    } else {
        matches!(icmp_type, kind::V6_UNREACHABLE..=kind::V6_PARAMETER)
    }
}

/// Sends an ICMP error on to whom it is about, if it is about anybody.
#[inline(always)]
pub fn forward<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    ingress_ifindex: u32,
) -> Outcome {
    let Scratch { headers, quoted, row, course, back, exit, quote, asker, .. } = scratch;
    if !tables.icmp(packet, headers, quoted)? {
        tables.error_client(headers, quoted, back)?;
        back.ingress_ifindex = ingress_ifindex;
        live(headers)?;
        tables.way_back(packet, headers, back, exit)?;
        // What the backend says comes from the VIP; what a router says, from the router.
        let spoke = headers.source.address == quoted.destination.address;
        // Field by field: as a whole it would be made on the stack first, which is scarce in the kernel.
        (quote.source, quote.destination) = (back.client, back.vip);
        quote.outer_source = if spoke { back.vip.address } else { headers.source.address };
        quote.outer_destination = back.client.address;
        quote.lower_ttl = !exit.is_stack();
        let verdict = translated(packet, tables, headers, quoted, quote, exit)?;
        tables.count_traffic(back.service, back.backend, Direction::Reply, headers.length);
        return Ok(verdict);
    }
    tables.error_backend(headers, quoted, course)?;
    course.ingress_ifindex = ingress_ifindex;
    let service = tables.service(course.service).ok_or(Refusal::NoBackend)?;
    // Who may not send packets to its backends may not send errors about theirs either.
    if service.networks != 0 && !may_use(tables, service, ingress_ifindex) {
        return Err(Refusal::OtherNetwork.into());
    }
    if service.limits[0] != 0 {
        *asker = Asker { who: headers.source.address, service: course.service, packets: 1, ..Asker::default() };
        tables.admit(headers, asker)?;
    }
    // A flow with a port of this host is translated, whatever others are.
    let has_port = course.source != End::of(&quoted.destination);
    if !tables.row(course.backend, row) {
        return Err(Refusal::NoBackend.into());
    }
    let verdict = match row.forward {
        Forward::IPIP | Forward::GUE if !has_port => tables.wrap(packet, headers, row)?,
        Forward::L2 if !has_port => {
            course.source = End::of(&headers.source);
            tables.send(packet, headers, course, row)?
        }
        _ => {
            live(headers)?;
            tables.way_there(packet, headers, course, row, exit)?;
            let port = if row.port == 0 { quoted.source.port } else { row.port };
            (quote.source, quote.destination) = (End::new(row.address, port), course.source);
            (quote.outer_source, quote.outer_destination) = (headers.source.address, row.address);
            quote.lower_ttl = !exit.is_stack();
            translated(packet, tables, headers, quoted, quote, exit)?
        }
    };
    tables.count_traffic(course.service, course.backend, Direction::Request, headers.length);
    Ok(verdict)
}

/// Sends a translated error.
#[inline(always)]
fn translated<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    quoted: &Headers,
    quote: &Quote,
    exit: &Exit,
) -> Outcome {
    tables.translate_error(packet, headers, quoted, quote)?;
    tables.depart(packet, headers, exit)
}

/// Finds the backend that an error is for, which is about what it sent: from somewhere between here and the client, or from
/// the client itself. The course's source is where the backend sees the client.
#[inline(always)]
pub fn backend<T: Tables>(tables: &T, headers: &Headers, quoted: &Headers, course: &mut Course) -> Result<(), Refusal> {
    let Ok(id) = tables.service_at(&quoted.source) else { return Err(Refusal::NoService) };
    let service = tables.service(id).ok_or(Refusal::NoBackend)?;
    sound(headers)?;
    let client = quoted.destination;
    let key = reply::key(service, client.address, client.port_bytes(), quoted.source.port, id);
    *course = Course { source: End::of(&client), service: id, ..Course::default() };
    if service.flags & ServiceFlags::SNAT != 0
        && let Some(cell) = tables.snat(&key)
    {
        let snat = cell.read();
        course.source = End::new(snat.source, snat.port);
        course.backend = snat.backend;
        return Ok(());
    }
    let place = handover::place(tables, service, client.address, client.port_bytes()).ok_or(Refusal::NoBackend)?;
    course.backend = handover::follow(tables, &place, &key, || None);
    if course.backend == Slot::NOBODY { Err(Refusal::NoBackend) } else { Ok(()) }
}

/// Finds the client that an error is for, which is about what it sent: from somewhere between here and the backend, or from
/// the backend itself.
#[inline(always)]
pub fn client<T: Tables>(tables: &T, headers: &Headers, quoted: &Headers, back: &mut Return) -> Result<(), Refusal> {
    let endpoint = tables.endpoint_at(&quoted.destination).ok_or(Refusal::OtherProtocol)?;
    if endpoint.flags & EndpointFlags::SNAT != 0
        && snat::owner(tables, &quoted.source, &quoted.destination, back).is_some()
    {
        return sound(headers);
    }
    let owner = reply::owner(tables, &quoted.source, &quoted.destination, &endpoint, || None);
    let (id, _) = owner.ok_or(Refusal::Direct)?;
    let vip = tables.service(id).ok_or(Refusal::Direct)?.vip;
    if vip.protocol != quoted.source.protocol {
        return Err(Refusal::Direct);
    }
    *back = Return {
        vip: End::new(vip.address, if vip.port == 0 { quoted.destination.port } else { vip.port }),
        client: End::of(&quoted.source),
        service: id,
        backend: endpoint.backend,
        ..Return::default()
    };
    sound(headers)
}

/// What an error must be before it is sent on.
#[inline(always)]
fn sound(headers: &Headers) -> Result<(), Refusal> {
    if headers.link_group {
        Err(Refusal::LinkGroup)
    } else if !headers.well_formed {
        Err(Refusal::Malformed)
    } else if headers.source.address.is_no_host() {
        Err(Refusal::MartianSource)
    } else {
        Ok(())
    }
}
