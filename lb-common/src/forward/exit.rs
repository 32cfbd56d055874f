//! The way that a frame leaves by, found before anything is changed.

use super::{Course, Link, Return, link_of, oversized, readdress, way, wire_length};
use crate::abi::{Backend, Delivery, DeviceFlags, Networks};
use crate::headers::Headers;
use crate::packet::Packet;
use crate::refusal::Stop;
use crate::tables::{RouteQuery, Tables, WayOut};
use crate::verdict::Outcome;
use crate::{Refusal, Verdict};

/// A way out.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exit {
    /// What the frame leaves with.
    pub link: Link,
    /// The device it is sent from.
    pub ifindex: u32,
    /// How: [`Delivery`].
    pub delivery: u32,
}

impl Exit {
    const STACK: Self = Self { link: Link::NONE, ifindex: 0, delivery: Delivery::STACK as u32 };

    /// Whether the stack has to find it.
    #[inline(always)]
    pub const fn is_stack(&self) -> bool {
        self.delivery == Delivery::STACK as u32
    }

    #[inline(always)]
    fn to(link: Link, ifindex: u32, delivery: u16) -> Self {
        Self { link, ifindex, delivery: u32::from(delivery) }
    }
}

/// A frame leaves so.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "one of `Delivery`'s")]
pub(crate) const fn verdict(delivery: u32, ifindex: u32) -> Verdict {
    const NONE: u32 = Delivery::NONE as u32;
    const STACK: u32 = Delivery::STACK as u32;
    const DEVICE: u32 = Delivery::DEVICE as u32;
    const REDIRECT: u32 = Delivery::REDIRECT as u32;
    match delivery {
        DEVICE => Verdict::Transmit { ifindex, redirect: false },
        REDIRECT => Verdict::Transmit { ifindex, redirect: true },
        NONE | STACK => Verdict::Stack,
        _ => Verdict::Hand { ifindex, delivery: delivery as u16 },
    }
}

/// Finds the way of a packet to its client.
#[inline(always)]
pub fn back<P: Packet + ?Sized, T: Tables>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    back: &Return,
    exit: &mut Exit,
) -> Result<(), Stop> {
    let route = tables.route(&RouteQuery {
        source: back.vip.address,
        destination: back.client.address,
        ingress_ifindex: back.ingress_ifindex,
        length: u16::try_from(wire_length(packet, headers)).unwrap_or(u16::MAX),
        protocol: headers.source.protocol,
    });
    may_answer(tables, back, &route)?;
    match route {
        WayOut::Device(route) if !packet.is_scattered() || route.scatter => {
            exit.link = Link { destination: route.mac_destination, source: route.mac_source, tags: route.tags };
            exit.ifindex = route.ifindex;
            exit.delivery = u32::from(route.delivery);
            return Ok(());
        }
        WayOut::Device(_) | WayOut::Stack => {}
        WayOut::TooBig(mtu) => {
            oversized(tables, headers, mtu, back.ingress_ifindex, true)?;
        }
    }
    *exit = Exit::STACK;
    Ok(())
}

/// Whether what came in by a port of a bridge may be an answer of the backend's: who is behind the port is on a network with it, and
/// who gets the answer may use the service. Else a container could speak to those that its networks are to be kept from, past
/// the firewall, by sending from where a backend listens.
#[inline(always)]
fn may_answer<T: Tables>(tables: &T, back: &Return, route: &WayOut) -> Result<(), Stop> {
    let from = tables.device(back.ingress_ifindex);
    let service = tables.service(back.service).ok_or(Refusal::NoBackend)?;
    if from.flags & DeviceFlags::PORT == 0 || service.networks == 0 {
        return Ok(());
    }
    let backend = tables.backend(back.backend).ok_or(Refusal::NoBackend)?;
    let behind = tables.device(backend.ifindex);
    let own_port = backend.ifindex == back.ingress_ifindex;
    if !own_port && behind.flags & DeviceFlags::PORT != 0 && behind.networks & from.networks == 0 {
        return Err(Refusal::OtherNetwork.into());
    }
    // The stack asks its firewall, and this host may use every service.
    let WayOut::Device(route) = route else { return Ok(()) };
    if route.delivery == Delivery::UP {
        return Ok(());
    }
    let to = tables.device(route.ifindex);
    let networks = if to.flags & DeviceFlags::BRIDGE == 0 { Networks::OUTSIDE } else { to.networks };
    if service.networks & networks == 0 { Err(Refusal::OtherNetwork.into()) } else { Ok(()) }
}

/// Finds the way of a translated packet to its backend.
#[inline(always)]
pub fn there<P: Packet + ?Sized, T: Tables>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    course: &Course,
    backend: &Backend,
    exit: &mut Exit,
) -> Result<(), Stop> {
    *exit = match way(packet, tables, headers, backend, course.ingress_ifindex, true)? {
        Verdict::Transmit { .. } | Verdict::Hand { .. } => {
            Exit::to(link_of(backend), backend.ifindex, backend.delivery)
        }
        Verdict::Stack | Verdict::Refused(_) => Exit::STACK,
    };
    Ok(())
}

/// Has a frame leave that way.
#[inline(always)]
pub fn depart<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, exit: &Exit) -> Outcome {
    if exit.is_stack() {
        return Ok(Verdict::Stack);
    }
    readdress(packet, headers, &exit.link).ok_or(Refusal::Malformed)?;
    Ok(verdict(exit.delivery, exit.ifindex))
}
