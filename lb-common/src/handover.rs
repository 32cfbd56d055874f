//! Which backend a flow goes to: its slot's, or, while the slot hands over, the one it went to before.
//!
//! The rule that all else follows from: **who is not remembered goes to `old`.** A TCP connection's first packet says so,
//! and is sent to `current` only once it is remembered; when there is no room to remember it, `old` serves it too, and
//! nothing breaks. UDP has no first packet: for one idle time-out ("learning") every unknown flow is taken for an old
//! one and remembered; afterwards an unknown flow is a new one.
//!
//! Relatives: JET (CoNEXT 2020) remembers the flows of the moving part alone; SilkRoad (SIGCOMM 2017) and Beamer (NSDI
//! 2018) keep the version, or the server, of before.

use crate::Address;
use crate::abi::{FLOW_LIMIT, Flow, FlowFlags, FlowKey, Service, Slot, Table};
use crate::gcra::{self, Admission};
use crate::hash;
use crate::headers::Headers;
use crate::packet::Packet;
use crate::parse::{FIN, RST, SYN};
use crate::tables::{FlowCell, FlowUse, Tables};

/// How often a flow tries to be remembered while other CPUs remember theirs. Not to be is no harm.
const TRIES: u32 = 2;

/// A flow's place in its service's table.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The table.
    pub table: Table,
    /// The slot's number in it.
    pub number: u32,
    /// What is there.
    pub slot: Slot,
}

/// A flow, and what is to be remembered of it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memo {
    /// Which it is.
    pub key: FlowKey,
    /// What is remembered.
    pub flow: Flow,
}

/// Finds the slot of a client's flow; `None` when the service has no table.
#[inline(always)]
pub fn place<T: Tables>(tables: &T, service: &Service, client: Address, client_port: [u8; 2]) -> Option<Place> {
    let table = tables.table(service);
    if table.len == 0 {
        return None;
    }
    let number = hash::slot(hash::flow(service.seed, client, client_port), table.len);
    let slot = tables.slot(table.base.wrapping_add(number))?;
    Some(Place { table, number, slot })
}

/// The backend that a client's packet goes to, when its slot moves, or when it is `claimed` by another backend than its
/// slot's: by a connection id, which follows the connection wherever the client goes. [`Slot::NOBODY`] when nobody takes it. Which
/// flow it is is in `memo`, where the rest is put.
#[inline(always)]
pub fn hand_over<P: Packet + ?Sized, T: Tables>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    id: u32,
    place: &Place,
    claimed: u32,
    memo: &mut Memo,
) -> u32 {
    let current = place.slot.current();
    let now_s = tables.now_s();
    let said = Said::by_client(packet, headers);
    tables.count_flows(FlowUse::Lookup);
    if let Some(cell) = tables.flow(&memo.key) {
        let flow = cell.read();
        // A SYN in the midst of a connection is an old one, come late, or forged, or the client has lost its end: who
        // holds the connection knows (RFC 9293 §3.5.2, RFC 5961 §4). After its end it begins another one.
        let begins = if headers.opens && flow.is_closed() { current } else { flow.backend };
        let backend = if claimed == Slot::NOBODY { begins } else { claimed };
        if backend == flow.backend && !(headers.opens && flow.is_closed()) {
            cell.note_client(now_s, said.flags | flow.client & !FlowFlags::RST, said.next, said.expects);
        } else if backend != Slot::NOBODY {
            cell.begin(said.flow(backend, now_s));
        }
        return backend;
    }
    let Some(old) = place.slot.old() else {
        // Claimed by another than the settled slot's.
        if claimed != Slot::NOBODY {
            memo.flow = said.flow(claimed, now_s);
            if !remember(tables, memo) {
                tables.stamp(id, place.table, place.number, now_s);
            }
        }
        return if claimed == Slot::NOBODY { current } else { claimed };
    };
    let begins = if headers.has_openings() { headers.opens } else { !place.slot.is_learning() };
    let backend = if claimed != Slot::NOBODY {
        claimed
    } else if begins {
        current
    } else {
        old
    };
    // With nobody to go to there is nothing to remember; nor where unknown flows go anyway.
    if backend == Slot::NOBODY || current == old && backend == old {
        return backend;
    }
    memo.flow = said.flow(backend, now_s);
    if remember(tables, memo) {
        return backend;
    }
    tables.stamp(id, place.table, place.number, now_s);
    if headers.has_openings() { old } else { backend }
}

/// The backend of a flow that is remembered, for a packet that does not open a connection: what [`hand_over`] finds first. What
/// the packet says is noted; that it was looked up is the caller's to count.
#[inline(always)]
pub(crate) fn kept<P: Packet + ?Sized, T: Tables>(packet: &P, tables: &T, headers: &Headers, id: u32) -> Option<u32> {
    if headers.opens {
        return None;
    }
    let cell = tables.flow_at_once(&FlowKey::new(headers.source.address, headers.source.port_bytes(), id))?;
    let flow = cell.read();
    let said = Said::by_client(packet, headers);
    cell.note_client(tables.now_s(), said.flags | flow.client & !FlowFlags::RST, said.next, said.expects);
    Some(flow.backend)
}

/// Whether a packet from `backend` belongs to the flow `key`, whose place is `place`; `said` is what [`said_by_server`]
/// makes of it, or `None` when it is only a question.
#[inline(always)]
pub fn comes_from<T: Tables>(
    tables: &T,
    place: &Place,
    backend: u32,
    key: &FlowKey,
    said: impl FnOnce() -> Option<u32>,
) -> bool {
    let Some(old) = place.slot.old() else { return place.slot.current() == backend };
    tables.count_flows(FlowUse::Lookup);
    let Some(cell) = tables.flow(key) else { return backend == old || backend == place.slot.current() };
    let flow = cell.read();
    if flow.backend != backend {
        return false;
    }
    note(tables, &cell, &flow, said());
    true
}

/// The backend that the flow `key`, whose place is `place`, goes to; of an unknown flow the one that new flows go to.
#[inline(always)]
pub fn follow<T: Tables>(tables: &T, place: &Place, key: &FlowKey, said: impl FnOnce() -> Option<u32>) -> u32 {
    if place.slot.old().is_none() {
        return place.slot.current();
    }
    tables.count_flows(FlowUse::Lookup);
    let Some(cell) = tables.flow(key) else { return place.slot.current() };
    let flow = cell.read();
    note(tables, &cell, &flow, said());
    flow.backend
}

/// What a packet from a backend says of its connection, as [`FlowFlags`].
#[inline(always)]
pub fn said_by_server<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> u32 {
    let l4 = usize::from(headers.l4);
    let flags = if headers.tcp() { packet.read::<1>(l4 + 13).map_or(0, |[flags]| flags) } else { 0 };
    FlowFlags::SPOKE | FlowFlags::of(flags)
}

/// What a packet from a client says of its connection, as [`FlowFlags`].
#[inline(always)]
pub fn said_by_client<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> u32 {
    if headers.opens { said_by_server(packet, headers) & !FlowFlags::SPOKE } else { said_by_server(packet, headers) }
}

#[inline(always)]
fn note<T: Tables>(tables: &T, cell: &impl FlowCell, flow: &Flow, said: Option<u32>) {
    if let Some(flags) = said {
        cell.note_server(tables.now_s(), flags | flow.server & !FlowFlags::RST);
    }
}

/// Remembers a flow, unless there is no room or they come too fast.
#[inline(always)]
fn remember<T: Tables>(tables: &T, memo: &Memo) -> bool {
    let admitted = match (tables.limit(FLOW_LIMIT), tables.service_bucket(FLOW_LIMIT)) {
        (Some(limit), Some(bucket)) => {
            matches!(gcra::admit_within(TRIES, limit, &bucket, tables.now_ns(), 0), Admission::Admitted(_))
        }
        _ => false,
    };
    let remembered = admitted && tables.remember_flow(&memo.key, &memo.flow);
    tables.count_flows(if remembered { FlowUse::Remembered } else { FlowUse::Refused });
    remembered
}

/// What a client's packet says of its connection.
struct Said {
    flags: u32,
    next: u32,
    expects: u32,
}

impl Said {
    #[inline(always)]
    fn by_client<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Self {
        if !headers.tcp() {
            return Self { flags: said_by_client(packet, headers), next: 0, expects: 0 };
        }
        let l4 = usize::from(headers.l4);
        // Sequence number, acknowledgement, data offset, flags (RFC 9293 §3.1). A well-formed packet has them.
        let [s0, s1, s2, s3, a0, a1, a2, a3, offset, flags] = packet.read(l4 + 4).unwrap_or_default();
        let payload_at = l4.wrapping_add(usize::from(offset >> 4) * 4);
        let payload = headers.ends_at().saturating_sub(payload_at);
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
        let next = u32::from_be_bytes([s0, s1, s2, s3])
            .wrapping_add(payload as u32)
            .wrapping_add(u32::from(flags & SYN != 0))
            .wrapping_add(u32::from(flags & FIN != 0));
        let spoke = if headers.opens { 0 } else { FlowFlags::SPOKE };
        Self { flags: spoke | FlowFlags::of(flags), next, expects: u32::from_be_bytes([a0, a1, a2, a3]) }
    }

    #[inline(always)]
    const fn flow(&self, backend: u32, seen_s: u32) -> Flow {
        Flow { backend, seen_s, client: self.flags, server: 0, client_next: self.next, client_expects: self.expects }
    }
}

impl FlowFlags {
    /// What a TCP header's flags mean for a flow.
    #[inline(always)]
    const fn of(tcp: u8) -> u32 {
        let fin = if tcp & FIN != 0 { Self::FIN } else { 0 };
        let rst = if tcp & RST != 0 { Self::RST } else { 0 };
        fin | rst
    }
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
