//! What tables of whole packets cannot show: what depends on the clock, and what no plan ever makes.

use super::*;
use crate::Address;
use crate::abi::{
    Backend, Delivery, Endpoint, EndpointFlags, ReplyKey, ReplyOwner, Service, ServiceFlags, Slot, Table, VipKey,
};
use crate::host::HostTables;
use crate::parse::UDP;

const CLIENT: ([u8; 4], u16) = ([198, 51, 100, 1], 40_000);
const VIP: ([u8; 4], u16) = ([203, 0, 113, 10], 53);
const BACKEND: ([u8; 4], u16) = ([10, 0, 1, 11], 5353);

fn key((address, port): ([u8; 4], u16)) -> VipKey {
    VipKey::new(Address::from_v4(address), port.to_be_bytes(), UDP)
}

/// One UDP service with one backend, which the stack delivers to.
fn tables() -> HostTables {
    let (vip, listens) = (key(VIP), key(BACKEND));
    let backend =
        Backend { address: listens.address, port: listens.port, delivery: Delivery::STACK, ..Backend::default() };
    let tables = HostTables {
        vips: [(vip, 0)].into(),
        services: vec![Service { vip, table: Table { base: 0, len: 1 }.pack(), ..Service::default() }],
        slots: vec![Slot::settled(0)],
        backends: vec![backend],
        endpoints: [(listens, Endpoint { service: 0, backend: 0, flags: EndpointFlags::NAT })].into(),
        ..HostTables::default()
    };
    tables.now_ns.set(1_000_000_000_000);
    tables
}

/// An empty datagram without a checksum.
fn datagram(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    frame[17] = 28;
    (frame[22], frame[23]) = (64, UDP);
    frame[26..30].copy_from_slice(&from.0);
    frame[30..34].copy_from_slice(&to.0);
    frame[34..36].copy_from_slice(&from.1.to_be_bytes());
    frame[36..38].copy_from_slice(&to.1.to_be_bytes());
    frame[39] = 8;
    frame
}

fn send(tables: &HostTables, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Verdict {
    decide(datagram(from, to).as_mut_slice(), tables, &mut Scratch::default(), 1)
}

fn pass(tables: &HostTables, seconds: u64) {
    tables.now_ns.set(tables.now_ns.get() + seconds * 1_000_000_000);
}

#[test]
fn a_direct_datagram_is_believed_for_a_while_after_the_last() {
    let tables = tables();
    let direct = Verdict::Refused(Refusal::Direct);
    assert_eq!(send(&tables, CLIENT, BACKEND), direct);
    pass(&tables, 40);
    assert_eq!(send(&tables, CLIENT, BACKEND), direct);
    pass(&tables, 59);
    assert_eq!(send(&tables, BACKEND, CLIENT), direct);
    pass(&tables, 1);
    assert_eq!(send(&tables, BACKEND, CLIENT), Verdict::Stack, "the VIP's again");
}

#[test]
fn of_a_shared_backend_the_last_datagram_says_whose_the_flow_is() {
    let mut tables = tables();
    tables.services[0].flags = ServiceFlags::REMEMBER_REPLIES;
    assert_eq!(send(&tables, CLIENT, VIP), Verdict::Stack);
    assert_eq!(send(&tables, BACKEND, CLIENT), Verdict::Stack);
    assert_eq!(send(&tables, CLIENT, BACKEND), Verdict::Refused(Refusal::Direct));
    assert_eq!(send(&tables, BACKEND, CLIENT), Verdict::Refused(Refusal::Direct));
    assert_eq!(send(&tables, CLIENT, VIP), Verdict::Stack);
    assert_eq!(send(&tables, BACKEND, CLIENT), Verdict::Stack);
}

#[test]
fn a_reply_of_a_service_without_a_table_is_counted_for_no_backend() {
    let mut tables = tables();
    // The endpoint is known for the first service, and the reply is remembered for the second.
    tables.services.push(Service { vip: key((VIP.0, 54)), ..Service::default() });
    let remembered = ReplyKey::new(Address::from_v4(CLIENT.0), CLIENT.1.to_be_bytes(), key(BACKEND));
    tables.replies.borrow_mut().insert(remembered, ReplyOwner { service: 1, seen_s: 0 });
    assert_eq!(send(&tables, BACKEND, CLIENT), Verdict::Stack);
    assert_eq!(tables.service_traffic.borrow()[&1].reply_packets, 1);
    assert!(tables.backend_traffic.borrow().is_empty());
}

#[test]
fn what_this_host_sends_to_a_backend_is_noted() {
    let tables = tables();
    observe_egress(datagram(CLIENT, BACKEND).as_slice(), &tables);
    assert!(tables.refusals.borrow().is_empty(), "what goes out is not counted");
    assert_eq!(send(&tables, BACKEND, CLIENT), Verdict::Refused(Refusal::Direct));
    // What goes elsewhere is not.
    observe_egress(datagram(CLIENT, VIP).as_slice(), &tables);
    assert_eq!(tables.replies.borrow().len(), 1);
}

#[test]
fn a_backend_that_was_taken_back_gets_nothing() {
    let mut tables = tables();
    tables.backends[0] = Backend::default();
    assert_eq!(send(&tables, CLIENT, VIP), Verdict::Refused(Refusal::NoBackend));
    tables.backends.clear();
    assert_eq!(send(&tables, CLIENT, VIP), Verdict::Refused(Refusal::NoBackend));
    tables.slots.clear();
    assert_eq!(send(&tables, CLIENT, VIP), Verdict::Refused(Refusal::NoBackend));
    assert_eq!(tables.refusals.borrow()[&Refusal::NoBackend], 3);
    assert!(tables.service_traffic.borrow().is_empty() && tables.replies.borrow().is_empty());
}
