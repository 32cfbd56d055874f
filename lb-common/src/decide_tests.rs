//! What tables of whole packets cannot show: what depends on the clock, and what no plan ever makes.

use super::*;
use crate::Address;
use crate::abi::{
    Backend, Delivery, Device, DeviceFlags, Endpoint, EndpointFlags, Networks, ReplyKey, ReplyOwner, Service,
    ServiceFlags, Slot, Table, VipKey,
};
use crate::host::HostTables;
use crate::parse::{TCP, UDP};

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
    observe_egress(datagram(CLIENT, BACKEND).as_slice(), &tables, &mut Headers::default());
    assert!(tables.refusals.borrow().is_empty(), "what goes out is not counted");
    assert_eq!(send(&tables, BACKEND, CLIENT), Verdict::Refused(Refusal::Direct));
    // What goes elsewhere is not.
    observe_egress(datagram(CLIENT, VIP).as_slice(), &tables, &mut Headers::default());
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

/// What becomes of a datagram that comes in by a port, and how it looks then.
fn send_by(tables: &HostTables, from: ([u8; 4], u16), to: ([u8; 4], u16), ingress: u32) -> (Verdict, [u8; 42]) {
    let mut frame = datagram(from, to);
    let verdict = from_port(frame.as_mut_slice(), tables, &mut Scratch::default(), ingress);
    (verdict, frame)
}

fn ends(frame: &[u8; 42]) -> [([u8; 4], u16); 2] {
    [(26, 34), (30, 36)].map(|(address, port)| {
        (frame[address..][..4].try_into().unwrap(), u16::from_be_bytes([frame[port], frame[port + 1]]))
    })
}

/// The same, with a backend that is sent to; and what becomes of a packet that is.
fn sent() -> (HostTables, Verdict) {
    let mut tables = tables();
    tables.backends[0] = Backend { delivery: Delivery::PEER, ifindex: 7, mtu: 1500, ..tables.backends[0] };
    (tables, Verdict::Hand { ifindex: 7, delivery: Delivery::PEER })
}

#[test]
fn a_service_is_for_the_networks_that_it_names() {
    let (mut tables, sent) = sent();
    tables.services[0].networks = 0b100;
    for (ifindex, networks) in [(3, 0b10), (4, 0b110), (5, Networks::OUTSIDE)] {
        tables.devices.insert(ifindex, Device { networks, ..Device::default() });
    }
    let refused = Verdict::Refused(Refusal::OtherNetwork);
    for (ingress, expected) in [(3, refused), (4, sent), (5, refused), (6, refused)] {
        assert_eq!(send_by(&tables, CLIENT, VIP, ingress).0, expected, "by device {ingress}");
    }
    // This host itself may.
    let mut frame = datagram(CLIENT, VIP);
    assert_eq!(from_host(frame.as_mut_slice(), &tables, &mut Scratch::default()), sent);
    tables.services[0].networks = 0;
    assert_eq!(send_by(&tables, CLIENT, VIP, 3).0, sent, "everybody");
}

#[test]
fn a_backend_reaches_itself_through_its_service() {
    let tables = tables();
    let itself = (BACKEND.0, 40_000);
    let (verdict, there) = send_by(&tables, itself, VIP, 3);
    assert_eq!(verdict, Verdict::Stack);
    let [source, destination] = ends(&there);
    assert_eq!(destination, BACKEND);
    assert_ne!(source.0, BACKEND.0, "nobody takes packets from his own address");
    let (verdict, back) = send_by(&tables, BACKEND, source, 3);
    assert_eq!(verdict, Verdict::Stack);
    assert_eq!(ends(&back), [VIP, itself]);
    // Nobody else may claim to be nobody.
    assert_eq!(send_by(&tables, ([10, 0, 1, 99], 7), source, 3).0, Verdict::Refused(Refusal::NoService));
}

#[test]
fn this_host_may_speak_from_the_vip() {
    let (mut tables, sent) = sent();
    tables.addresses.insert(Address::from_v4(VIP.0), crate::abi::AddressFlags::VIP);
    let own = (VIP.0, 40_000);
    let mut frame = datagram(own, VIP);
    assert_eq!(from_host(frame.as_mut_slice(), &tables, &mut Scratch::default()), sent);
    assert_eq!(ends(&frame), [own, BACKEND]);
    let (verdict, back) = send_by(&tables, BACKEND, own, 3);
    assert_eq!((verdict, ends(&back)), (Verdict::Stack, [VIP, own]));
    // Nobody else may.
    assert_eq!(send_by(&tables, own, VIP, 3).0, Verdict::Refused(Refusal::MartianSource));
    // What only the stack could deliver goes as it is: it has been routed to the VIP.
    let stack = self::tables();
    let mut frame = datagram(own, VIP);
    let stranger = Verdict::Refused(Refusal::NoService);
    assert_eq!(from_host(frame.as_mut_slice(), &stack, &mut Scratch::default()), stranger);
    assert_eq!((ends(&frame), stack.tally.get().inside), ([own, VIP], 0));
    // What it sends to others is theirs, and not counted.
    let before = tables.tally.get().inside;
    let mut frame = datagram(own, CLIENT);
    assert_eq!(from_host(frame.as_mut_slice(), &tables, &mut Scratch::default()), Verdict::Refused(Refusal::NoService));
    assert_eq!(tables.tally.get().inside, before);
}

#[test]
fn who_opens_a_connection_answers_nobody() {
    let mut tables = tables();
    tables.services[0].vip.protocol = TCP;
    let listens = VipKey { protocol: TCP, ..key(BACKEND) };
    tables.endpoints.insert(listens, Endpoint { service: 0, backend: 0, flags: EndpointFlags::NAT });
    for (flags, expected) in [(0x12, Verdict::Stack), (0x02, Verdict::Refused(Refusal::Direct))] {
        let mut frame = [0; 54];
        frame[..42].copy_from_slice(&datagram(BACKEND, CLIENT));
        (frame[17], frame[23]) = (40, TCP);
        frame[38..42].fill(0);
        (frame[46], frame[47]) = (0x50, flags);
        let verdict = decide(frame.as_mut_slice(), &tables, &mut Scratch::default(), 1);
        assert_eq!(verdict, expected, "flags {flags:#x}");
    }
}

/// A container that sends from where a backend listens does not speak to those that its networks are to be kept from.
#[test]
fn answers_keep_to_the_networks_of_their_service() {
    const BACKENDS: u32 = 2;
    const ITS_NEIGHBOUR: u32 = 3;
    const STRANGER: u32 = 4;
    let mut tables = tables();
    tables.services[0].networks = 0b10;
    tables.backends[0].ifindex = BACKENDS;
    for (ifindex, networks) in [(BACKENDS, 0b110), (ITS_NEIGHBOUR, 0b10), (STRANGER, 0b1000)] {
        let port = Device { flags: DeviceFlags::ATTACHED | DeviceFlags::PORT, networks, ..Device::default() };
        tables.devices.insert(ifindex, port);
    }
    let answer = |ifindex| decide(datagram(BACKEND, CLIENT).as_mut_slice(), &tables, &mut Scratch::default(), ifindex);
    assert_eq!(answer(BACKENDS), Verdict::Stack);
    assert_eq!(answer(ITS_NEIGHBOUR), Verdict::Stack, "one link: it may have another port of the container's");
    assert_eq!(answer(STRANGER), Verdict::Refused(Refusal::OtherNetwork));
}
