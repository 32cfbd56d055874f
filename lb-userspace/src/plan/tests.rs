//! Plans against a fake data plane, and a faulty one.

mod stage;
mod wishes;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use lb_common::Address;
use lb_common::abi::{self, AddressFlags, EndpointFlags, QuicIds, Service, ServiceFlags, VipKey};
use proptest::prelude::*;

use super::*;
use crate::dataplane::{Capacity, DataPlane, Fake, Faulty};
use crate::desired::Way;
use crate::server_id::ServerId;
use stage::{CAPACITY, apply, check, desired, forget, lingering, planned, send, settle, settle_with, vip};

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
