//! Plans against a fake data plane, and a faulty one.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use lb_common::abi::{self, AddressFlags, Delivery, EndpointFlags, QuicIds, Service, ServiceFlags, VipKey};
use lb_common::host::HostFrame;
use lb_common::{Address, Verdict};
use proptest::prelude::*;

use super::*;
use crate::dataplane::{Capacity, DataPlane, Fake, Faulty};
use crate::desired::{DesiredBackend, Way};
use crate::handover::{Facts, Handover, Settled};
use crate::server_id::ServerId;
use crate::vip::Protocol;

const CAPACITY: Capacity =
    Capacity { services: 8, backends: 64, tables: 18, limits: 32, flows: 64, snat_flows: 64, ..Capacity::SMALL };

fn vip(last: u8) -> Vip {
    Vip { address: IpAddr::from([192, 0, 2, last]), port: 80, protocol: Protocol::Tcp }
}

fn backend(last: u8, weight: u16) -> (SocketAddr, DesiredBackend) {
    let listens = SocketAddr::from(([10, 0, 0, last], 8080));
    let way = Way { delivery: Delivery::DEVICE, ifindex: 7, mtu: 1500, ..Way::STACK };
    let share = u32::from(weight) * Backend::WEIGHT_ONE;
    let backend = DesiredBackend {
        id: format!("b{last}").into(),
        weight,
        share,
        lingers: false,
        zone: None,
        forward: Forward::Nat,
        server_id: None,
        way,
    };
    (listens, backend)
}

/// VIPs by their last byte, each with backends by theirs and their weights.
fn desired(services: &[(u8, &[(u8, u16)])]) -> Desired {
    let services = services
        .iter()
        .map(|&(last, backends)| {
            let backends = backends.iter().map(|&(last, weight)| backend(last, weight)).collect();
            let seed = u64::from(last);
            (vip(last), DesiredService { name: format!("s{last}"), seed, backends, ..DesiredService::default() })
        })
        .collect();
    Desired { services, ..Desired::default() }
}

fn planned(plane: &impl DataPlane, state: &State, desired: &Desired) -> Vec<Step> {
    plan(desired, state, &|table| plane.slots(table)).unwrap()
}

fn apply(plane: &mut Fake, state: &mut State, desired: &Desired) -> Vec<Step> {
    let steps = planned(plane, state, desired);
    for step in &steps {
        plane.apply(&step.op).unwrap();
        state.record(step);
    }
    steps
}

/// How long a silent flow is believed here, in seconds.
const IDLE_S: u32 = 5;

/// Lets time pass, without any packet, until nothing moves and nothing is left that nobody wants.
fn settle(plane: &mut Fake, state: &mut State, desired: &Desired) {
    settle_with(plane, state, desired, &BTreeSet::new());
}

/// As [`settle`], but flows of snat go on to these backends.
fn settle_with(plane: &mut Fake, state: &mut State, desired: &Desired, snats: &BTreeSet<u32>) {
    forget(plane);
    let mut handover = Handover::default();
    for _ in 0..3 {
        plane.tables.now_ns.set(plane.tables.now_ns.get() + u64::from(IDLE_S + 1) * 1_000_000_000);
        handover.begin(std::mem::take(&mut state.begun), plane.now_s() - IDLE_S - 1);
        let flows = plane.flows().unwrap();
        let facts = Facts {
            now_s: plane.now_s(),
            idle_s: &|_| IDLE_S,
            flows: &flows,
            slots: &|table| plane.slots(table),
            stamps: &|service, len| plane.stamps(service, len),
            cut: &BTreeSet::new(),
        };
        let sweep = handover.sweep(&facts, state).unwrap();
        plane.forget_flows(&sweep.ended).unwrap();
        for Settled { vip, mut table, changes } in sweep.slots {
            let step = super::settle(&vip, &state.services[&vip], &mut table, changes);
            plane.apply(&step.op).unwrap();
            state.record(&step);
        }
        plane.forget_flows(&sweep.settled).unwrap();
        state.unswept = sweep.living;
        state.snat_unswept.clone_from(snats);
        apply(plane, state, &lingering(desired, state));
    }
}

/// What is desired, and what is there that nobody wants any more, as [`crate::desired::merge`] has it.
fn lingering(desired: &Desired, state: &State) -> Desired {
    let mut desired = desired.clone();
    for (vip, held) in &state.services {
        let retires = || DesiredService { retires: true, ..DesiredService::default() };
        let service = desired.services.entry(*vip).or_insert_with(retires);
        for (listens, held) in &held.backends {
            let SocketAddr::V4(v4) = listens else { panic!("these tests speak IPv4") };
            let (_, gone) = backend(v4.ip().octets()[3], 0);
            let lingering = DesiredBackend { lingers: true, forward: held.forward(), ..gone };
            service.backends.entry(*listens).or_insert(lingering);
        }
    }
    desired
}

/// A SYN from one of 200 clients to a VIP, and where it is sent.
fn send(plane: &Fake, vip: &Vip, client: u8) -> (Verdict, Option<IpAddr>) {
    let mut frame = vec![0_u8; 54];
    frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    frame[16..18].copy_from_slice(&40_u16.to_be_bytes());
    frame[22] = 64;
    frame[23] = 6;
    frame[26..30].copy_from_slice(&[198, 51, 100, client]);
    let IpAddr::V4(address) = vip.address else { panic!("these tests speak IPv4") };
    frame[30..34].copy_from_slice(&address.octets());
    frame[34..38].copy_from_slice(&[4, 0, 0, 80]);
    frame[46] = 0x50;
    frame[47] = 0x02;
    let (verdict, to) = decided(plane, &frame);
    (verdict, matches!(verdict, Verdict::Transmit { .. } | Verdict::Stack).then_some(to).flatten())
}

/// The backend whose counter a frame moves: what leaves may have any destination.
fn decided(plane: &Fake, frame: &[u8]) -> (Verdict, Option<IpAddr>) {
    let tables = &plane.tables;
    tables.backend_traffic.borrow_mut().clear();
    let verdict = lb_common::decide(&mut HostFrame::new(frame), tables, &mut lb_common::Scratch::default(), 1);
    let id = tables.backend_traffic.borrow().keys().next().copied();
    (verdict, id.map(|id| tables.backends[id as usize].address.into()))
}

/// Forgets every flow.
fn forget(plane: &mut Fake) {
    let tables = &mut plane.tables;
    tables.flows.clear();
    tables.snats.get_mut().clear();
    tables.snat_replies.get_mut().clear();
    tables.ports.iter().for_each(|word| word.set(0));
}

/// The tables hold what is desired and nothing else.
fn check(plane: &Fake, desired: &Desired) {
    let tables = &plane.tables;
    assert_eq!(tables.vips.len(), desired.services.len());
    let replies = |row: &&Backend| row.address != Address::default() && (row.forward == 0 || row.pool != NO_POOL);
    let listening: BTreeSet<_> = tables.backends.iter().filter(replies).map(|row| (row.address, row.port)).collect();
    assert_eq!(tables.endpoints.len(), listening.len());
    let tunnels = |backend: &&DesiredBackend| backend.forward.is_tunnel();
    let ends = |(_, s): (&Vip, &DesiredService)| {
        s.backends.iter().filter(|(_, b)| tunnels(b)).map(|(k, _)| k.ip()).collect::<Vec<_>>()
    };
    let ends: BTreeSet<IpAddr> = desired.services.iter().flat_map(ends).collect();
    assert_eq!(tables.paths.borrow().len(), ends.len());
    let rows = tables.backends.iter().filter(|row| row.address != Address::default()).count();
    assert_eq!(rows, desired.services.values().map(|s| s.backends.len()).sum::<usize>());
    assert_eq!(tables.services.iter().filter(|head| **head != Service::default()).count(), desired.services.len());
    for (vip, service) in &desired.services {
        let taking: BTreeSet<IpAddr> =
            service.backends.iter().filter(|(_, b)| b.weight > 0).map(|(k, _)| k.ip()).collect();
        for client in 0..200 {
            let (verdict, to) = send(plane, vip, client);
            match to {
                Some(to) => assert!(taking.contains(&to), "{vip}: {to} is not one of {taking:?}"),
                None => assert!(taking.is_empty(), "{vip}: {verdict:?} with {taking:?}"),
            }
        }
    }
}

#[test]
fn an_applied_plan_leaves_nothing_to_plan() {
    let (mut plane, mut state) = (Fake::new(CAPACITY), State::new(CAPACITY));
    let wanted = desired(&[(1, &[(1, 100), (2, 200)]), (2, &[(3, 1)]), (3, &[])]);
    assert!(!apply(&mut plane, &mut state, &wanted).is_empty());
    assert_eq!(planned(&plane, &state, &wanted), []);
    check(&plane, &wanted);
}

#[test]
fn a_changed_way_moves_one_backend_and_no_table() {
    let (mut plane, mut state) = (Fake::new(CAPACITY), State::new(CAPACITY));
    let mut wanted = desired(&[(1, &[(1, 100), (2, 200)])]);
    apply(&mut plane, &mut state, &wanted);
    let backend = wanted.services.get_mut(&vip(1)).unwrap().backends.values_mut().next().unwrap();
    backend.way = Way::STACK;
    let steps = apply(&mut plane, &mut state, &wanted);
    assert!(matches!(steps.as_slice(), [Step { op: Op::MoveBackend { .. }, .. }]), "{steps:?}");
}

#[test]
fn backends_of_two_services_have_their_flows_remembered() {
    let (mut plane, mut state) = (Fake::new(CAPACITY), State::new(CAPACITY));
    let flags = |state: &State| state.services.values().map(|s| s.head.flags).collect::<Vec<_>>();
    apply(&mut plane, &mut state, &desired(&[(1, &[(1, 1), (2, 1)]), (2, &[(3, 1)])]));
    assert_eq!(flags(&state), [0, 0]);
    let before = state.endpoints.clone();
    apply(&mut plane, &mut state, &desired(&[(1, &[(1, 1), (2, 1)]), (2, &[(2, 1), (3, 1)])]));
    assert_eq!(flags(&state), [ServiceFlags::REMEMBER_REPLIES; 2]);
    for (listens, endpoint) in &before {
        assert_eq!(state.endpoints.get(listens), Some(endpoint), "an endpoint stays with its first service");
    }
    // Flows are remembered for as long as packets go to a shared backend.
    let (flag, publish) =
        (|step: &Step| matches!(step.op, Op::SetFlags { .. }), |step: &Step| matches!(step.op, Op::Publish { .. }));
    let one = desired(&[(1, &[(1, 1)]), (2, &[(2, 1), (3, 1)])]);
    let steps = {
        let wanted = lingering(&one, &state);
        apply(&mut plane, &mut state, &wanted)
    };
    assert!(steps.iter().any(publish) && !steps.iter().any(flag), "it still has connections there: {steps:?}");
    settle(&mut plane, &mut state, &one);
    assert_eq!(flags(&state), [0, 0]);
    let steps = apply(&mut plane, &mut state, &desired(&[(1, &[(1, 1), (2, 1)]), (2, &[(2, 1), (3, 1)])]));
    assert!(steps.iter().rposition(flag) < steps.iter().position(publish), "{steps:?}");
    // The first service goes: what it shared is the other's alone, and known for it.
    let last = desired(&[(2, &[(2, 1), (3, 1)])]);
    let wanted = lingering(&last, &state);
    apply(&mut plane, &mut state, &wanted);
    settle(&mut plane, &mut state, &last);
    assert_eq!(flags(&state), [0]);
    check(&plane, &last);
}

/// What is desired, with other modes for backends, by their last byte.
fn forwarded(mut desired: Desired, modes: &[(u8, Forward)]) -> Desired {
    for service in desired.services.values_mut() {
        for (listens, backend) in &mut service.backends {
            let SocketAddr::V4(v4) = listens else { panic!("these tests speak IPv4") };
            if let Some((_, forward)) = modes.iter().find(|(last, _)| *last == v4.ip().octets()[3]) {
                backend.forward = *forward;
            }
        }
    }
    desired
}

/// The row of a backend, by its last byte.
fn row_of(plane: &Fake, last: u8) -> Backend {
    let address = Address::from(IpAddr::from([10, 0, 0, last]));
    *plane.tables.backends.iter().find(|row| row.address == address).expect("there is one")
}

#[test]
fn each_mode_has_what_it_needs_before_packets_go_that_way() {
    let (mut plane, mut state) = (Fake::new(CAPACITY), State::new(CAPACITY));
    let nat = desired(&[(1, &[(1, 100), (2, 200)])]);
    apply(&mut plane, &mut state, &nat);
    let listens = |last: u8| VipKey::new(IpAddr::from([10, 0, 0, last]).into(), 8080_u16.to_be_bytes(), 6);
    let flags = |plane: &Fake, last: u8| plane.tables.endpoints.get(&listens(last)).map(|endpoint| endpoint.flags);
    assert_eq!(flags(&plane, 1), Some(EndpointFlags::NAT));

    // From nat to snat: replies are recognised, and flows looked for, before there are such.
    let snat = forwarded(nat.clone(), &[(1, Forward::Snat)]);
    let steps = apply(&mut plane, &mut state, &snat);
    let seen: Vec<&str> = steps
        .iter()
        .map(|step| match step.op {
            Op::SetFlags { flags: ServiceFlags::SNAT, .. } => "flags",
            Op::PutEndpoint { endpoint, .. } if endpoint.flags == EndpointFlags::NAT | EndpointFlags::SNAT => "both",
            Op::MoveBackend { backend, .. } if backend.forward == abi::Forward::SNAT => "row",
            Op::PutEndpoint { endpoint, .. } if endpoint.flags == EndpointFlags::SNAT => "snat alone",
            _ => panic!("{}", step.op),
        })
        .collect();
    assert_eq!(seen, ["flags", "both", "row", "snat alone"]);
    let pool = row_of(&plane, 1).pool;
    assert_ne!(pool, NO_POOL);
    assert_eq!(row_of(&plane, 2).pool, NO_POOL);

    // And on to a tunnel: the path is known first, and the flows that there are keep their ports.
    let gue = forwarded(nat.clone(), &[(1, Forward::Gue), (2, Forward::L2)]);
    let steps = apply(&mut plane, &mut state, &gue);
    let path = steps.iter().position(|step| matches!(step.op, Op::PutPath { .. }));
    let row = steps.iter().position(|step| matches!(step.op, Op::MoveBackend { .. }));
    assert!(path.is_some() && path < row, "{steps:?}");
    assert_eq!((row_of(&plane, 1).forward, row_of(&plane, 1).pool), (abi::Forward::GUE, pool));
    assert_eq!((flags(&plane, 1), flags(&plane, 2)), (Some(EndpointFlags::SNAT), None));
    assert_eq!(state.services[&vip(1)].head.flags, ServiceFlags::SNAT);
    assert_eq!(planned(&plane, &state, &gue), []);

    // Whoever takes over finds all of it.
    let mut adopted = adopt(CAPACITY, &plane.dump().unwrap(), &|table| plane.slots(table)).unwrap();
    adopted.state.rename(&gue);
    assert_eq!((adopted.repairs, planned(&plane, &adopted.state, &gue)), (vec![], vec![]));
    assert_eq!(adopted.state.free_pools(), state.free_pools());

    // Back again: the path is forgotten, and the row goes with its ports when no flow is left.
    apply(&mut plane, &mut state, &nat);
    assert!(plane.tables.paths.borrow().is_empty());
    let less = desired(&[(1, &[(2, 200)])]);
    let wanted = lingering(&less, &state);
    apply(&mut plane, &mut state, &wanted);
    assert_eq!(state.free_pools(), 3);
    settle(&mut plane, &mut state, &less);
    assert_eq!(state.free_pools(), 4);
    assert_eq!(state.services[&vip(1)].head.flags, 0);
}

#[test]
fn ports_that_were_given_back_rest() {
    let (mut plane, mut state) = (Fake::new(CAPACITY), State::new(CAPACITY));
    let snat = |last: u8| forwarded(desired(&[(1, &[(last, 1)])]), &[(last, Forward::Snat)]);
    let mut pools = Vec::new();
    for last in 1..6 {
        let wanted = snat(last);
        let lingers = lingering(&wanted, &state);
        apply(&mut plane, &mut state, &lingers);
        pools.push(row_of(&plane, last).pool);
        settle(&mut plane, &mut state, &wanted);
    }
    assert_eq!(pools, [0, 1, 2, 3, 0]);
    // A backend that some flow goes to keeps its row, and so its ports.
    let id = state.services[&vip(1)].backends.values().next().unwrap().id;
    let none = desired(&[(1, &[])]);
    let wanted = lingering(&none, &state);
    apply(&mut plane, &mut state, &wanted);
    settle_with(&mut plane, &mut state, &none, &[id].into());
    assert_eq!((state.free_pools(), row_of(&plane, 5).pool), (3, 0));
}

#[test]
fn what_is_known_around_services_follows_them() {
    let (mut plane, mut state) = (Fake::new(CAPACITY), State::new(CAPACITY));
    let address = |last: u8| Address::from(IpAddr::from([192, 0, 2, last]));
    let own = address(99);
    let mut wanted = desired(&[(1, &[(1, 1)]), (2, &[(2, 1)])]);
    wanted.addresses = [(address(1), AddressFlags::VIP | AddressFlags::ECHO), (address(2), AddressFlags::VIP)].into();
    wanted.addresses.insert(own, AddressFlags::SNAT);
    wanted.settings.snat_v4[0] = own;
    let quic = QuicIds::new(1, 2);
    let id = |text: &str| ServerId::parse(text);
    let service = wanted.services.get_mut(&vip(1)).unwrap();
    service.quic = quic;
    service.backends.values_mut().next().unwrap().server_id = id("ab01");
    let steps = apply(&mut plane, &mut state, &wanted);
    let at = |is: fn(&Op) -> bool| steps.iter().position(|step| is(&step.op));
    assert!(at(|op| matches!(op, Op::PutAddress { .. })) < at(|op| matches!(op, Op::PutSettings { .. })));
    assert!(at(|op| matches!(op, Op::PutSettings { .. })) < at(|op| matches!(op, Op::PutBackend { .. })));
    assert!(at(|op| matches!(op, Op::PutQuicServer { .. })) < at(|op| matches!(op, Op::PutVip { .. })));
    assert_eq!(plane.tables.addresses, wanted.addresses);
    let held = state.services[&vip(1)].clone();
    let backend = held.backends.values().next().unwrap().id;
    assert_eq!(plane.tables.quic_servers, [(id("ab01").unwrap().key(held.id), backend)].into());

    // Another id for the backend, and another service for the ids.
    let service = wanted.services.get_mut(&vip(1)).unwrap();
    service.backends.values_mut().next().unwrap().server_id = id("ab02");
    apply(&mut plane, &mut state, &wanted);
    assert_eq!(plane.tables.quic_servers, [(id("ab02").unwrap().key(held.id), backend)].into());
    wanted.services.get_mut(&vip(1)).unwrap().quic = QuicIds::NONE;
    apply(&mut plane, &mut state, &wanted);
    assert!(plane.tables.quic_servers.is_empty());
    assert_eq!(plane.tables.services[held.id as usize].quic, QuicIds::NONE);

    // The address of a service goes with it; one that flows leave from, when they have ended.
    let mut less = desired(&[(2, &[(2, 1)])]);
    less.addresses = [(address(1), AddressFlags::VIP), (address(2), AddressFlags::VIP)].into();
    let lingers = lingering(&less, &state);
    apply(&mut plane, &mut state, &lingers);
    assert!(plane.tables.addresses[&address(1)] & AddressFlags::VIP != 0, "it still has connections");
    settle(&mut plane, &mut state, &less);
    assert_eq!(plane.tables.addresses, [(address(2), AddressFlags::VIP), (own, AddressFlags::SNAT)].into());
    state.snat_sources.clear();
    apply(&mut plane, &mut state, &less);
    assert_eq!(plane.tables.addresses, [(address(2), AddressFlags::VIP)].into());
    assert_eq!(planned(&plane, &state, &less), []);
}

#[test]
fn a_map_that_is_too_small_is_said_and_nothing_is_begun() {
    let state = State::new(Capacity { backends: 1, ..CAPACITY });
    let error = plan(&desired(&[(1, &[(1, 1), (2, 1)])]), &state, &|_| Ok(Vec::new())).unwrap_err();
    assert!(error.to_string().contains("backends"), "{error}");
}

#[test]
fn a_row_whose_writer_was_killed_is_written_again() {
    let (mut plane, mut state) = (Fake::new(CAPACITY), State::new(CAPACITY));
    let wanted = desired(&[(1, &[(1, 100), (2, 200)])]);
    apply(&mut plane, &mut state, &wanted);
    let id = plane.tables.backends.iter().position(|row| row.delivery != 0).unwrap();
    plane.tables.backends[id].version = 7;
    let Adopted { state, repairs } = adopt(CAPACITY, &plane.dump().unwrap(), &|table| plane.slots(table)).unwrap();
    assert_eq!(repairs, []);
    let steps = planned(&plane, &state, &wanted);
    let writes = |step: &Step| matches!(step.op, Op::MoveBackend { id: written, .. } if written as usize == id);
    assert!(steps.len() == 1 && steps.iter().all(writes), "{steps:?}");
}

#[test]
fn what_nobody_finds_is_taken_away() {
    let (mut plane, mut state) = (Fake::new(CAPACITY), State::new(CAPACITY));
    apply(&mut plane, &mut state, &desired(&[(1, &[(1, 100)])]));
    let service = plane.tables.backends.iter().find(|row| row.delivery != 0).unwrap().service;
    // A row, and a head, that a killed controller had just written.
    plane.tables.backends[40] = Backend { service: 7, ..plane.tables.backends[service as usize] };
    plane.tables.services[5] = Service { vip: vip_key(&vip(1)), ..Service::default() };
    plane.tables.slots[3] = Slot::moving(60, 61, true);
    let Adopted { state, repairs } = adopt(CAPACITY, &plane.dump().unwrap(), &|table| plane.slots(table)).unwrap();
    let expected = [
        |op: &Op| matches!(op, Op::RemoveService { id: 5 }),
        |op: &Op| matches!(op, Op::RemoveBackend { id: 40 }),
        |op: &Op| matches!(op, Op::WriteSlots { slots, .. } if **slots == [(3, Slot::settled(Slot::NOBODY))]),
    ];
    assert!(repairs.len() == 3 && expected.iter().zip(&repairs).all(|(is, op)| is(op)), "{repairs:?}");
    assert_eq!(state.services.len(), 1);
}

/// Services, and their backends with weights; and the mode of backends, by their last byte modulo 4.
type Wish = (Vec<(u8, Vec<(u8, u16)>)>, [Forward; 4]);

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let backends =
        proptest::collection::btree_map(1_u8..8, 0_u16..4, 0..6).prop_map(|b| b.into_iter().collect::<Vec<_>>());
    let services =
        proptest::collection::btree_map(1_u8..4, backends, 0..4).prop_map(|s| s.into_iter().collect::<Vec<_>>());
    let mode = || {
        prop_oneof![
            4 => Just(Forward::Nat),
            1 => Just(Forward::Snat),
            1 => Just(Forward::L2),
            1 => Just(Forward::Ipip),
            1 => Just(Forward::Gue),
        ]
    };
    let modes = [mode(), mode(), mode(), mode()];
    proptest::collection::vec((services, modes), 1..8)
}

fn granted(wish: &Wish) -> Desired {
    let (services, modes) = wish;
    let desired = desired(&services.iter().map(|(last, backends)| (*last, backends.as_slice())).collect::<Vec<_>>());
    let mut granted =
        forwarded(desired, &(1..8).map(|last: u8| (last, modes[usize::from(last % 4)])).collect::<Vec<_>>());
    // Backends of snat leave from here, and there are tunnels.
    granted.settings.snat_v4[0] = IpAddr::from([192, 0, 2, 99]).into();
    granted.settings.tunnel_v4 = IpAddr::from([192, 0, 2, 98]).into();
    granted.settings.stride = ROOMY.snat_stride;
    granted
}

/// Ports for whoever may want some.
const ROOMY: Capacity = Capacity { snat_flows: 4096, snat_pools: 40, snat_stride: 1, ..CAPACITY };

proptest! {
    /// Whatever is wished in whatever order, on a data plane that fails one write in ten: in the end it holds the last
    /// wish, and on the way no packet of a service that stays goes anywhere but to an old or a new backend.
    #[test]
    fn converges_though_writes_fail(wishes in wishes(), seed: u64) {
        let mut plane = Faulty::new(Fake::new(ROOMY), 10, seed);
        let mut state = State::new(ROOMY);
        let mut before = Desired::default();
        for wish in &wishes {
            let wished = granted(wish);
            let mut tries = 0;
            loop {
                let wanted = lingering(&wished, &state);
                let steps = planned(&plane, &state, &wanted);
                if steps.is_empty() {
                    break;
                }
                tries += 1;
                prop_assert!(tries < 1000, "does not converge");
                for step in &steps {
                    if plane.apply(&step.op).is_err() {
                        break;
                    }
                    state.record(step);
                    for (vip, old) in &before.services {
                        let Some(new) = wished.services.get(vip) else { continue };
                        let taking = |s: &DesiredService, to: IpAddr| s.backends.iter().any(|(k, b)| k.ip() == to && b.weight > 0);
                        let nobody = |s: &DesiredService| s.backends.values().all(|b| b.weight == 0);
                        for client in 0..8 {
                            match send(&plane.inner, vip, client) {
                                (_, Some(to)) => prop_assert!(taking(old, to) || taking(new, to), "{vip} to {to} after {}", step.op),
                                (verdict, None) => prop_assert!(nobody(old) || nobody(new), "{vip}: {verdict:?} after {}", step.op),
                            }
                        }
                    }
                    forget(&mut plane.inner);
                }
            }
            settle(&mut plane.inner, &mut state, &wished);
            check(&plane.inner, &wished);
            // Whoever begins anew finds just these books.
            let dump = plane.dump().unwrap();
            let mut adopted = adopt(ROOMY, &dump, &|table| plane.slots(table)).unwrap();
            adopted.state.rename(&wished);
            prop_assert!(adopted.repairs.is_empty(), "{:?}", adopted.repairs);
            prop_assert_eq!(&adopted.state.services, &state.services);
            prop_assert_eq!(&adopted.state.endpoints, &state.endpoints);
            prop_assert_eq!(planned(&plane, &adopted.state, &wished), []);
            before = wished;
        }
        plane.heal();
        let nothing = Desired::default();
        let wanted = lingering(&nothing, &state);
        apply(&mut plane.inner, &mut state, &wanted);
        settle(&mut plane.inner, &mut state, &nothing);
        check(&plane.inner, &nothing);
        prop_assert!(state.endpoints.is_empty() && state.services.is_empty());
    }

    /// Planned for some services at a time, the data plane ends up as if all had been planned at once; and once it is in
    /// step, what nobody touched need not be planned.
    #[test]
    fn parts_make_the_whole(wishes in wishes()) {
        let (mut plane, mut state) = (Fake::new(ROOMY), State::new(ROOMY));
        for wish in &wishes {
            let wished = granted(wish);
            let known = |mut wanted: Desired| {
                let known = wanted.services.keys().map(|vip| (vip.address.into(), AddressFlags::VIP));
                wanted.addresses = known.collect();
                wanted
            };
            let wanted = known(lingering(&wished, &state));
            let before = state.services.clone();
            let each = wanted.services.keys().map(|vip| BTreeSet::from([*vip]));
            // Also for none there is what belongs to no single one.
            for scope in std::iter::once(BTreeSet::new()).chain(each) {
                for step in plan_part(&wanted, &state, &scope, &|table| plane.slots(table)).unwrap().steps {
                    plane.apply(&step.op).unwrap();
                    state.record(&step);
                }
            }
            // Who has left is not to come back.
            let wanted = known(lingering(&wished, &state));
            prop_assert_eq!(planned(&plane, &state, &wanted), [], "from {:?}", before);
            let mut listening = State::new(ROOMY);
            listening.services.clone_from(&state.services);
            listening.index();
            prop_assert_eq!(&listening.listening, &state.listening);
            settle(&mut plane, &mut state, &wished);
            check(&plane, &wished);
        }
    }

    /// A controller that is killed between any two writes: the next one repairs what was half done, and gets on.
    #[test]
    fn is_taken_over_after_any_write(wishes in wishes(), stop in 0_usize..60) {
        let mut plane = Fake::new(ROOMY);
        let mut state = State::new(ROOMY);
        let mut left = stop;
        for wish in &wishes {
            let wished = granted(wish);
            for step in planned(&plane, &state, &lingering(&wished, &state)) {
                if left == 0 {
                    // Killed: only the data plane knows.
                    let dump = plane.dump().unwrap();
                    let Adopted { state: mut taken, repairs } = adopt(ROOMY, &dump, &|table| plane.slots(table)).unwrap();
                    for repair in &repairs {
                        plane.apply(repair).unwrap();
                    }
                    let wanted = lingering(&wished, &taken);
                    apply(&mut plane, &mut taken, &wanted);
                    taken.rename(&wished);
                    settle(&mut plane, &mut taken, &wished);
                    check(&plane, &wished);
                    return Ok(());
                }
                left -= 1;
                plane.apply(&step.op).unwrap();
                state.record(&step);
            }
            forget(&mut plane);
        }
    }
}
