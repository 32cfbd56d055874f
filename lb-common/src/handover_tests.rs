//! A slot that hands over, packet by packet.

use super::*;
use crate::abi::{Backend, Delivery, Endpoint, EndpointFlags, ServiceFlags, VipKey};
use crate::host::{HostFlows, HostTables};
use crate::parse::{TCP, UDP};
use crate::{Refusal, Scratch, Verdict, decide};

type At = ([u8; 4], u16);

const CLIENT: At = ([198, 51, 100, 1], 40_000);
const OTHER: At = ([198, 51, 100, 1], 40_001);
const VIP: At = ([203, 0, 113, 10], 80);
/// Backends 0, 1 and 2.
const BACKENDS: [At; 3] = [([10, 0, 1, 10], 8080), ([10, 0, 1, 11], 8080), ([10, 0, 1, 12], 8080)];

const ACK: u8 = 0x10;

fn key((address, port): At, protocol: u8) -> VipKey {
    VipKey::new(Address::from_v4(address), port.to_be_bytes(), protocol)
}

/// One service with one slot, and room for so many flows.
fn tables(protocol: u8, slot: Slot, max_flows: u32) -> HostTables {
    let vip = key(VIP, protocol);
    let listens = BACKENDS.map(|at| key(at, protocol));
    let row =
        |key: VipKey| Backend { address: key.address, port: key.port, delivery: Delivery::STACK, ..Backend::default() };
    let endpoint = |(backend, key)| (key, Endpoint { service: 0, backend, flags: EndpointFlags::NAT });
    let tables = HostTables {
        vips: [(vip, 0)].into(),
        services: vec![Service { vip, table: Table { base: 0, len: 1 }.pack(), ..Service::default() }],
        slots: vec![slot],
        backends: listens.map(row).to_vec(),
        endpoints: (0..).zip(listens).map(endpoint).collect(),
        limits: vec![crate::abi::Limit::default()],
        service_buckets: vec![std::cell::Cell::new(0)],
        flows: HostFlows::with_room(max_flows),
        ..HostTables::default()
    };
    tables.now_ns.set(1_000_000_000_000);
    tables
}

/// A packet without payload.
fn packet(protocol: u8, from: At, to: At, flags: u8) -> Vec<u8> {
    let len: u8 = if protocol == TCP { 40 } else { 28 };
    let mut frame = vec![0; 14 + usize::from(len)];
    frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    (frame[17], frame[22], frame[23]) = (len, 64, protocol);
    frame[26..30].copy_from_slice(&from.0);
    frame[30..34].copy_from_slice(&to.0);
    frame[34..36].copy_from_slice(&from.1.to_be_bytes());
    frame[36..38].copy_from_slice(&to.1.to_be_bytes());
    if protocol == TCP {
        (frame[46], frame[47]) = (0x50, flags);
    } else {
        frame[39] = 8;
    }
    frame
}

/// The backend that a client's packet goes to, or why to none.
fn request(tables: &HostTables, from: At, flags: u8) -> Result<usize, Refusal> {
    let protocol = tables.services[0].vip.protocol;
    let mut frame = packet(protocol, from, VIP, flags);
    match decide(frame.as_mut_slice(), tables, &mut Scratch::default(), 1) {
        Verdict::Stack => Ok(BACKENDS.iter().position(|(address, _)| frame[30..34] == *address).expect("a backend")),
        Verdict::Refused(refusal) => Err(refusal),
        verdict => panic!("{verdict:?}"),
    }
}

/// Whether a backend's packet is taken for the VIP's.
fn is_reply(tables: &HostTables, backend: usize, to: At, flags: u8) -> bool {
    let mut frame = packet(tables.services[0].vip.protocol, BACKENDS[backend], to, flags);
    decide(frame.as_mut_slice(), tables, &mut Scratch::default(), 1) == Verdict::Stack && frame[26..30] == VIP.0
}

fn flow(tables: &HostTables, client: At) -> Option<Flow> {
    let key = FlowKey::new(Address::from_v4(client.0), client.1.to_be_bytes(), 0);
    tables.flows.get(&key)
}

#[test]
fn a_settled_slot_asks_no_table_and_no_clock() {
    let tables = tables(TCP, Slot::settled(1), 16);
    assert_eq!([SYN, ACK, FIN | ACK, RST].map(|flags| request(&tables, CLIENT, flags)), [Ok(1); 4]);
    assert!(is_reply(&tables, 1, CLIENT, ACK) && !is_reply(&tables, 0, CLIENT, ACK));
    assert!(tables.flows.is_empty() && tables.stamps.borrow().is_empty());
    assert_eq!(tables.tally.get().lookups, 0);
}

#[test]
fn a_connection_that_begins_goes_to_the_new_backend_and_one_that_nobody_remembers_to_the_old() {
    let tables = tables(TCP, Slot::moving(1, 0, false), 16);
    assert_eq!([SYN, ACK, ACK].map(|flags| request(&tables, CLIENT, flags)), [Ok(1); 3]);
    assert_eq!([ACK, ACK].map(|flags| request(&tables, OTHER, flags)), [Ok(0); 2]);
    assert_eq!(flow(&tables, OTHER).map(|flow| flow.backend), Some(0), "counted, so that a drain knows");
    assert!(is_reply(&tables, 1, CLIENT, ACK) && is_reply(&tables, 0, OTHER, ACK));
    assert!(!is_reply(&tables, 0, CLIENT, ACK), "that one is not with the old backend");
    assert!(tables.stamps.borrow().is_empty());
}

#[test]
fn whom_there_is_no_room_to_remember_the_old_backend_serves() {
    let tables = tables(TCP, Slot::moving(1, 0, false), 1);
    assert_eq!(request(&tables, CLIENT, SYN), Ok(1));
    let others = (1..).map(|port| FlowKey::new(Address::from_v4(CLIENT.0), [0, port], 0));
    let room = others.take_while(|key| tables.remember_flow(key, &Flow { seen_s: 1000, ..Flow::default() })).count();
    assert_eq!(room, 7, "one line is taken");
    assert_eq!([SYN, ACK, ACK].map(|flags| request(&tables, OTHER, flags)), [Ok(0); 3]);
    assert_eq!(request(&tables, CLIENT, ACK), Ok(1));
    assert_eq!(tables.stamps.borrow().get(&(0, 0)), Some(&1000), "the slot knows that it is not alone");
    assert!(is_reply(&tables, 0, OTHER, ACK));
    assert_eq!(tables.tally.get().refused, 3);
}

#[test]
fn new_flows_are_held_to_a_rate_and_those_beyond_it_break_nothing() {
    let mut tables = tables(TCP, Slot::moving(1, 0, false), 1_000);
    // Two at once, and then one a second.
    let cost = 1_000_000_000 * gcra::TICKS_PER_NS;
    tables.limits[0] = crate::abi::Limit { cost, depth_ticks: 2 * cost, ..crate::abi::Limit::default() };
    let clients = [1, 2, 3].map(|port| (CLIENT.0, port));
    assert_eq!(clients.map(|client| request(&tables, client, SYN)), [Ok(1), Ok(1), Ok(0)]);
    assert_eq!(clients.map(|client| request(&tables, client, ACK)), [Ok(1), Ok(1), Ok(0)]);
    tables.now_ns.set(tables.now_ns.get() + 1_000_000_000);
    assert_eq!([SYN, ACK].map(|flags| request(&tables, OTHER, flags)), [Ok(1); 2]);
}

#[test]
fn a_protocol_without_a_first_packet_learns_for_a_while_who_was_there() {
    let mut tables = tables(UDP, Slot::moving(1, 0, true), 16);
    assert_eq!([request(&tables, CLIENT, 0), request(&tables, CLIENT, 0)], [Ok(0); 2]);
    tables.slots[0] = Slot::moving(1, 0, false);
    assert_eq!([request(&tables, CLIENT, 0), request(&tables, OTHER, 0)], [Ok(0), Ok(1)]);
    // Another change: who is remembered stays, whoever it is with.
    tables.slots[0] = Slot::moving(2, 0, false);
    assert_eq!([request(&tables, CLIENT, 0), request(&tables, OTHER, 0)], [Ok(0), Ok(1)]);
    assert!(is_reply(&tables, 1, OTHER, 0) && !is_reply(&tables, 2, OTHER, 0));
}

#[test]
fn after_its_end_a_port_begins_anew_and_before_it_nobody_begins_for_it() {
    let mut tables = tables(TCP, Slot::moving(1, 0, false), 16);
    assert_eq!(request(&tables, CLIENT, ACK), Ok(0));
    assert_eq!(request(&tables, CLIENT, SYN), Ok(0), "a SYN in the midst of a connection is for who holds it");
    assert_eq!(request(&tables, CLIENT, FIN | ACK), Ok(0));
    assert_eq!(request(&tables, CLIENT, SYN), Ok(0), "the server has not said that it is through");
    assert!(is_reply(&tables, 0, CLIENT, FIN | ACK));
    assert!(flow(&tables, CLIENT).is_some_and(|flow| flow.is_closed()));
    assert_eq!(request(&tables, CLIENT, ACK), Ok(0), "the last acknowledgement");
    assert_eq!([SYN, ACK].map(|flags| request(&tables, CLIENT, flags)), [Ok(1); 2]);
    // The same after a reset by the server; and a reset is over when the client speaks on.
    tables.slots[0] = Slot::moving(2, 0, false);
    assert!(is_reply(&tables, 1, CLIENT, RST | ACK));
    assert!(flow(&tables, CLIENT).is_some_and(|flow| flow.is_closed()));
    assert_eq!([SYN, ACK].map(|flags| request(&tables, CLIENT, flags)), [Ok(2); 2]);
    assert_eq!([RST, ACK].map(|flags| request(&tables, CLIENT, flags)), [Ok(2); 2]);
    assert!(flow(&tables, CLIENT).is_some_and(|flow| !flow.is_closed()));
}

#[test]
fn without_anybody_to_take_them_new_flows_are_refused_and_old_ones_go_on() {
    let tables = tables(TCP, Slot::moving(Slot::NOBODY, 0, false), 16);
    assert_eq!(request(&tables, CLIENT, ACK), Ok(0));
    assert_eq!(request(&tables, OTHER, SYN), Err(Refusal::NoBackend));
    assert_eq!(flow(&tables, OTHER), None);
    let tables = self::tables(TCP, Slot::settled(Slot::NOBODY), 16);
    assert_eq!(request(&tables, CLIENT, ACK), Err(Refusal::NoBackend));
}

#[test]
fn a_flow_is_believed_for_as_long_as_it_should() {
    let flow = |client, server| Flow { client, server, seen_s: 1_000, ..Flow::default() };
    let (fin, spoke) = (FlowFlags::FIN, FlowFlags::SPOKE);
    for (flow, tcp, lives_s) in [
        (flow(spoke, spoke), true, 3600),
        (flow(0, spoke), true, Flow::HALF_OPEN_S),
        (flow(spoke, 0), true, Flow::HALF_OPEN_S),
        (flow(spoke | fin, spoke | fin), true, 0),
        (flow(spoke | fin, spoke), true, 3600),
        (flow(spoke, spoke | FlowFlags::RST), true, 0),
        (flow(spoke, 0), false, 3600),
    ] {
        assert!(flow.is_living(1_000 + lives_s, 3600, tcp), "{flow:?}");
        assert!(!flow.is_living(1_001 + lives_s, 3600, tcp), "{flow:?}");
        // The kernel may be a moment ahead.
        assert!(flow.is_living(999, 3600, tcp));
    }
    assert!(!flow(0, 0).is_living(1_006, 5, true), "no half-open connection outlives the idle time-out");
}

#[test]
fn what_the_client_said_last_is_known_for_a_reset() {
    let tables = tables(TCP, Slot::moving(1, 0, false), 16);
    let mut frame = packet(TCP, CLIENT, VIP, ACK | FIN);
    frame[17] += 5;
    frame.extend(*b"hello and padding");
    frame[38..42].copy_from_slice(&0xffff_fffe_u32.to_be_bytes());
    frame[42..46].copy_from_slice(&77_u32.to_be_bytes());
    assert_eq!(decide(frame.as_mut_slice(), &tables, &mut Scratch::default(), 1), Verdict::Stack);
    let flow = flow(&tables, CLIENT).expect("it is remembered");
    assert_eq!((flow.client_next, flow.client_expects), (4, 77), "five bytes, and the FIN, from two before the end");
}

/// A server that says something once in a minute, to which nobody answers at once.
#[test]
fn a_connection_on_which_the_server_alone_speaks_goes_on() {
    const IDLE_S: u32 = 120;
    let tables = tables(TCP, Slot::moving(1, 0, false), 16);
    let pass = |seconds: u64| tables.now_ns.set(tables.now_ns.get() + seconds * 1_000_000_000);
    let of = |client| flow(&tables, client).expect("it is remembered");
    assert_eq!([CLIENT, OTHER].map(|client| request(&tables, client, ACK)), [Ok(0); 2]);
    for _ in 0..5 {
        pass(60);
        assert!(is_reply(&tables, 0, CLIENT, ACK));
    }
    pass(60);
    let (now_s, heard, half) = (tables.now_s(), of(CLIENT), of(OTHER));
    assert_eq!((heard.client, heard.server, heard.seen_s), (FlowFlags::SPOKE, FlowFlags::SPOKE, now_s - 60));
    assert!(heard.is_living(now_s, IDLE_S, true), "both were heard");
    // The other one's server has said nothing: its end is not known, and it is not believed for as long as others.
    assert_eq!((half.server, half.seen_s), (0, now_s - 360));
    assert!(half.is_living(half.seen_s + Flow::HALF_OPEN_S, IDLE_S, true));
    assert!(!half.is_living(half.seen_s + Flow::HALF_OPEN_S + 1, IDLE_S, true));
    assert!(half.is_half_heard(half.seen_s + IDLE_S, IDLE_S) && !half.is_half_heard(half.seen_s + IDLE_S + 1, IDLE_S));

    // What was forgotten goes on all the same, as long as the slot moves.
    tables.flows.clear();
    assert!(is_reply(&tables, 0, OTHER, ACK));
    assert_eq!(flow(&tables, OTHER), None, "a server begins nothing");
    assert_eq!(request(&tables, OTHER, ACK), Ok(0));
    assert!(is_reply(&tables, 0, OTHER, ACK));
    assert!(of(OTHER).is_living(now_s + IDLE_S, IDLE_S, true));
}

#[test]
fn a_connection_that_is_only_opened_or_closed_is_not_half_heard() {
    let flow = |client, server| Flow { client, server, seen_s: 1_000, ..Flow::default() };
    let (fin, rst, spoke) = (FlowFlags::FIN, FlowFlags::RST, FlowFlags::SPOKE);
    assert!(flow(spoke, 0).is_half_heard(1_040, 120) && flow(spoke | fin, 0).is_half_heard(1_040, 120));
    assert!(flow(spoke, 0).is_half_heard(999, 120), "the kernel may be a moment ahead");
    for flow in [flow(0, 0), flow(0, spoke), flow(spoke | fin, spoke | fin), flow(spoke, rst)] {
        assert!(!flow.is_half_heard(1_040, 120), "{flow:?}");
    }
}

/// Replies that are remembered are not asked of the slot whose they are; the flow is to live by them all the same.
#[test]
fn of_a_shared_backend_a_remembered_reply_is_noted_in_its_flow() {
    const IDLE_S: u32 = 120;
    const SECOND: At = (VIP.0, 81);
    let mut tables = tables(TCP, Slot::moving(1, 0, false), 16);
    // The second service has the same backends, by ids of its own; their endpoints are known for the first.
    tables.services[0].flags = ServiceFlags::REMEMBER_REPLIES;
    let (vip, table) = (key(SECOND, TCP), Table { base: 1, len: 1 }.pack());
    tables.services.push(Service { vip, table, ..tables.services[0] });
    tables.slots.push(Slot::moving(4, 3, false));
    tables.backends.extend_from_within(..);
    tables.vips.insert(vip, 1);
    for (service, to, backend) in [(0, VIP, 0), (1, SECOND, 3)] {
        let client = (CLIENT.0, CLIENT.1 + to.1);
        assert_eq!(
            decide(packet(TCP, client, to, ACK).as_mut_slice(), &tables, &mut Scratch::default(), 1),
            Verdict::Stack
        );
        tables.now_ns.set(tables.now_ns.get() + 60_000_000_000);
        let mut answer = packet(TCP, BACKENDS[0], client, ACK);
        assert_eq!(decide(answer.as_mut_slice(), &tables, &mut Scratch::default(), 1), Verdict::Stack);
        assert_eq!((&answer[26..30], &answer[34..36]), (&to.0[..], &to.1.to_be_bytes()[..]), "whose it is");
        let key = FlowKey::new(Address::from_v4(client.0), client.1.to_be_bytes(), service);
        let flow = tables.flows.get(&key).expect("it is remembered");
        let now_s = tables.now_s();
        assert_eq!((flow.backend, flow.server, flow.seen_s), (backend, FlowFlags::SPOKE, now_s));
        assert!(flow.is_living(now_s + IDLE_S, IDLE_S, true));
        assert_eq!(tables.backend_traffic.borrow()[&backend].reply_packets, 1);
    }
}

#[test]
fn a_packet_whose_fast_way_ends_half_way_is_looked_up_once() {
    let tables = tables(TCP, Slot::moving(1, 0, false), 16);
    assert_eq!(request(&tables, CLIENT, SYN), Ok(1));
    let before = tables.tally.get().lookups;
    assert_eq!(request(&tables, CLIENT, ACK), Ok(1));
    assert_eq!(tables.tally.get().lookups - before, 1);
}
