//! The way of nearly every packet of nearly every day: whole, without tags or options, TCP or UDP, to a service that needs no
//! more than a look at its slot, or of a flow that is remembered while that moves; or a stranger's.
//!
//! What it does [`decide`](crate::decide()) would do, too, and every frame that is not such goes there as it came: nothing has
//! been counted or changed then. It is one pass in one function, and all of its offsets are known when it is compiled.

use core::mem::offset_of;

use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::abi::{Backend, Delivery, Forward, Tags, VipKey};
use crate::forward::{Course, End, readdressed, translated, tunnel};
use crate::headers::{Headers, Part};
use crate::packet::Packet;
use crate::parse::{L3, TCP, TYPE_AT, UDP};
use crate::request::sound;
use crate::tables::{Direction, Tables};
use crate::{Address, Refusal, Verdict, handover, hash, parse};

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

/// Forwards a frame, or says that it is a stranger's; nothing when it has to be looked at more closely.
#[inline(always)]
pub fn forward<P: Packet + ?Sized, T: Tables>(packet: &mut P, tables: &T) -> Option<Verdict> {
    const IPV4: u16 = EtherType::Ipv4 as u16;
    const IPV6: u16 = EtherType::Ipv6 as u16;
    let link: [u8; EthHdr::LEN] = packet.read(0)?;
    if link[0] & parse::ETHERNET_GROUP != 0 {
        return None;
    }
    match u16::from_ne_bytes([link[TYPE_AT], link[TYPE_AT + 1]]) {
        IPV4 => {
            let headers = ipv4(packet)?;
            serve(packet, tables, &headers)
        }
        IPV6 => {
            let headers = ipv6(packet)?;
            serve(packet, tables, &headers)
        }
        _ => None,
    }
}

#[inline(always)]
fn ipv4<P: Packet + ?Sized>(packet: &P) -> Option<Headers> {
    /// More fragments, or an offset (RFC 791 section 3.1).
    const FRAGMENT: u16 = 0x3fff;
    const DONT_FRAGMENT: u16 = 0x4000;
    let header: [u8; Ipv4Hdr::LEN] = packet.read(L3)?;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if header[0] != 0x45 || fragment & FRAGMENT != 0 {
        return None;
    }
    let protocol = header[offset_of!(Ipv4Hdr, proto)];
    let headers = Headers {
        source: VipKey::new(Address::from_v4([header[12], header[13], header[14], header[15]]), [0; 2], protocol),
        destination: VipKey::new(Address::from_v4([header[16], header[17], header[18], header[19]]), [0; 2], protocol),
        length: u32::from(u16::from_be_bytes([header[2], header[3]])),
        fragment_id: u32::from_ne_bytes([header[4], header[5], 0, 0]),
        tos: header[1],
        ttl: header[offset_of!(Ipv4Hdr, ttl)],
        whole_only: fragment & DONT_FRAGMENT != 0,
        v4: true,
        ..Headers::default()
    };
    transport::<P, { Ipv4Hdr::LEN }>(packet, headers)
}

#[inline(always)]
fn ipv6<P: Packet + ?Sized>(packet: &P) -> Option<Headers> {
    let header: [u8; 8] = packet.read(L3)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let protocol = header[offset_of!(Ipv6Hdr, next_hdr)];
    let source = Address::from_v6(packet.read(L3 + offset_of!(Ipv6Hdr, src_addr))?);
    let destination = Address::from_v6(packet.read(L3 + offset_of!(Ipv6Hdr, src_addr) + 16)?);
    if source.is_v4() || destination.is_v4() {
        return None;
    }
    let headers = Headers {
        source: VipKey::new(source, [0; 2], protocol),
        destination: VipKey::new(destination, [0; 2], protocol),
        #[expect(clippy::cast_possible_truncation, reason = "forty")]
        length: u32::from(u16::from_be_bytes([header[4], header[5]])) + Ipv6Hdr::LEN as u32,
        tos: header[0] << 4 | header[1] >> 4,
        ttl: header[offset_of!(Ipv6Hdr, hop_limit)],
        ..Headers::default()
    };
    transport::<P, { Ipv6Hdr::LEN }>(packet, headers)
}

/// Reads the transport header behind an IP header of `LEN` bytes.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets of headers are small")]
fn transport<P: Packet + ?Sized, const LEN: usize>(packet: &P, mut headers: Headers) -> Option<Headers> {
    let l4 = L3 + LEN;
    headers.l3 = L3 as u16;
    headers.l4 = l4 as u16;
    headers.part = Part::WHOLE;
    let [s0, s1, d0, d1, length0, length1]: [u8; 6] = packet.read(l4)?;
    headers.source.port = u16::from_ne_bytes([s0, s1]);
    headers.destination.port = u16::from_ne_bytes([d0, d1]);
    let needed = match headers.source.protocol {
        TCP => {
            let [offset, flags]: [u8; 2] = packet.read(l4 + 12)?;
            headers.opens = parse::opens(flags);
            headers.bad_flags = parse::bad_flags(flags);
            let header_len = usize::from(offset >> 4) * 4;
            if header_len < TcpHdr::LEN {
                return None;
            }
            header_len
        }
        UDP => {
            let length = usize::from(u16::from_be_bytes([length0, length1]));
            if length < UdpHdr::LEN {
                return None;
            }
            length
        }
        _ => return None,
    };
    headers.well_formed = LEN + needed <= headers.length as usize && packet.is_one(headers.ends_at());
    Some(headers)
}

/// A packet that is not for the service at its place.
#[inline(always)]
fn stranger<T: Tables>(tables: &T, headers: &Headers) -> Option<Verdict> {
    if tables.is_known(&headers.destination.address) || tables.is_known(&headers.source.address) {
        return None;
    }
    tables.count_refusal(Refusal::NoService);
    Some(Verdict::Refused(Refusal::NoService))
}

#[inline(always)]
fn serve<P: Packet + ?Sized, T: Tables>(packet: &mut P, tables: &T, headers: &Headers) -> Option<Verdict> {
    let Headers { source, destination, .. } = *headers;
    // Before it is asked who is known at all: one word less to look at for whoever is served.
    let found = tables.place(&destination).and_then(|id| Some((id, tables.service(id)?)));
    let Some((id, service)) = found.filter(|(_, service)| service.vip == destination) else {
        return stranger(tables, headers);
    };
    if service.flags | service.limits[0] | service.quic.0 != 0 {
        return None;
    }
    sound(headers).ok()?;
    // Whoever cannot be a client is refused elsewhere.
    if source.address.is_no_host() || source.address == destination.address {
        return None;
    }
    if headers.udp() && tables.is_known(&source.address) {
        return None;
    }
    let table = tables.table(service);
    if table.len == 0 {
        return None;
    }
    let number = hash::slot(hash::flow(service.seed, source.address, source.port_bytes()), table.len);
    let slot = tables.slot(table.base.wrapping_add(number))?;
    // Who is remembered while a slot hands over stays where it is.
    let kept = match slot.old() {
        None => None,
        Some(_) => Some(handover::kept(packet, tables, headers, id)?),
    };
    let chosen = kept.as_ref().map_or(slot.current(), |kept| kept.backend);
    let backend = tables.backend_now(chosen)?;
    let redirect = match backend.delivery {
        Delivery::DEVICE => false,
        Delivery::REDIRECT => true,
        _ => return None,
    };
    // What is too large for its way may be the stack's.
    if !backend.tags.is_empty() || headers.length > backend.mtu {
        return None;
    }
    let backend = Backend { tags: Tags::NONE, ..backend };
    let course = Course {
        source: End::of(&source),
        service: id,
        backend: chosen,
        fragment_id: headers.fragment_id,
        // Asked for by what is too large alone.
        ingress_ifindex: 0,
    };
    let packet = &mut InOne(packet);
    let outcome = match backend.forward {
        Forward::IPIP | Forward::GUE => tunnel::wrap(packet, tables, headers, &backend),
        // The first packet of a connection ends what was remembered of an earlier one.
        Forward::NAT if !headers.opens => translated(packet, tables, headers, &course, &backend),
        Forward::L2 => readdressed(packet, tables, headers, &course, &backend),
        _ => return None,
    };
    // Whoever refuses leaves the frame as it came; what the stack has to send is not here any more.
    if outcome.is_err() {
        return None;
    }
    if let Some(kept) = kept {
        kept.note(tables);
    }
    tables.count_traffic(id, course.backend, Direction::Request, headers.length);
    Some(Verdict::Transmit { ifindex: backend.ifindex, redirect })
}
