//! Plans against a fake data plane, and a faulty one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use lb_common::Verdict;
use lb_common::abi::Service;
use proptest::prelude::*;

use super::*;
use crate::dataplane::{Capacity, DataPlane as _, Fake, Faulty};
use crate::desired::{BackendKey, DesiredBackend};
use crate::vip::Protocol;

const CAPACITY: Capacity = Capacity {
    services: 8,
    backends: 64,
    table_size: 251,
    tables: 18,
    limits: 32,
    sources: 16,
    flows: 16,
    devices: 16,
};

fn vip(last: u8) -> Vip {
    Vip { address: IpAddr::from([192, 0, 2, last]), port: 80, protocol: Protocol::Tcp }
}

fn backend(last: u8, weight: u16) -> (BackendKey, DesiredBackend) {
    let listens = SocketAddr::from(([10, 0, 0, last], 8080));
    let way = Way { delivery: lb_common::abi::Delivery::DEVICE, ifindex: 7, mtu: 1500, ..Way::STACK };
    (BackendKey { listens, id: format!("b{last}") }, DesiredBackend { weight, zone: None, way })
}

/// VIPs by their last byte, each with backends by theirs and their weights.
fn desired(services: &[(u8, &[(u8, u16)])]) -> Desired {
    let services = services
        .iter()
        .map(|&(last, backends)| {
            let backends = backends.iter().map(|&(last, weight)| backend(last, weight)).collect();
            let seed = u64::from(last);
            (vip(last), DesiredService { name: format!("s{last}"), seed, limits: Vec::new(), backends })
        })
        .collect();
    Desired { services, devices: BTreeMap::new() }
}

fn apply(plane: &mut Fake, state: &mut State, desired: &Desired) -> Vec<Step> {
    let steps = plan(desired, state).unwrap();
    for step in &steps {
        plane.apply(&step.op).unwrap();
        state.record(step);
    }
    steps
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
    let verdict = lb_common::decide(frame.as_mut_slice(), &plane.tables, 1);
    let to = IpAddr::from([frame[30], frame[31], frame[32], frame[33]]);
    (verdict, matches!(verdict, Verdict::Transmit { .. } | Verdict::Stack).then_some(to))
}

/// The tables hold what is desired and nothing else.
fn check(plane: &Fake, desired: &Desired) {
    let tables = &plane.tables;
    assert_eq!(tables.vips.len(), desired.services.len());
    let listening: BTreeSet<_> = desired.services.values().flat_map(|s| s.backends.keys().map(|k| k.listens)).collect();
    assert_eq!(tables.endpoints.len(), listening.len());
    let rows = tables.backends.iter().filter(|row| **row != Backend::default()).count();
    assert_eq!(rows, desired.services.values().map(|s| s.backends.len()).sum::<usize>());
    assert_eq!(tables.services.iter().filter(|head| **head != Service::default()).count(), desired.services.len());
    for (vip, service) in &desired.services {
        let taking: BTreeSet<IpAddr> =
            service.backends.iter().filter(|(_, b)| b.weight > 0).map(|(k, _)| k.listens.ip()).collect();
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
    assert_eq!(plan(&wanted, &state).unwrap(), []);
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
    assert_eq!(flags(&state), [ServiceFlags::REMEMBER_FLOWS; 2]);
    for (listens, endpoint) in &before {
        assert_eq!(state.endpoints.get(listens), Some(endpoint), "an endpoint stays with its first service");
    }
    // Flows are remembered for as long as packets go to a shared backend.
    let (flag, publish) =
        (|step: &Step| matches!(step.op, Op::SetFlags { .. }), |step: &Step| matches!(step.op, Op::Publish { .. }));
    let steps = apply(&mut plane, &mut state, &desired(&[(1, &[(1, 1)]), (2, &[(2, 1), (3, 1)])]));
    assert!(steps.iter().rposition(publish) < steps.iter().position(flag), "{steps:?}");
    let steps = apply(&mut plane, &mut state, &desired(&[(1, &[(1, 1), (2, 1)]), (2, &[(2, 1), (3, 1)])]));
    assert!(steps.iter().rposition(flag) < steps.iter().position(publish), "{steps:?}");
    // The first service goes: what it shared is the other's alone, and known for it.
    let last = desired(&[(2, &[(2, 1), (3, 1)])]);
    apply(&mut plane, &mut state, &last);
    assert_eq!(flags(&state), [0]);
    check(&plane, &last);
}

#[test]
fn a_map_that_is_too_small_is_said_and_nothing_is_begun() {
    let state = State::new(Capacity { backends: 1, ..CAPACITY });
    let error = plan(&desired(&[(1, &[(1, 1), (2, 1)])]), &state).unwrap_err();
    assert!(error.to_string().contains("backends"), "{error}");
}

type Wish = Vec<(u8, Vec<(u8, u16)>)>;

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let backends =
        proptest::collection::btree_map(1_u8..8, 0_u16..4, 0..6).prop_map(|b| b.into_iter().collect::<Vec<_>>());
    let services =
        proptest::collection::btree_map(1_u8..4, backends, 0..4).prop_map(|s| s.into_iter().collect::<Vec<_>>());
    proptest::collection::vec(services, 1..8)
}

fn granted(wish: &Wish) -> Desired {
    desired(&wish.iter().map(|(last, backends)| (*last, backends.as_slice())).collect::<Vec<_>>())
}

proptest! {
    /// Whatever is wished in whatever order, on a data plane that fails one write in ten: in the end it holds the last
    /// wish, and on the way no packet of a service that stays goes anywhere but to an old or a new backend.
    #[test]
    fn converges_though_writes_fail(wishes in wishes(), seed: u64) {
        let mut plane = Faulty::new(Fake::new(CAPACITY), 10, seed);
        let mut state = State::new(CAPACITY);
        let mut before = Desired::default();
        for wish in &wishes {
            let wanted = granted(wish);
            let mut tries = 0;
            loop {
                let steps = plan(&wanted, &state).unwrap();
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
                        let Some(new) = wanted.services.get(vip) else { continue };
                        let taking = |s: &DesiredService, to: IpAddr| s.backends.iter().any(|(k, b)| k.listens.ip() == to && b.weight > 0);
                        let nobody = |s: &DesiredService| s.backends.values().all(|b| b.weight == 0);
                        for client in 0..8 {
                            match send(&plane.inner, vip, client) {
                                (_, Some(to)) => prop_assert!(taking(old, to) || taking(new, to), "{vip} to {to} after {}", step.op),
                                (verdict, None) => prop_assert!(nobody(old) || nobody(new), "{vip}: {verdict:?} after {}", step.op),
                            }
                        }
                    }
                }
            }
            check(&plane.inner, &wanted);
            before = wanted;
        }
        plane.heal();
        apply(&mut plane.inner, &mut state, &Desired::default());
        check(&plane.inner, &Desired::default());
        prop_assert!(state.endpoints.is_empty() && state.services.is_empty());
    }
}
