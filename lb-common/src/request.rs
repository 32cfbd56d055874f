//! A packet from a client to a VIP.

use crate::Refusal;
use crate::abi::{Datagram, FlowKey, Forward, FragmentFate, ReplyKey, ReplyOwner, Service, ServiceFlags, Slot, VipKey};
use crate::decide::{Scratch, service_at};
use crate::forward::{Course, End, to_backend};
use crate::handover;
use crate::headers::{Headers, Part};
use crate::packet::Packet;
use crate::path::Path;
use crate::reply::endpoint_at;
use crate::snat;
use crate::tables::Tables;
use crate::verdict::Outcome;

/// Forwards it to a backend.
#[inline(always)]
pub fn request<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    id: u32,
    ingress_ifindex: u32,
) -> Outcome {
    let Scratch { headers, row, snat, course, datagram, .. } = scratch;
    let service = tables.service(id).ok_or(Refusal::NoBackend)?;
    sound(headers)?;
    if is_martian(tables, headers, id) {
        return Err(Refusal::MartianSource.into());
    }
    if service.limits[0] != 0 {
        tables.admit(headers, id)?;
    }
    let key = key(service, headers, id);
    if service.flags & ServiceFlags::CENSUS != 0 {
        tables.note_in_census(&key);
    }
    let Choice { backend: chosen, strays, has_port } = choose(packet, tables, service, headers, &key)?;
    if !tables.row(chosen, row) {
        return Err(Refusal::NoBackend.into());
    }
    *course = Course {
        source: End::of(&headers.source),
        service: id,
        backend: chosen,
        fragment_id: headers.fragment_id,
        ingress_ifindex,
    };
    // Whoever has a port keeps it, whatever new flows of the backend get.
    let forward = if has_port { Forward::SNAT } else { row.forward };
    if forward == Forward::SNAT {
        tables.snat_port(packet, headers, id, chosen, snat)?;
        course.source = End::new(snat.source, snat.port);
    } else if forward == Forward::NAT {
        let always = strays || service.flags & ServiceFlags::REMEMBER_REPLIES != 0;
        if always || headers.opens {
            tables.remember(headers, course, always);
        }
    }
    if headers.part == Part::FIRST {
        // The later fragments are to follow this one.
        *datagram = Datagram {
            fate: FragmentFate::REQUEST,
            service: id,
            backend: chosen,
            source: course.source.address,
            destination: row.address,
            ..Datagram::default()
        };
        course.fragment_id = tables.begin_datagram(headers, datagram)?;
    }
    to_backend(packet, tables, headers, course, row, forward)
}

/// A client's flow: of a service of every port, the port is part of it.
#[inline(always)]
pub(crate) fn key(service: &Service, headers: &Headers, id: u32) -> FlowKey {
    let key = FlowKey::new(headers.source.address, headers.source.port_bytes(), id);
    if service.vip.port == 0 { key.at(headers.destination.port) } else { key }
}

/// The backend that a packet goes to.
struct Choice {
    backend: u32,
    /// Whether its slot says otherwise, so that replies are not explained by it.
    strays: bool,
    /// Whether its flow has a port of this host.
    has_port: bool,
}

#[inline(always)]
fn choose<P: Packet + ?Sized, T: Path<P>>(
    packet: &P,
    tables: &T,
    service: &Service,
    headers: &Headers,
    key: &FlowKey,
) -> Result<Choice, Refusal> {
    // Whoever has a port of this host stays where that port leads.
    if service.flags & ServiceFlags::SNAT != 0
        && let Some(backend) = snat::backend(tables, headers, key)
    {
        return Ok(Choice { backend, strays: false, has_port: true });
    }
    let place = handover::place(tables, service, headers.source.address, headers.source.port_bytes())
        .ok_or(Refusal::NoBackend)?;
    let claimed = if service.quic.length() != 0 { tables.quic(packet, headers, key.service) } else { Slot::NOBODY };
    let chosen = match place.slot.old() {
        // This is nearly every packet of nearly every day: no table, no clock.
        None if claimed == Slot::NOBODY || claimed == place.slot.current() => place.slot.current(),
        _ => tables.hand_over(packet, headers, key.service, &place, claimed),
    };
    if chosen == Slot::NOBODY {
        return Err(Refusal::NoBackend);
    }
    Ok(Choice { backend: chosen, strays: claimed == chosen && chosen != place.slot.current(), has_port: false })
}

/// What every packet must be before anything is done to it.
#[inline(always)]
pub(crate) fn sound(headers: &Headers) -> Result<(), Refusal> {
    if headers.link_group {
        Err(Refusal::LinkGroup)
    } else if !headers.well_formed {
        Err(Refusal::Malformed)
    } else if headers.bad_flags {
        Err(Refusal::BadFlags)
    } else if headers.source.port == 0 {
        Err(Refusal::SourcePortZero)
    } else {
        Ok(())
    }
}

/// Whether no client can have sent this: XDP comes before the kernel's own look at sources.
///
/// Backends answer to where a packet says it is from. Were that a VIP, or a backend of the same service, their answers
/// would be requests, and two UDP servers could be set on each other for ever by a single packet; TCP ends such a talk
/// by a reset.
#[inline(always)]
fn is_martian<T: Tables>(tables: &T, headers: &Headers, service: u32) -> bool {
    let source = headers.source.address;
    source.is_no_host()
        || source == headers.destination.address
        || headers.udp()
            && (service_at(tables, &headers.source).is_ok()
                || endpoint_at(tables, &headers.source).is_some_and(|endpoint| endpoint.service == service))
}

/// Sees to it that the flow's replies will be known for this service's: `always`, or when something else is remembered.
///
/// Nothing is written for a service whose backends are its own: its replies are explained by the hash. The first
/// packet of a connection ends what was remembered of an earlier, direct one between the same ends.
#[inline(always)]
pub fn remember<T: Tables>(tables: &T, headers: &Headers, course: &Course, always: bool) {
    let Some(backend) = tables.backend(course.backend) else { return };
    let port = if backend.port == 0 { headers.destination.port } else { backend.port };
    let listens = VipKey::new(backend.address, port.to_ne_bytes(), headers.destination.protocol);
    let key = ReplyKey::new(headers.source.address, headers.source.port_bytes(), listens);
    match tables.reply_owner(&key) {
        Some(owner) if owner.service == course.service => {}
        Some(_) if !always => tables.forget_reply(&key),
        Some(_) | None if always => {
            tables.remember_reply(&key, ReplyOwner { service: course.service, seen_s: 0 });
        }
        Some(_) | None => {}
    }
}
