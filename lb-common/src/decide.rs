//! A packet's way: `parse → find service → limits → choose backend → forward`.

use crate::abi::{AddressFlags, Backend, Datagram, DeviceFlags, FragmentFate, ServiceFlags, Snat};
use crate::forward::{Course, Exit, Return, to_client};
use crate::handover::Memo;
use crate::headers::{Headers, Part};
use crate::icmp::Quote;
use crate::limits::{Asker, Stage};
use crate::packet::{Fronted, Packet};
use crate::path::Path;
use crate::refusal::{Action, Stop};
use crate::request::{HOST, request};
use crate::tables::Tables;
use crate::verdict::Outcome;
use crate::{Refusal, Verdict, fast, forward, fragment, icmp, limits, mark};

/// Where the packet path keeps what it read of a packet. Its caller has it: a program's stack is small.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scratch {
    /// The packet's headers.
    pub headers: Headers,
    /// Those of the packet that it quotes.
    pub quoted: Headers,
    /// The backend that it goes to.
    pub row: Backend,
    /// Its flow, and what is to be remembered of that.
    pub memo: Memo,
    /// The port that its flow has.
    pub snat: Snat,
    /// Where it goes, to a backend.
    pub course: Course,
    /// Where it goes, back to a client.
    pub back: Return,
    /// The way it leaves by.
    pub exit: Exit,
    /// What becomes of it, of an ICMP error.
    pub quote: Quote,
    /// Where the datagram goes that it is a part of.
    pub datagram: Datagram,
    /// What its limits are asked for.
    pub asker: Asker,
    /// Not 0: limits that come before a backend is chosen were asked already.
    pub asked: u32,
}

/// Decides what becomes of a frame that came in by the device `ingress_ifindex`, and rewrites it accordingly.
///
/// A refused frame is as it came. Every frame is counted once: as traffic of a service, or as a refusal. What the verdict
/// asks for is the caller's to do.
#[inline(always)]
pub fn decide<P: Fronted + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    ingress_ifindex: u32,
) -> Verdict {
    let mut asked = false;
    match fast::forward(packet, tables, &mut asked, |verdict| verdict) {
        Some(verdict) => verdict,
        None => closely(packet, tables, scratch, ingress_ifindex, asked),
    }
}

/// The same for every frame, whatever it looks like. Its service's limits may have been `asked` already.
#[inline(always)]
pub fn closely<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    ingress_ifindex: u32,
    asked: bool,
) -> Verdict {
    scratch.asked = asked.into();
    if let Err(refusal) = tables.read(packet, &mut scratch.headers) {
        tables.count_refusal(refusal);
        return Verdict::Refused(refusal);
    }
    match dispatch(packet, tables, scratch, ingress_ifindex) {
        Ok(verdict) => verdict,
        Err(stop) => {
            tables.count_refusal(stop.refusal);
            match stop.refusal.action() {
                Action::Answer => tables.answer(packet, &scratch.headers, stop, ingress_ifindex),
                Action::Pass | Action::Drop => Verdict::Refused(stop.refusal),
            }
        }
    }
}

/// [`closely()`] for a frame that came in by a port of a bridge: a container's.
#[inline(always)]
pub fn from_port<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    ingress_ifindex: u32,
) -> Verdict {
    tables.count_inside();
    closely(packet, tables, scratch, ingress_ifindex, false)
}

/// Decides what becomes of a frame that this host itself sends: one to a VIP is rewritten as any client's. When it goes to a
/// backend's own address, its replies are not to be taken for a service's. What is neither is the stack's, and not counted.
#[inline(always)]
pub fn from_host<P: Packet + ?Sized, T: Path<P>>(packet: &mut P, tables: &T, scratch: &mut Scratch) -> Verdict {
    let stranger = Verdict::Refused(Refusal::NoService);
    scratch.asked = 0;
    if tables.read(packet, &mut scratch.headers).is_err() || scratch.headers.icmp() {
        return stranger;
    }
    let outcome = if scratch.headers.part == Part::LATER {
        match tables.later_fragment(&scratch.headers, &mut scratch.datagram) {
            Ok(()) => fragment::follow(packet, tables, scratch, HOST),
            Err(_) => return stranger,
        }
    } else {
        match tables.service_at(&scratch.headers.destination) {
            Ok(id) => request(packet, tables, scratch, id, HOST),
            Err(_) => {
                direct(tables, &scratch.headers);
                return stranger;
            }
        }
    };
    match outcome {
        // Into tunnels nothing goes from here: the network brings it back.
        Err(Stop { refusal: Refusal::NoWay, .. }) => stranger,
        Ok(verdict) => {
            tables.count_inside();
            verdict
        }
        Err(stop) => {
            tables.count_inside();
            tables.count_refusal(stop.refusal);
            Verdict::Refused(stop.refusal)
        }
    }
}

/// Looks at a frame that this host sends on for others, which is not changed.
#[inline(always)]
pub fn observe_egress<P: Packet + ?Sized, T: Path<P>>(packet: &P, tables: &T, headers: &mut Headers) {
    if tables.read(packet, headers).is_ok() && headers.part != Part::LATER && !headers.icmp() {
        direct(tables, headers);
    }
}

#[inline(always)]
fn dispatch<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    ingress_ifindex: u32,
) -> Outcome {
    let Scratch { headers, back, exit, datagram, asker, .. } = scratch;
    if headers.part == Part::LATER {
        tables.later_fragment(headers, datagram)?;
        return fragment::follow(packet, tables, scratch, ingress_ifindex);
    }
    if headers.icmp() {
        return icmp::forward(packet, tables, scratch, ingress_ifindex);
    }
    let known = match tables.service_at(&headers.destination) {
        Ok(id) => return request(packet, tables, scratch, id, ingress_ifindex),
        Err(known) => known,
    };
    let is_vip = known & AddressFlags::VIP != 0;
    match tables.endpoint_at(&headers.source) {
        // A backend answers to a VIP when that is an address of this host, and the host its client.
        None if is_vip => Err(for_closed_port(tables, headers, datagram, known).into()),
        Some(endpoint) => {
            match tables.reply(packet, headers, &endpoint, back) {
                Err(Refusal::Direct) if is_vip => {
                    return Err(for_closed_port(tables, headers, datagram, known).into());
                }
                answer => answer?,
            }
            back.ingress_ifindex = ingress_ifindex;
            if headers.part == Part::FIRST {
                *datagram = Datagram {
                    fate: FragmentFate::REPLY,
                    service: back.service,
                    backend: back.backend,
                    source: back.vip.address,
                    destination: back.client.address,
                    ..Datagram::default()
                };
                back.fragment_id = tables.begin_datagram(headers, datagram)?;
            }
            answered(packet, tables, headers, back, exit, asker)
        }
        // What is routed may be stopped by the firewall yet, and is noted where it goes on into the backend's bridge: else anybody
        // could have any client's replies left untranslated.
        None if is_routed(packet, tables, ingress_ifindex) => Err(match tables.endpoint_at(&headers.destination) {
            None => Refusal::NoService.into(),
            Some(_) => Refusal::Direct.into(),
        }),
        None => Err(direct(tables, headers).into()),
    }
}

/// Sends a backend's packet to its client, as far as the limits of what it sends let it.
#[inline(always)]
pub(crate) fn answered<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    headers: &mut Headers,
    back: &Return,
    exit: &mut Exit,
    asker: &mut Asker,
) -> Outcome {
    let service = tables.service(back.service).ok_or(Refusal::NoBackend)?;
    if service.flags & ServiceFlags::OUT_LIMITS == 0 {
        return to_client(packet, tables, headers, back, exit);
    }
    // Whether there is a queue for it is known when its way is.
    forward::way_to_client(packet, tables, headers, back, exit)?;
    let waits = if packet.can_wait() {
        tables.device(exit.ifindex).flags & (DeviceFlags::TIMED | DeviceFlags::CLASSED)
    } else {
        0
    };
    *asker = Asker {
        who: back.client.address,
        service: back.service,
        backend: back.backend,
        stage: Stage::LEAVING,
        packets: limits::packets(packet, headers),
        waits,
    };
    let admitted = tables.admit(headers, asker)?;
    if admitted.class != 0 || admitted.delay_ns != 0 {
        packet.wait(admitted.class, admitted.delay_ns);
    }
    let tos = headers.tos;
    if admitted.mark {
        tables.set_tos(packet, headers, mark::marked(tos))?;
    }
    let outcome = tables.send_back(packet, headers, back, exit);
    if admitted.mark && outcome.is_err() {
        tables.set_tos(packet, headers, tos)?;
    }
    outcome
}

/// Whether a frame that came in by a port of a bridge is for this host to send on, and not for the bridge.
#[inline(always)]
fn is_routed<P: Packet + ?Sized, T: Tables>(packet: &P, tables: &T, ingress_ifindex: u32) -> bool {
    let device = tables.device(ingress_ifindex);
    device.flags & DeviceFlags::PORT != 0 && packet.read(0) == Some(tables.device(device.upper).mac)
}

/// What a packet is that is neither for a VIP nor from a backend.
#[inline(always)]
fn direct<P: Packet + ?Sized, T: Path<P>>(tables: &T, headers: &Headers) -> Refusal {
    match tables.endpoint_at(&headers.destination) {
        None => Refusal::NoService,
        Some(endpoint) => {
            tables.note_direct(headers, &endpoint);
            Refusal::Direct
        }
    }
}

/// What becomes of a packet for a VIP's port at which no service is.
#[inline(always)]
fn for_closed_port<T: Path<P>, P: Packet + ?Sized>(
    tables: &T,
    headers: &Headers,
    datagram: &mut Datagram,
    known: u32,
) -> Refusal {
    if known & AddressFlags::CLOSED != 0 && !headers.link_group {
        return Refusal::ClosedPort;
    }
    if headers.part == Part::FIRST {
        // Its later fragments are told from those that are for a service by nothing else.
        *datagram = Datagram { fate: FragmentFate::PASS, ..Datagram::default() };
        if let Err(refusal) = tables.begin_datagram(headers, datagram) {
            return refusal;
        }
    }
    Refusal::NoService
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
