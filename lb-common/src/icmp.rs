//! ICMP messages (RFC 792, RFC 4443): errors go to whom the packet that they quote belongs to, echo requests to a VIP are
//! answered, and everything else is the host's.

use core::mem::offset_of;

use network_types::ip::Ipv4Hdr;

use crate::abi::{AddressFlags, EndpointFlags, Forward, PathMtu, ServiceFlags, Slot};
use crate::checksum::Delta;
use crate::decide::Scratch;
use crate::forward::{Change, Course, End, Exit, Return, checksum_offset, live, replace, rewrite_network};
use crate::headers::{Headers, Part};
use crate::packet::{ANY_PATH_V4, ANY_PATH_V6, Packet};
use crate::parse::{UDP, parse_quoted};
use crate::path::Path;
use crate::reply;
use crate::request::may_use;
use crate::tables::{Direction, SnatCell, Tables};
use crate::verdict::Outcome;
use crate::{Address, Refusal, handover, snat};

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
    if known & AddressFlags::TUNNEL != 0 && learn(packet, tables, headers).unwrap_or(false) {
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
    let Scratch { headers, quoted, row, course, back, exit, quote, .. } = scratch;
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
        tables.admit(headers, course.service)?;
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

/// Learns what an error says of the path to a tunnel's far end; says whether there is such a tunnel.
#[inline(always)]
fn learn<P: Packet + ?Sized, T: Tables>(packet: &P, tables: &T, headers: &Headers) -> Option<bool> {
    let l4 = usize::from(headers.l4);
    let quote = l4 + HEADER_LEN;
    let (source, far_end, protocol, ports, mtu) = if headers.v4 {
        let [code] = packet.read(l4 + 1)?;
        if headers.icmp_type != kind::V4_UNREACHABLE || code != FRAGMENTATION_NEEDED {
            return None;
        }
        let [first] = packet.read(quote)?;
        let [protocol] = packet.read(quote + offset_of!(Ipv4Hdr, proto))?;
        let mtu = u32::from(u16::from_be_bytes(packet.read(l4 + 6)?));
        let source = Address::from_v4(packet.read(quote + 12)?);
        let far_end = Address::from_v4(packet.read(quote + 16)?);
        // Routers of before RFC 1191 say 0, which is no less than what every path takes.
        (source, far_end, protocol, quote + usize::from(first & 0x0f) * 4, mtu.max(ANY_PATH_V4))
    } else {
        if headers.icmp_type != kind::V6_TOO_BIG {
            return None;
        }
        let [protocol] = packet.read(quote + 6)?;
        let mtu = u32::from_be_bytes(packet.read(l4 + 4)?);
        let source = Address::from_v6(packet.read(quote + 8)?);
        let far_end = Address::from_v6(packet.read(quote + 24)?);
        (source, far_end, protocol, quote + 40, mtu.max(ANY_PATH_V6))
    };
    let tunnel = match protocol {
        UDP => packet.read(ports + 2).map(u16::from_ne_bytes) == tables.settings().map(|settings| settings.gue_port),
        // IPv4 and IPv6 in whatever it is.
        4 | 41 => true,
        _ => false,
    };
    if !tunnel || source != headers.destination.address || sound(headers).is_err() {
        return None;
    }
    let known = tables.path_mtu(&far_end)?;
    let now_s = tables.now_s();
    // No such message makes an estimate larger (RFC 8201 §4): it ends by itself.
    if known.mtu == 0 || mtu < known.mtu || now_s.wrapping_sub(known.told_s) >= PathMtu::LIFETIME_S {
        tables.learn_path_mtu(&far_end, PathMtu { mtu, told_s: now_s });
    } else if !tables.has_told_paths() {
        // Programs that these have replaced learnt it meanwhile: nobody would look there.
        tables.learn_path_mtu(&far_end, known);
    }
    Some(true)
}
