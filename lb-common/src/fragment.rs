//! Datagrams in fragments: the later ones follow the first, which alone has the ports.
//!
//! What has come of each datagram is kept block by block, so that overlapping ones are seen whatever their order
//! (RFC 5722). Nothing is kept back: a later fragment that comes before the first is refused by name.

use crate::Refusal;
use crate::abi::{AddressFlags, Datagram, Forward, FragmentFate, FragmentKey, Fragments, ServiceFlags};
use crate::decide::{Scratch, answered};
use crate::forward::{Course, End, Return, to_backend};
use crate::headers::Headers;
use crate::limits::{Asker, Stage};
use crate::packet::Packet;
use crate::path::Path;
use crate::request::marked;
use crate::tables::{FragmentsCell, Tables};
use crate::verdict::Outcome;

/// Bytes of an IPv6 fragment header (RFC 8200 §4.5).
const V6_FRAGMENT_LEN: u16 = 8;

/// The unit of fragment offsets, in bytes.
const BLOCK: u32 = 8;

/// The largest datagram (RFC 791 §3.1, RFC 8200 §4.5), in bytes.
const MAX_DATAGRAM: u32 = 65_535;

/// In how many words of 64 blocks one fragment can lie: 9,216 bytes, the usual jumbo frame's, are 18 and a bit.
const MAX_WORDS: usize = 20;

/// An odd number: products with it are a permutation of all words, so that identifications do not repeat, nor simply count
/// (RFC 7739 §5.3).
const SPREAD: u32 = 0x9e37_79b1;

/// Remembers a datagram by its first fragment; returns the identification that its fragments leave with: another one when
/// they leave from another address, where somebody else's fragments may have the same.
#[inline(always)]
pub fn begin<T: Tables>(tables: &T, headers: &Headers, datagram: &Datagram) -> Result<u32, Refusal> {
    let key = key(headers);
    let span = Span::of(headers)?;
    let now_s = tables.now_s();
    if let Some(cell) = tables.fragments(&key) {
        let known = cell.datagram();
        if now_s.wrapping_sub(known.began_s) < Fragments::REUSE_S {
            // Comes again, or something else begins under its name.
            return Err(match span.mark(&cell) {
                Ok(()) => Refusal::FragmentOverlap,
                Err(refusal) => refusal,
            });
        }
        tables.forget_fragments(&key);
    }
    let renewed = datagram.fate != FragmentFate::PASS && datagram.source != headers.source.address;
    let id = if renewed { fresh_id(tables, headers.v4) } else { headers.fragment_id };
    let datagram = Datagram { id, began_s: now_s, end: 0, got: 0, ..*datagram };
    let cell = tables.begin_fragments(&key, &datagram).ok_or(Refusal::FragmentTableFull)?;
    span.mark(&cell)?;
    cell.add(span.length);
    Ok(id)
}

/// A later fragment: writes where the first one went.
#[inline(always)]
pub fn later<T: Tables>(tables: &T, headers: &Headers, found: &mut Datagram) -> Result<(), Refusal> {
    if headers.icmp() || headers.link_group {
        return Err(Refusal::LaterFragment);
    }
    let key = key(headers);
    let Some(cell) = tables.fragments(&key) else { return Err(unknown(tables, headers)) };
    let datagram = cell.datagram();
    if tables.now_s().wrapping_sub(datagram.began_s) >= Fragments::TIMEOUT_S {
        return Err(unknown(tables, headers));
    }
    match datagram.fate {
        FragmentFate::PASS => return Err(Refusal::LaterFragment),
        FragmentFate::REFUSED => return Err(Refusal::FragmentOverlap),
        _ => {}
    }
    if !headers.well_formed {
        return Err(Refusal::Malformed);
    }
    let span = Span::of(headers)?;
    let end = span.offset + span.length;
    if !headers.more {
        if datagram.end != 0 && datagram.end != end {
            cell.set_fate(FragmentFate::REFUSED);
            return Err(Refusal::BadFragment);
        }
        cell.set_end(end);
    } else if datagram.end != 0 && end > datagram.end {
        return Err(Refusal::BadFragment);
    }
    span.mark(&cell)?;
    let got = cell.add(span.length) + u64::from(span.length);
    let end = if headers.more { datagram.end } else { end };
    if end != 0 && got >= u64::from(end) {
        tables.forget_fragments(&key);
    }
    *found = datagram;
    Ok(())
}

/// Sends a later fragment where the first one went.
#[inline(always)]
pub fn follow<P: Packet + ?Sized, T: Path<P>>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    ingress_ifindex: u32,
) -> Outcome {
    let Scratch { headers, row, course, back, exit, datagram, asker, .. } = scratch;
    let Datagram { service, backend, id: fragment_id, source, destination, .. } = *datagram;
    if datagram.fate == FragmentFate::REPLY {
        let (vip, client) = (End::new(source, 0), End::new(destination, 0));
        *back = Return { vip, client, service, backend, fragment_id, ingress_ifindex };
        return answered(packet, tables, headers, back, exit, asker);
    }
    let head = tables.service(service).ok_or(Refusal::NoBackend)?;
    let mut is_marked = false;
    if head.limits[0] != 0 {
        *asker = Asker { who: headers.source.address, service, backend, packets: 1, ..Asker::default() };
        is_marked = tables.admit(headers, asker)?.mark;
        if head.flags & ServiceFlags::BACKEND_LIMITS != 0 {
            asker.stage = Stage::CHOSEN;
            is_marked |= tables.admit(headers, asker)?.mark;
        }
    }
    let renewed = source != headers.source.address;
    if !tables.row(backend, row) {
        return Err(Refusal::NoBackend.into());
    }
    let forward = if renewed { Forward::SNAT } else { row.forward };
    *course = Course { source: End::new(source, 0), service, backend, fragment_id, ingress_ifindex };
    if is_marked {
        return marked(packet, tables, headers, course, row, forward);
    }
    to_backend(packet, tables, headers, course, row, forward)
}

/// What the fragments of a datagram have in common.
#[inline(always)]
fn key(headers: &Headers) -> FragmentKey {
    FragmentKey {
        source: headers.source.address,
        destination: headers.destination.address,
        id: headers.fragment_id,
        protocol: if headers.v4 { u32::from(headers.source.protocol) } else { 0 },
    }
}

/// Why a fragment is refused whose first one nobody knows.
#[inline(always)]
fn unknown<T: Tables>(tables: &T, headers: &Headers) -> Refusal {
    if tables.address(&headers.destination.address) & AddressFlags::VIP != 0 {
        Refusal::FragmentWithoutFirst
    } else {
        Refusal::LaterFragment
    }
}

#[inline(always)]
fn fresh_id<T: Tables>(tables: &T, v4: bool) -> u32 {
    let id = tables.fresh_id().wrapping_mul(SPREAD).to_ne_bytes();
    // The upper half of a product with an odd number is no permutation, the lower one is.
    if v4 { u32::from_ne_bytes([id[0], id[1], 0, 0]) } else { u32::from_ne_bytes(id) }
}

/// The part of a datagram that a fragment has, in bytes.
#[derive(Debug, Clone, Copy)]
struct Span {
    offset: u32,
    length: u32,
}

impl Span {
    #[inline(always)]
    fn of(headers: &Headers) -> Result<Self, Refusal> {
        // Behind an IPv6 fragment header offsets count from its end, also where other headers follow in the first one.
        let begin = if headers.v4 { headers.l4 } else { headers.fragment_at + V6_FRAGMENT_LEN };
        let length = headers.ends_at().saturating_sub(usize::from(begin));
        let offset = u32::from(headers.fragment_offset);
        #[expect(clippy::cast_possible_truncation, reason = "no packet is so long")]
        let length = length as u32;
        if length == 0 || offset + length > MAX_DATAGRAM || headers.more && !length.is_multiple_of(BLOCK) {
            return Err(Refusal::BadFragment);
        }
        Ok(Self { offset, length })
    }

    /// Marks its blocks; an error when some of them had come before. When not all of them had, the rest of the datagram is
    /// refused, too.
    #[inline(always)]
    fn mark(self, cell: &impl FragmentsCell) -> Result<(), Refusal> {
        let (first, end) = (self.offset / BLOCK, (self.offset + self.length).div_ceil(BLOCK));
        let mut word = first / 64;
        // Where its blocks begin in the word, and how many there are from the word's beginning on.
        let (mut begin, mut left) = (first % 64, end - word * 64);
        // In words rather than truths: the verifier would follow both values of each through every round.
        let (mut had, mut lacked) = (0, 0);
        for _ in 0..MAX_WORDS {
            let last = left <= 64;
            let unused = if last { 64 - left } else { 0 };
            let blocks = u64::MAX << begin & u64::MAX >> unused;
            let before = cell.mark(word as usize, blocks);
            had |= before & blocks;
            lacked |= !before & blocks;
            if last {
                left = 0;
                break;
            }
            (word, begin, left) = (word + 1, 0, left - 64);
        }
        if left != 0 {
            return Err(Refusal::BadFragment);
        }
        if had == 0 {
            return Ok(());
        }
        if lacked != 0 {
            cell.set_fate(FragmentFate::REFUSED);
        }
        Err(Refusal::FragmentOverlap)
    }
}
