//! What the straight way leaves to others: who is remembered while a slot hands over, and from the backend on, whatever that is.

use crate::abi::{Backend, Delivery, Forward, Tags, VipKey};
use crate::forward::{Course, End, exit, readdressed, translated, tunnel};
use crate::headers::{Headers, Part};
use crate::packet::{Fronted, Packet};
use crate::parse::{self, L3, TCP};
use crate::request::{ITSELF_V4, ITSELF_V6};
use crate::tables::{Direction, Tables};
use crate::{Verdict, handover};

use super::family::{Family, V4, V6};

/// A frame that lies in one buffer.
struct InOne<'a, P: ?Sized>(&'a mut P);

impl<P: Packet + ?Sized> Packet for InOne<'_, P> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.read(offset)
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()> {
        self.0.write(offset, bytes)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.0.length()
    }

    #[inline(always)]
    fn is_scattered(&self) -> bool {
        false
    }

    #[inline(always)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.0.grow(bytes)
    }

    #[inline(always)]
    fn shrink(&mut self, bytes: usize) -> Option<()> {
        self.0.shrink(bytes)
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) -> Option<()> {
        self.0.truncate(length)
    }
}

/// The backend that a flow stays with while its slot hands over, when it is remembered and not about to begin anew. What its
/// packet, which is `v4` or IPv6, says is noted.
#[inline(always)]
pub fn kept<P: Fronted + ?Sized, T: Tables>(packet: &P, tables: &T, service: u32, v4: bool) -> Option<u32> {
    let headers = if v4 { headers::<V4, P>(packet)? } else { headers::<V6, P>(packet)? };
    handover::kept(packet, tables, &headers, service)
}

/// Forwards a frame, which is `v4` or IPv6, when its service and its backend are found; nothing when it has to be looked at more
/// closely.
#[inline(always)]
pub fn onwards<P: Fronted + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    service: u32,
    backend: u32,
    v4: bool,
) -> Option<Verdict> {
    let headers = if v4 { headers::<V4, P>(packet)? } else { headers::<V6, P>(packet)? };
    send(packet, tables, &headers, service, backend)
}

/// What is known of a packet of the straight way's.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets of headers are small")]
fn headers<F: Family, P: Fronted + ?Sized>(packet: &P) -> Option<Headers> {
    let front = F::front(packet)?;
    let protocol = F::protocol(&front);
    let opens = if protocol == TCP {
        let [_, flags] = F::tcp(packet)?;
        parse::opens(flags)
    } else {
        false
    };
    Some(Headers {
        source: VipKey::new(F::source(&front), F::source_port(&front), protocol),
        destination: F::destination(&front),
        length: F::length(&front),
        l3: L3 as u16,
        l4: (L3 + F::IP) as u16,
        ttl: F::ttl(&front),
        tos: F::tos(&front),
        part: Part::WHOLE,
        v4: F::V4,
        opens,
        well_formed: true,
        ..Headers::default()
    })
}

/// Whether a backend is its own client, or somebody claims to be one that is.
#[inline(always)]
fn is_itself(backend: &Backend, headers: &Headers) -> bool {
    let source = headers.source.address;
    source == backend.address || source == ITSELF_V4 || source == ITSELF_V6
}

#[inline(always)]
fn send<P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    id: u32,
    chosen: u32,
) -> Option<Verdict> {
    let backend = tables.backend_now(chosen)?;
    if matches!(backend.delivery, Delivery::NONE | Delivery::STACK) {
        return None;
    }
    // What is too large for its way may be the stack's.
    if !backend.tags.is_empty() || headers.length > backend.mtu {
        return None;
    }
    let backend = Backend { tags: Tags::NONE, ..backend };
    let course = Course {
        source: End::of(&headers.source),
        service: id,
        backend: chosen,
        fragment_id: headers.fragment_id,
        // Asked for by what is too large alone.
        ingress_ifindex: 0,
    };
    let packet = &mut InOne(packet);
    let outcome = match backend.forward {
        Forward::IPIP | Forward::GUE => tunnel::wrap(packet, tables, headers, &backend),
        // The first packet of a connection ends what was remembered of an earlier one; who leads back to himself is not
        // known by his address.
        Forward::NAT if !headers.opens && !is_itself(&backend, headers) => {
            translated(packet, tables, headers, &course, &backend)
        }
        Forward::L2 => readdressed(packet, tables, headers, &course, &backend),
        _ => return None,
    };
    // Whoever refuses leaves the frame as it came; what the stack has to send is not here any more.
    if outcome.is_err() {
        return None;
    }
    tables.count_traffic(id, course.backend, Direction::Request, headers.length);
    // As its row says, which is what it came to: what would have to be kept is one word, and not a verdict.
    Some(exit::verdict(u32::from(backend.delivery), backend.ifindex))
}
