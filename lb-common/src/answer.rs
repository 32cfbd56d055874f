//! What Weir says itself: echo replies in place of a VIP, and ICMP errors.
//!
//! All of it comes from the address that the packet was sent to, which is the one that its sender knows.

use core::mem::offset_of;

use network_types::eth::EthHdr;
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};

use crate::abi::{DeviceFlags, ERROR_LIMIT};
use crate::checksum::{Delta, Sum};
use crate::forward::{Change, End, Link, rewrite_network, write_link};
use crate::gcra::{self, Admission};
use crate::headers::{Headers, Part};
use crate::icmp::{FRAGMENTATION_NEEDED, HEADER_LEN, kind};
use crate::packet::{ANY_PATH_V4, ANY_PATH_V6, Packet};
use crate::path::Path;
use crate::refusal::{Refusal, Stop};
use crate::tables::Tables;
use crate::{Address, Verdict};

/// How much of the packet an error quotes at most: so that it is no larger than what every path takes
/// (RFC 1812 §4.3.2.3: 576 bytes; RFC 4443 §3: 1,280 bytes).
const QUOTE_V4: usize = ANY_PATH_V4 as usize - Ipv4Hdr::LEN - HEADER_LEN;
const QUOTE_V6: usize = ANY_PATH_V6 as usize - Ipv6Hdr::LEN - HEADER_LEN;

/// The time to live of what begins here.
const TTL: u8 = 64;

/// The precedence of errors, "internetwork control" (RFC 1812 §4.3.2.5).
const TOS: u8 = 0xc0;

/// How often the bucket of errors is tried while other CPUs use it: no error is no harm.
const TRIES: u32 = 2;

/// The codes of "destination unreachable" that say that nobody listens at the port.
const PORT_UNREACHABLE_V4: u8 = 3;
const PORT_UNREACHABLE_V6: u8 = 4;

/// Turns a packet into what is said about it. Refused, and as it came, when nothing may be said.
#[inline(always)]
pub fn answer<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    stop: Stop,
    ingress_ifindex: u32,
) -> Verdict {
    let said = if stop.refusal == Refusal::EchoAnswered {
        echo(packet, headers)
    } else if may_tell(headers) && is_admitted(tables) {
        tell(packet, tables, headers, stop)
    } else {
        None
    };
    match said {
        Some(()) => {
            let redirect = tables.device(ingress_ifindex).flags & DeviceFlags::REDIRECT != 0;
            Verdict::Transmit { ifindex: ingress_ifindex, redirect }
        }
        None => Verdict::Refused(stop.refusal),
    }
}

/// Whether an error may be sent about this packet: not about another error, a later fragment, what was sent to many, or
/// what is from nobody (RFC 1122 §3.2.2, RFC 4443 §2.4).
#[inline(always)]
fn may_tell(headers: &Headers) -> bool {
    !headers.icmp()
        && headers.part != Part::LATER
        && !headers.link_group
        && !headers.source.address.is_no_host()
        && headers.source.address != headers.destination.address
}

#[inline(always)]
fn is_admitted<T: Tables>(tables: &T) -> bool {
    match (tables.limit(ERROR_LIMIT), tables.service_bucket(ERROR_LIMIT)) {
        (Some(limit), Some(bucket)) => {
            matches!(gcra::admit_within(TRIES, limit, &bucket, tables.now_ns(), 0), Admission::Admitted(_))
        }
        _ => false,
    }
}

/// The Ethernet header back to where the packet came from.
#[inline(always)]
fn back<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Option<Link> {
    let destination = packet.read(offset_of!(EthHdr, src_addr))?;
    let source = packet.read(offset_of!(EthHdr, dst_addr))?;
    Some(Link { destination, source, tags: headers.tags })
}

/// Turns an echo request into its reply (RFC 792, RFC 4443 §4.2).
#[inline(always)]
fn echo<P: Packet + ?Sized>(packet: &mut P, headers: &Headers) -> Option<()> {
    let l4 = usize::from(headers.l4);
    let [asked, code, c0, c1]: [u8; 4] = packet.read(l4)?;
    let reply = if headers.v4 { kind::V4_ECHO_REPLY } else { kind::V6_ECHO_REPLY };
    let link = back(packet, headers)?;
    // The addresses change places, which no sum notices.
    let delta = Delta::none().replace16(u16::from_ne_bytes([asked, code]), u16::from_ne_bytes([reply, code]));
    // A message of nothing but zeroes has a sum of zero, and so a checksum of ones; for any other both mean the same
    // (RFC 1624 §3).
    let [c0, c1] = match delta.apply(u16::from_ne_bytes([c0, c1])) {
        0 => [0xff; 2],
        checksum => checksum.to_ne_bytes(),
    };
    packet.write(l4, [reply, code, c0, c1])?;
    let end = |address: Address| Some(End::new(address, 0));
    let change = Change {
        source: end(headers.destination.address),
        destination: end(headers.source.address),
        ..Change::default()
    };
    rewrite_network(packet, headers, &change)?;
    let ttl_at =
        usize::from(headers.l3) + if headers.v4 { offset_of!(Ipv4Hdr, ttl) } else { offset_of!(Ipv6Hdr, hop_limit) };
    if headers.v4 {
        let checksum_at = usize::from(headers.l3) + offset_of!(Ipv4Hdr, check);
        let checksum = u16::from_ne_bytes(packet.read(checksum_at)?);
        let protocol = headers.source.protocol;
        let delta =
            Delta::none().replace16(u16::from_ne_bytes([headers.ttl, protocol]), u16::from_ne_bytes([TTL, protocol]));
        packet.write(checksum_at, delta.apply(checksum).to_ne_bytes())?;
    }
    packet.write(ttl_at, [TTL])?;
    write_link(packet, &link, headers.v4)
}

/// Turns a packet into an error that quotes it.
#[inline(always)]
fn tell<P: Packet + ?Sized, T: Path<P>>(packet: &mut P, tables: &T, headers: &Headers, stop: Stop) -> Option<()> {
    let (kind, code, last) = match (stop.refusal, headers.v4) {
        (Refusal::TooBig, true) => (kind::V4_UNREACHABLE, FRAGMENTATION_NEEDED, u32::from(stop.mtu)),
        (Refusal::TooBig, false) => (kind::V6_TOO_BIG, 0, u32::from(stop.mtu)),
        (Refusal::TtlExpired, true) => (kind::V4_TIME_EXCEEDED, 0, 0),
        (Refusal::TtlExpired, false) => (kind::V6_TIME_EXCEEDED, 0, 0),
        (_, true) => (kind::V4_UNREACHABLE, PORT_UNREACHABLE_V4, 0),
        (_, false) => (kind::V6_UNREACHABLE, PORT_UNREACHABLE_V6, 0),
    };
    let l3 = usize::from(headers.l3);
    let most = if headers.v4 { QUOTE_V4 } else { QUOTE_V6 };
    let whole = headers.length as usize;
    let quote = if whole < most { whole } else { most };
    let last = last.to_be_bytes();
    // Type, code, checksum, and four bytes that are the MTU of "fragmentation needed" (RFC 1191 §4) and of "packet too
    // big" (RFC 4443 §3.2), and otherwise unused.
    let mut header = [kind, code, 0, 0, last[0], last[1], last[2], last[3]];
    let mut sum = tables
        .sum(packet, l3, quote)?
        .add16(u16::from_ne_bytes([kind, code]))
        .add32(u32::from_ne_bytes([last[0], last[1], last[2], last[3]]));
    let (source, destination) = (headers.destination.address, headers.source.address);
    #[expect(clippy::cast_possible_truncation, reason = "at most 1,280")]
    let message = (HEADER_LEN + quote) as u16;
    if !headers.v4 {
        sum = sum
            .add_address(source)
            .add_address(destination)
            .add16(message.to_be())
            .add16(u16::from(IpProto::Ipv6Icmp as u8).to_be());
    }
    [header[2], header[3]] = sum.checksum().to_ne_bytes();
    let link = back(packet, headers)?;
    let ip = if headers.v4 { Ipv4Hdr::LEN } else { Ipv6Hdr::LEN };
    packet.grow(ip + HEADER_LEN)?;
    if packet.truncate(l3 + ip + HEADER_LEN + quote).is_none() {
        packet.shrink(ip + HEADER_LEN)?;
        return None;
    }
    write_link(packet, &link, headers.v4)?;
    if headers.v4 {
        write_v4(packet, l3, message, source, destination)
    } else {
        write_v6(packet, l3, message, source, destination)
    }?;
    packet.write(l3 + ip, header)
}

/// The sum over at most [`QUOTE_V6`] bytes from `at` on; nothing when they are not in the frame's first buffer.
#[inline(always)]
pub fn sum<P: Packet + ?Sized>(packet: &P, at: usize, length: usize) -> Option<Sum> {
    let mut sum = Sum::none();
    let mut done = 0;
    for _ in 0..QUOTE_V6 / 8 {
        if done + 8 > length {
            break;
        }
        let [a, b, c, d, e, f, g, h] = packet.read(at + done)?;
        sum = sum.add32(u32::from_ne_bytes([a, b, c, d])).add32(u32::from_ne_bytes([e, f, g, h]));
        done += 8;
    }
    // The rest, less than eight bytes, is the same after any number of rounds.
    let rest = packet.forget(length);
    let mut at = at + (rest & !7);
    if rest & 4 != 0 {
        sum = sum.add32(u32::from_ne_bytes(packet.read(at)?));
        at += 4;
    }
    if rest & 2 != 0 {
        sum = sum.add16(u16::from_ne_bytes(packet.read(at)?));
        at += 2;
    }
    if rest & 1 != 0 {
        let [byte] = packet.read(at)?;
        sum = sum.add16(u16::from_ne_bytes([byte, 0]));
    }
    Some(sum)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a header's length")]
fn write_v4<P: Packet + ?Sized>(
    packet: &mut P,
    l3: usize,
    message: u16,
    source: Address,
    destination: Address,
) -> Option<()> {
    let length = (message + Ipv4Hdr::LEN as u16).to_be_bytes();
    let protocol = IpProto::Icmp as u8;
    let ([a, b, c, d], [e, f, g, h]) = (source.v4(), destination.v4());
    let sum = Sum::none()
        .add16(u16::from_ne_bytes([0x45, TOS]))
        .add16(u16::from_ne_bytes(length))
        .add16(u16::from_ne_bytes([TTL, protocol]))
        .add32(u32::from_ne_bytes([a, b, c, d]))
        .add32(u32::from_ne_bytes([e, f, g, h]));
    let [c0, c1] = sum.checksum().to_ne_bytes();
    packet.write(l3, [0x45, TOS, length[0], length[1], 0, 0, 0, 0, TTL, protocol, c0, c1, a, b, c, d, e, f, g, h])
}

#[inline(always)]
fn write_v6<P: Packet + ?Sized>(
    packet: &mut P,
    l3: usize,
    message: u16,
    source: Address,
    destination: Address,
) -> Option<()> {
    let [a, b] = message.to_be_bytes();
    packet.write(l3, [6 << 4 | TOS >> 4, TOS << 4, 0, 0, a, b, IpProto::Ipv6Icmp as u8, TTL])?;
    packet.write(l3 + 8, source.v6())?;
    packet.write(l3 + 24, destination.v6())
}
