//! Flows both ends of which are rewritten, so that replies come back to this host: each has a port of its own towards its
//! backend.
//!
//! A pool has one bit for each port and says which of its words are full; to find a free one is a look at a few words,
//! however many are taken. Whoever gives a port back forgets the flow first and clears the bit last, so that no port is
//! had twice.

use crate::abi::{
    FIRST_PORT_WORD, Flow, FlowFlags, FlowKey, MAX_SNAT, PORT_WORDS, Snat, SnatReply, SnatReplyKey, VipKey,
};
use crate::forward::{End, Return};
use crate::handover;
use crate::hash;
use crate::headers::Headers;
use crate::packet::Packet;
use crate::path::Path;
use crate::request;
use crate::tables::{Bits, SnatCell, SnatReplyCell, Tables};
use crate::{Address, Refusal};

/// How often a port is looked for while other CPUs take theirs.
const TRIES: u32 = 4;

/// Words that say which words are full.
const SUMMARY: u32 = PORT_WORDS / 64;

/// The backend that a flow goes to, if it has a port already. A connection that begins after the end of another one between
/// the same ends is a new flow.
#[inline(always)]
pub fn backend<T: Tables + ?Sized>(tables: &T, headers: &Headers, key: &FlowKey) -> Option<u32> {
    let snat = tables.snat(key)?.read();
    if headers.opens && is_closed(tables, &snat) { None } else { Some(snat.backend) }
}

/// The port of a packet's flow towards a backend, written to `found`: the one it has, or a new one.
#[inline(always)]
pub fn port<P: Packet + ?Sized, T: Path<P>>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    service: u32,
    backend: u32,
    found: &mut Snat,
) -> Result<(), Refusal> {
    let head = tables.service(service).ok_or(Refusal::NoBackend)?;
    let key = request::key(head, headers, service);
    let now_s = tables.now_s();
    let said = handover::said_by_client(packet, headers);
    if let Some(cell) = tables.snat(&key) {
        *found = cell.read();
        let begins = headers.opens && is_closed(tables, found);
        if found.backend == backend && !begins {
            let client = said | found.client & !FlowFlags::RST;
            if found.seen_s != now_s || found.client != client {
                cell.note(now_s, client);
            }
            return Ok(());
        }
        tables.release_port(&key, found);
    } else if headers.has_openings() && !headers.opens {
        return Err(Refusal::UnknownFlow);
    }
    let row = tables.backend(backend).ok_or(Refusal::NoBackend)?;
    let port = if row.port == 0 { headers.destination.port } else { row.port };
    found.listens = VipKey::new(row.address, port.to_ne_bytes(), headers.destination.protocol);
    (found.backend, found.pool) = (backend, row.pool);
    (found.seen_s, found.client) = (now_s, said);
    take(tables, headers.v4, &key, found)
}

/// Whether a packet is a reply; writes where it goes.
#[inline(always)]
pub fn reply<P: Packet + ?Sized, T: Tables>(packet: &P, tables: &T, headers: &Headers, back: &mut Return) -> bool {
    let Some(cell) = owner(tables, &headers.destination, &headers.source, back) else { return false };
    back.fragment_id = headers.fragment_id;
    // What will be refused says nothing of its flow.
    if request::sound(headers).is_err() {
        return true;
    }
    let known = cell.read();
    let (now_s, server) = (tables.now_s(), handover::said_by_server(packet, headers) | known.server & !FlowFlags::RST);
    if known.seen_s != now_s || known.server != server {
        cell.note(now_s, server);
    }
    true
}

/// The way back of what a backend that listens at `listens` sends to `to`, an address and port of this host.
#[inline(always)]
pub(crate) fn owner<'a, T: Tables>(
    tables: &'a T,
    to: &VipKey,
    listens: &VipKey,
    back: &mut Return,
) -> Option<T::SnatReply<'a>> {
    let cell = tables.snat_reply(&SnatReplyKey { source: to.address, backend: *listens, port: to.port, pad: 0 })?;
    let known = cell.read();
    let service = tables.service(known.service)?;
    // A service that is gone is all zeroes.
    if service.vip.protocol != listens.protocol {
        return None;
    }
    let port = if service.vip.port == 0 { listens.port } else { service.vip.port };
    *back = Return {
        vip: End::new(service.vip.address, port),
        client: End::new(known.client, known.client_port),
        service: known.service,
        backend: known.backend,
        fragment_id: 0,
        ingress_ifindex: 0,
    };
    Some(cell)
}

/// Whether a flow has ended for both of its ends. What looks like the client's RST alone may be somebody else's, which the
/// backend does not take for the client's (RFC 5961 §3): then it is the backend's to say what a SYN means.
#[inline(always)]
fn is_closed<T: Tables + ?Sized>(tables: &T, snat: &Snat) -> bool {
    match tables.snat_reply(&snat.reply_key()) {
        Some(cell) => {
            let client = snat.client & !FlowFlags::RST;
            Flow { client, server: cell.read().server, ..Flow::default() }.is_closed()
        }
        None => true,
    }
}

/// Forgets a flow and gives its port back.
#[inline(always)]
pub fn release<T: Tables>(tables: &T, key: &FlowKey, snat: &Snat) {
    tables.forget_snat(key);
    tables.forget_snat_reply(&snat.reply_key());
    if let Some(settings) = tables.settings() {
        Pool::of(snat.pool, settings.stride, snat.index).give_back(tables, snat.port);
    }
}

/// Takes a port for a new flow: `snat` has all but that and its address.
#[inline(always)]
fn take<P: Packet + ?Sized, T: Path<P>>(tables: &T, v4: bool, key: &FlowKey, snat: &mut Snat) -> Result<(), Refusal> {
    let settings = tables.settings().ok_or(Refusal::SnatExhausted)?;
    let mut spread = hash::flow(u64::from(snat.backend), key.client, key.client_port_bytes());
    let mut refusal = Refusal::SnatExhausted;
    for attempt in 0..2 * MAX_SNAT {
        let index = attempt / 2;
        let source = if v4 { settings.snat_v4[index] } else { settings.snat_v6[index] };
        if source == Address::default() {
            continue;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below eight")]
        let number = index as u32;
        let pool = Pool::of(snat.pool, settings.stride, number);
        match tables.take_port(pool.base, spread) {
            Taken::FULL => {}
            Taken::CONTENDED => refusal = Refusal::SnatContended,
            port => {
                #[expect(clippy::cast_possible_truncation, reason = "a port")]
                let port = (port as u16).to_be();
                (snat.source, snat.port, snat.index) = (source, port, number);
                if tables.claim_port(key, snat, pool.base) {
                    return Ok(());
                }
            }
        }
        spread = hash::mix(spread);
    }
    Err(refusal)
}

/// Remembers a flow with the port that was taken for it, or gives the port back, to the pool whose words begin at `base`.
/// Whether the flow has a port then: this one, or one that another CPU was faster with, which is written to `snat`.
#[inline(always)]
pub fn claim_port<T: Tables>(tables: &T, key: &FlowKey, snat: &mut Snat, base: u32) -> bool {
    if remember(tables, key, snat) {
        return true;
    }
    Pool { base }.give_back(tables, snat.port);
    // Another CPU had a packet of the same flow; or the reply is somebody else's, or there is no room.
    match tables.snat(key) {
        Some(cell) => {
            *snat = cell.read();
            true
        }
        None => false,
    }
}

#[inline(always)]
fn remember<T: Tables>(tables: &T, key: &FlowKey, snat: &Snat) -> bool {
    let reply = SnatReply {
        client: key.client,
        service: key.service,
        client_port: key.client_port,
        pad: 0,
        backend: snat.backend,
        seen_s: snat.seen_s,
        server: 0,
    };
    let reply_key = snat.reply_key();
    if !tables.remember_snat_reply(&reply_key, &reply) {
        return false;
    }
    let remembered = tables.remember_snat(key, snat);
    if !remembered {
        tables.forget_snat_reply(&reply_key);
    }
    remembered
}

/// The ports towards one backend from one address.
#[derive(Debug, Clone, Copy)]
struct Pool {
    base: u32,
}

/// What [`take_port`] finds but a port, which is 1,024 or more.
struct Taken;

impl Taken {
    /// None is free.
    const FULL: u32 = 0;
    /// Other CPUs were faster.
    const CONTENDED: u32 = 1;
}

/// Takes a free port of a pool, whose words begin at `base`, from about where the hash says: its number, or 0 when none is
/// free, or 1 when other CPUs were faster.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "bits of a hash")]
pub fn take_port<T: Tables>(tables: &T, base: u32, spread: u64) -> u32 {
    let pool = Pool { base };
    let begin = FIRST_PORT_WORD + hash::slot(spread, PORT_WORDS - FIRST_PORT_WORD);
    let turn = spread as u32 & 63;
    for _ in 0..TRIES {
        let Some(number) = pool.word_with_room(tables, begin) else { return Taken::FULL };
        let Some(word) = tables.port_word(base + number) else { return Taken::FULL };
        let free = !word.load();
        if free == 0 {
            pool.note_full(tables, number);
            continue;
        }
        let bit = (free.rotate_right(turn).trailing_zeros() + turn) & 63;
        let before = word.set(1 << bit);
        if before >> bit & 1 != 0 {
            continue;
        }
        if before | 1 << bit == u64::MAX {
            pool.note_full(tables, number);
        }
        return number * 64 + bit;
    }
    Taken::CONTENDED
}

impl Pool {
    #[inline(always)]
    const fn of(pool: u16, stride: u32, index: u32) -> Self {
        Self { base: (pool as u32).wrapping_mul(stride).wrapping_add(index).wrapping_mul(PORT_WORDS) }
    }

    /// The number of a word that is not full, `begin` if it is not.
    #[inline(always)]
    fn word_with_room<T: Tables>(self, tables: &T, begin: u32) -> Option<u32> {
        if tables.port_word(self.base + begin)?.load() != u64::MAX {
            return Some(begin);
        }
        for step in 0..SUMMARY {
            let number = (begin / 64 + step) % SUMMARY;
            let full = tables.port_word(self.base + number)?.load();
            // The words of the summary itself have no ports.
            let free = !full & if number == 0 { u64::MAX << FIRST_PORT_WORD } else { u64::MAX };
            if free != 0 {
                return Some(number * 64 + free.trailing_zeros());
            }
        }
        None
    }

    /// Says that a word is full, and takes it back if somebody gave a port back meanwhile.
    #[inline(always)]
    fn note_full<T: Tables>(self, tables: &T, number: u32) {
        let (Some(summary), Some(word)) =
            (tables.port_word(self.base + number / 64), tables.port_word(self.base + number))
        else {
            return;
        };
        summary.set(1 << (number % 64));
        if word.load() != u64::MAX {
            summary.clear(1 << (number % 64));
        }
    }

    /// Gives a port back. First its bit, then the word that says that others are full: see [`Self::note_full`].
    #[inline(always)]
    fn give_back<T: Tables>(self, tables: &T, port: u16) {
        let port = u32::from(u16::from_be(port));
        let number = port / 64;
        if let Some(word) = tables.port_word(self.base + number) {
            word.clear(1 << (port % 64));
        }
        if let Some(summary) = tables.port_word(self.base + number / 64) {
            summary.clear(1 << (number % 64));
        }
    }
}
