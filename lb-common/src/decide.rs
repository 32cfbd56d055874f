//! A packet's way: `parse → find service → limits → choose backend → translate`.

use crate::abi::{
    Backend, Delivery, Endpoint, FlowKey, LimitScope, ReplyKey, ReplyOwner, Service, ServiceFlags, SourceKey,
};
use crate::gcra::{self, Admission};
use crate::handover;
use crate::nat::{self, End};
use crate::packet::Packet;
use crate::parse::{Headers, parse};
use crate::tables::{Direction, RouteQuery, Tables};
use crate::{Address, Refusal, Verdict};

/// Decides what becomes of a frame that came in by the device `ingress_ifindex`, and rewrites it accordingly.
///
/// A refused frame is as it came. Every refusal is counted here; what the verdict asks for is the caller's to do.
#[inline(always)]
pub fn decide<P: Packet + ?Sized, T: Tables>(packet: &mut P, tables: &T, ingress_ifindex: u32) -> Verdict {
    let verdict = match parse(packet) {
        Ok(headers) => match tables.vip(&headers.destination) {
            Some(id) => request(packet, tables, &headers, id),
            None => match tables.endpoint(&headers.source) {
                Some(endpoint) => reply(packet, tables, &headers, endpoint, ingress_ifindex),
                None => Err(note_direct(tables, &headers)),
            },
        },
        Err(refusal) => Err(refusal),
    };
    match verdict {
        Ok(verdict) => verdict,
        Err(refusal) => {
            tables.count_refusal(refusal);
            Verdict::Refused(refusal)
        }
    }
}

/// Looks at a frame that this host itself sends: when it goes to a backend's own address, its replies are not to be
/// taken for a service's.
#[inline(always)]
pub fn observe_egress<P: Packet + ?Sized, T: Tables>(packet: &P, tables: &T) {
    if let Ok(headers) = parse(packet) {
        note_direct(tables, &headers);
    }
}

/// A packet from a client to a VIP.
#[inline(always)]
fn request<P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    id: u32,
) -> Result<Verdict, Refusal> {
    let service = tables.service(id).ok_or(Refusal::NoBackend)?;
    sound(headers)?;
    if is_martian(tables, headers, id) {
        return Err(Refusal::MartianSource);
    }
    admit(tables, service, headers)?;
    let (client, client_port) = (headers.source.address, headers.source.port_bytes());
    if service.flags & ServiceFlags::CENSUS != 0 {
        tables.note_in_census(&FlowKey::new(client, client_port, id));
    }
    let place = handover::place(tables, service, client, client_port).ok_or(Refusal::NoBackend)?;
    let chosen = handover::forward(packet, tables, id, headers, &place).ok_or(Refusal::NoBackend)?;
    let backend = tables.backend(chosen).ok_or(Refusal::NoBackend)?;
    let verdict = match backend.delivery {
        Delivery::NONE => return Err(Refusal::NoBackend),
        Delivery::STACK => Verdict::Stack,
        _ if headers.length > backend.mtu => return Err(Refusal::TooBig),
        delivery => Verdict::Transmit { ifindex: backend.ifindex, redirect: delivery == Delivery::REDIRECT },
    };
    remember(tables, service, headers, id, &backend);
    // The stack lowers the time to live of what it routes, and finds the next hop itself.
    let transmit = verdict != Verdict::Stack;
    nat::translate(packet, headers, End::Destination, backend.address, backend.port.to_ne_bytes(), transmit)
        .ok_or(Refusal::Malformed)?;
    if transmit {
        nat::address_frame(packet, backend.mac_destination, backend.mac_source).ok_or(Refusal::Malformed)?;
    }
    tables.count_traffic(id, chosen, Direction::Request, headers.length);
    Ok(verdict)
}

/// A packet from where a backend listens.
#[inline(always)]
fn reply<P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    endpoint: Endpoint,
    ingress_ifindex: u32,
) -> Result<Verdict, Refusal> {
    let said = || Some(handover::said_by_server(packet, headers));
    let (id, remembered) = owner(tables, headers, endpoint, said).ok_or(Refusal::Direct)?;
    let service = tables.service(id).ok_or(Refusal::Direct)?;
    let vip = service.vip;
    // A flow can be remembered for longer than its service is there: a head that was taken back is all zeroes.
    if vip.protocol != headers.source.protocol {
        return Err(Refusal::Direct);
    }
    sound(headers)?;
    // Whoever is explained by the slot has been noted there.
    let followed = if remembered { shared(tables, service, id, headers, said) } else { endpoint.backend };
    let backend = if id == endpoint.service { endpoint.backend } else { followed };
    let route = tables.route(&RouteQuery {
        source: vip.address,
        destination: headers.destination.address,
        ingress_ifindex,
        length: u16::try_from(headers.length).unwrap_or(u16::MAX),
        protocol: vip.protocol,
    });
    nat::translate(packet, headers, End::Source, vip.address, vip.port_bytes(), route.is_some())
        .ok_or(Refusal::Malformed)?;
    tables.count_traffic(id, backend, Direction::Reply, headers.length);
    match route {
        Some(route) => {
            nat::address_frame(packet, route.mac_destination, route.mac_source).ok_or(Refusal::Malformed)?;
            Ok(Verdict::Transmit { ifindex: route.ifindex, redirect: route.redirect })
        }
        None => Ok(Verdict::Stack),
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
        || !headers.tcp
            && (tables.vip(&headers.source).is_some()
                || tables.endpoint(&headers.source).is_some_and(|endpoint| endpoint.service == service))
}

/// What every packet must be before it is translated.
#[inline(always)]
fn sound(headers: &Headers) -> Result<(), Refusal> {
    if headers.link_group {
        Err(Refusal::LinkGroup)
    } else if headers.fragment {
        Err(Refusal::Fragment)
    } else if !headers.well_formed {
        Err(Refusal::Malformed)
    } else if headers.ttl <= 1 {
        Err(Refusal::TtlExpired)
    } else {
        Ok(())
    }
}

/// Asks every limit of the service, in their order. What an earlier limit admitted stays in its bucket when a later
/// one refuses: the packet did press on it.
#[inline(always)]
fn admit<T: Tables>(tables: &T, service: &Service, headers: &Headers) -> Result<(), Refusal> {
    if service.limits[0] == 0 {
        return Ok(());
    }
    let now_ns = tables.now_ns();
    for id in service.limits {
        // The list ends with 0; a limit is never published before it is written.
        let Some(id) = id.checked_sub(1) else { break };
        let Some(limit) = tables.limit(id) else { break };
        let (admission, over) = if limit.scope == LimitScope::SOURCE {
            let key = SourceKey { source: headers.source.address, limit: id };
            let bucket = tables.source_bucket(&key).ok_or(Refusal::LimitTableFull)?;
            (gcra::admit(limit, &bucket, now_ns, headers.length), Refusal::OverSourceLimit)
        } else {
            let bucket = tables.service_bucket(id).ok_or(Refusal::LimitTableFull)?;
            (gcra::admit(limit, &bucket, now_ns, headers.length), Refusal::OverServiceLimit)
        };
        tables.count_limit(id, admission == Admission::Admitted);
        match admission {
            Admission::Admitted => {}
            Admission::Over => return Err(over),
            Admission::Contended => return Err(Refusal::LimitContended),
        }
    }
    Ok(())
}

/// The backend's id in another service than its endpoint is known for.
///
/// A remembered reply says whose it is, but not by which of the service's ids: the client's slot does. A backend that is
/// not in that slot any more, nor remembered, is counted for whoever is.
#[inline(always)]
fn shared<T: Tables>(
    tables: &T,
    service: &Service,
    id: u32,
    headers: &Headers,
    said: impl FnOnce() -> Option<u32>,
) -> u32 {
    let client = headers.destination;
    let Some(place) = handover::place(tables, service, client.address, client.port_bytes()) else { return 0 };
    let key = FlowKey::new(client.address, client.port_bytes(), id);
    handover::follow(tables, &place, &key, said)
}

/// Sees to it that the flow's replies will be known for this service's.
///
/// Nothing is written for a service whose backends are its own: its replies are explained by the hash. The first
/// packet of a connection ends what was remembered of an earlier, direct one between the same ends.
#[inline(always)]
fn remember<T: Tables>(tables: &T, service: &Service, headers: &Headers, id: u32, backend: &Backend) {
    let always = service.flags & ServiceFlags::REMEMBER_REPLIES != 0;
    if !always && !headers.opens {
        return;
    }
    let mut listens = headers.destination;
    listens.address = backend.address;
    listens.port = backend.port;
    let key = ReplyKey::new(headers.source.address, headers.source.port_bytes(), listens);
    match tables.reply_owner(&key) {
        Some(owner) if owner.service == id => {}
        Some(_) if !always => tables.forget_reply(&key),
        Some(_) | None if always => tables.remember_reply(&key, ReplyOwner { service: id, seen_s: 0 }),
        Some(_) | None => {}
    }
}

/// The service to which a reply belongs: the one remembered, or else the endpoint's own if the client's packets
/// would go to just this backend. And whether it was remembered.
#[inline(always)]
fn owner<T: Tables>(
    tables: &T,
    headers: &Headers,
    endpoint: Endpoint,
    said: impl FnOnce() -> Option<u32>,
) -> Option<(u32, bool)> {
    let client = headers.destination;
    if let Some(owner) = tables.reply_owner(&ReplyKey::new(client.address, client.port_bytes(), headers.source)) {
        if owner.service != ReplyOwner::DIRECT {
            return Some((owner.service, true));
        }
        if headers.tcp || tables.now_s().wrapping_sub(owner.seen_s) < ReplyOwner::DIRECT_UDP_IDLE_S {
            return None;
        }
    }
    explains(tables, endpoint, client.address, client.port_bytes(), said).then_some((endpoint.service, false))
}

/// Whether the endpoint's service sends this client's flow to this backend.
#[inline(always)]
fn explains<T: Tables>(
    tables: &T,
    endpoint: Endpoint,
    client: Address,
    client_port: [u8; 2],
    said: impl FnOnce() -> Option<u32>,
) -> bool {
    let id = endpoint.service;
    let Some(service) = tables.service(id) else { return false };
    let Some(place) = handover::place(tables, service, client, client_port) else { return false };
    handover::comes_from(tables, &place, endpoint.backend, &FlowKey::new(client, client_port, id), said)
}

/// A packet that is not for a VIP: when it goes to a backend's own address, and its replies would be taken for the
/// service's, this is remembered. Returns what the packet is.
#[inline(always)]
fn note_direct<T: Tables>(tables: &T, headers: &Headers) -> Refusal {
    let Some(endpoint) = tables.endpoint(&headers.destination) else { return Refusal::NoService };
    let client = headers.source;
    let key = ReplyKey::new(client.address, client.port_bytes(), headers.destination);
    let known = tables.reply_owner(&key);
    match known {
        // In the midst of a connection through a VIP a stray packet changes nothing; a new connection does.
        Some(owner) if owner.service != ReplyOwner::DIRECT && headers.tcp && !headers.opens => return Refusal::Direct,
        Some(_) => {}
        None if !explains(tables, endpoint, client.address, client.port_bytes(), || None) => return Refusal::Direct,
        None => {}
    }
    let owner = ReplyOwner { service: ReplyOwner::DIRECT, seen_s: tables.now_s() };
    if known != Some(owner) {
        tables.remember_reply(&key, owner);
    }
    Refusal::Direct
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
