//! The way that a frame leaves by, found before anything is changed.

use super::{Course, Link, Return, link_of, oversized, readdress, way};
use crate::abi::Backend;
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
    /// Whether it has to be redirected also into the device it came in by.
    pub redirect: bool,
    /// It is the stack's to find.
    pub stack: bool,
}

impl Exit {
    const STACK: Self = Self { link: Link::NONE, ifindex: 0, redirect: false, stack: true };
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
        length: u16::try_from(headers.length).unwrap_or(u16::MAX),
        protocol: headers.source.protocol,
    });
    match route {
        WayOut::Device(route) if !packet.is_scattered() || route.scatter => {
            exit.link = Link { destination: route.mac_destination, source: route.mac_source, tags: route.tags };
            exit.ifindex = route.ifindex;
            exit.redirect = route.redirect;
            exit.stack = false;
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
        Verdict::Transmit { ifindex, redirect } => Exit { link: link_of(backend), ifindex, redirect, stack: false },
        _ => Exit::STACK,
    };
    Ok(())
}

/// Has a frame leave that way.
#[inline(always)]
pub fn depart<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, exit: &Exit) -> Outcome {
    if exit.stack {
        return Ok(Verdict::Stack);
    }
    readdress(packet, headers, &exit.link).ok_or(Refusal::Malformed)?;
    Ok(Verdict::Transmit { ifindex: exit.ifindex, redirect: exit.redirect })
}
