//! A packet from a client to a VIP.

use crate::abi::{
    Backend, Datagram, FlowKey, Forward, FragmentFate, ReplyKey, ReplyOwner, Service, ServiceFlags, Slot, VipKey,
};
use crate::decide::Scratch;
use crate::forward::{Course, End, to_backend};
use crate::handover::{self, Memo};
use crate::headers::{Headers, Part};
use crate::limits::{Asker, Stage};
use crate::packet::Packet;
use crate::path::Path;
use crate::tables::Tables;
use crate::verdict::Outcome;
use crate::{Address, Refusal, limits, mark};

/// The device by which this host's own packets come in.
pub(crate) const HOST: u32 = 0;

/// Where packets come from that a backend sent to its own service, and that lead back to it: addresses that nobody has, of those
/// that are no host's (RFC 7600 §6: the IPv4 dummy address; RFC 6666: discard-only).
pub(crate) const ITSELF_V4: Address = Address::from_v4([192, 0, 0, 8]);
pub(crate) const ITSELF_V6: Address = Address::from_v6([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8]);

/// Forwards it to a backend.
#[inline(always)]
pub fn request<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    id: u32,
    ingress_ifindex: u32,
) -> Outcome {
    let Scratch { headers, row, snat, course, datagram, memo, asker, asked, .. } = scratch;
    let service = tables.service(id).ok_or(Refusal::NoBackend)?;
    sound(headers)?;
    if is_martian(tables, headers, id, ingress_ifindex) {
        return Err(Refusal::MartianSource.into());
    }
    if service.networks != 0 && !may_use(tables, service, ingress_ifindex) {
        return Err(Refusal::OtherNetwork.into());
    }
    let (is_limited, mut is_marked) = (service.limits[0] != 0, false);
    if is_limited {
        *asker = Asker {
            who: headers.source.address,
            service: id,
            packets: limits::packets(packet, headers),
            ..Asker::default()
        };
        if *asked == 0 {
            is_marked = tables.admit(headers, asker)?.mark;
        }
    }
    let claimed = if service.quic.length() != 0 { tables.quic(packet, headers, id) } else { Slot::NOBODY };
    let Choice { backend: chosen, strays, has_port } = tables.choose(packet, headers, id, claimed, memo)?;
    if !tables.row(chosen, row) {
        return Err(Refusal::NoBackend.into());
    }
    if is_limited && service.flags & ServiceFlags::BACKEND_LIMITS != 0 {
        (asker.backend, asker.stage) = (chosen, Stage::CHOSEN);
        is_marked |= tables.admit(headers, asker)?.mark;
    }
    if is_limited && service.flags & ServiceFlags::COUNTED != 0 {
        (asker.backend, asker.stage) = (chosen, Stage::CHOSEN);
        let said = handover::said_by_client(packet, headers);
        tables.note_connection(headers, &memo.key, asker, said)?;
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
        if row.address == headers.source.address {
            // A backend that its own service leads back to: nobody takes packets from his own address.
            course.source.address = if headers.v4 { ITSELF_V4 } else { ITSELF_V6 };
        }
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
    if is_marked {
        return marked(packet, tables, headers, course, row, forward);
    }
    to_backend(packet, tables, headers, course, row, forward)
}

/// [`to_backend`], with a word to the sender that it is to slow down.
#[inline(always)]
pub(crate) fn marked<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    headers: &mut Headers,
    course: &Course,
    row: &Backend,
    forward: u8,
) -> Outcome {
    let tos = headers.tos;
    tables.set_tos(packet, headers, mark::marked(tos))?;
    let outcome = to_backend(packet, tables, headers, course, row, forward);
    if outcome.is_err() {
        // What is refused is as it came.
        tables.set_tos(packet, headers, tos)?;
    }
    outcome
}

/// A client's flow: of a service of every port, the port is part of it.
#[inline(always)]
pub(crate) fn key(service: &Service, headers: &Headers, id: u32) -> FlowKey {
    let key = FlowKey::new(headers.source.address, headers.source.port_bytes(), id);
    if service.vip.port == 0 { key.at(headers.destination.port) } else { key }
}

/// The backend that a packet goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its id.
    pub backend: u32,
    /// Whether its slot says otherwise, so that replies are not explained by it.
    pub strays: bool,
    /// Whether its flow has a port of this host.
    pub has_port: bool,
}

impl Choice {
    const STRAYS: u64 = 1 << 32;
    const HAS_PORT: u64 = 1 << 33;
    const REFUSED: u64 = 1 << 34;

    /// A choice, or why there is none, in one word, which is all that a function of the kernel's gives back.
    #[inline(always)]
    pub const fn pack(choice: Result<Self, Refusal>) -> u64 {
        match choice {
            Ok(Self { backend, strays, has_port }) => {
                let strays = if strays { Self::STRAYS } else { 0 };
                let has_port = if has_port { Self::HAS_PORT } else { 0 };
                backend as u64 | strays | has_port
            }
            Err(refusal) => refusal as u64 | Self::REFUSED,
        }
    }

    /// The inverse of [`Self::pack`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub const fn unpack(word: u64) -> Result<Self, Refusal> {
        if word & Self::REFUSED == 0 {
            let (strays, has_port) = (word & Self::STRAYS != 0, word & Self::HAS_PORT != 0);
            return Ok(Self { backend: word as u32, strays, has_port });
        }
        match Refusal::from_index(word as u32) {
            Some(refusal) => Err(refusal),
            None => Err(Refusal::Malformed),
        }
    }
}

/// Chooses the backend of a packet for the service `id`, which its connection id may have `claimed` for one.
#[inline(always)]
pub fn choose<P: Packet + ?Sized, T: Tables>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    id: u32,
    claimed: u32,
    memo: &mut Memo,
) -> Result<Choice, Refusal> {
    let service = tables.service(id).ok_or(Refusal::NoBackend)?;
    memo.key = key(service, headers, id);
    if service.flags & ServiceFlags::CENSUS != 0 {
        tables.note_in_census(&memo.key);
    }
    // Whoever has a port of this host stays where that port leads.
    if service.flags & ServiceFlags::SNAT != 0
        && let Some(backend) = tables.snat_backend(headers, &memo.key)
    {
        return Ok(Choice { backend, strays: false, has_port: true });
    }
    let place = handover::place(tables, service, headers.source.address, headers.source.port_bytes())
        .ok_or(Refusal::NoBackend)?;
    let chosen = match place.slot.old() {
        // This is nearly every packet of nearly every day: no table, no clock.
        None if claimed == Slot::NOBODY || claimed == place.slot.current() => place.slot.current(),
        _ => handover::hand_over(packet, tables, headers, id, &place, claimed, memo),
    };
    if chosen == Slot::NOBODY {
        return Err(Refusal::NoBackend);
    }
    Ok(Choice { backend: chosen, strays: claimed == chosen && chosen != place.slot.current(), has_port: false })
}

/// Whether who is behind a device may use a service. This host itself, which is behind none, may.
#[inline(always)]
pub(crate) fn may_use<T: Tables>(tables: &T, service: &Service, ingress_ifindex: u32) -> bool {
    ingress_ifindex == HOST || tables.device(ingress_ifindex).networks & service.networks != 0
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
///
/// This host itself speaks from the VIP when that is an address of its own.
#[inline(always)]
fn is_martian<T: Tables>(tables: &T, headers: &Headers, service: u32, ingress_ifindex: u32) -> bool {
    let source = headers.source.address;
    source.is_no_host()
        || source == ITSELF_V4
        || source == ITSELF_V6
        || source == headers.destination.address && ingress_ifindex != HOST
        || headers.udp()
            && (tables.service_at(&headers.source).is_ok()
                || tables.endpoint_at(&headers.source).is_some_and(|endpoint| endpoint.service == service))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_what_was_packed() {
        for backend in [0, 1, Slot::NOBODY - 1, Slot::NOBODY] {
            for (strays, has_port) in [(false, false), (false, true), (true, false), (true, true)] {
                let choice = Ok(Choice { backend, strays, has_port });
                assert_eq!(Choice::unpack(Choice::pack(choice)), choice);
            }
        }
        for &refusal in Refusal::ALL {
            assert_eq!(Choice::unpack(Choice::pack(Err(refusal))), Err(refusal));
        }
    }
}
