//! A data plane, what is desired of it, and what becomes of packets there.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use lb_common::abi::Delivery;
use lb_common::host::HostFrame;
use lb_common::{Address, Verdict};

use super::*;
use crate::dataplane::{Capacity, DataPlane, Fake};
use crate::desired::{DesiredBackend, Way};
use crate::handover::{Facts, Handover, Settled};
use crate::vip::Protocol;

pub(super) const CAPACITY: Capacity =
    Capacity { services: 8, backends: 64, tables: 18, limits: 32, flows: 64, snat_flows: 64, ..Capacity::SMALL };

pub(super) fn vip(last: u8) -> Vip {
    Vip { address: IpAddr::from([192, 0, 2, last]), port: 80, protocol: Protocol::Tcp }
}

fn backend(last: u8, weight: u16) -> (SocketAddr, DesiredBackend) {
    let listens = SocketAddr::from(([10, 0, 0, last], 8080));
    let way = Way { delivery: Delivery::DEVICE, ifindex: 7, mtu: 1500, ..Way::STACK };
    (listens, DesiredBackend::new(format!("b{last}"), weight, Forward::Nat, way))
}

/// VIPs by their last byte, each with backends by theirs and their weights.
pub(super) fn desired(services: &[(u8, &[(u8, u16)])]) -> Desired {
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

pub(super) fn planned(plane: &impl DataPlane, state: &State, desired: &Desired) -> Vec<Step> {
    plan(desired, state, &|table| plane.slots(table)).unwrap()
}

pub(super) fn apply(plane: &mut Fake, state: &mut State, desired: &Desired) -> Vec<Step> {
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
pub(super) fn settle(plane: &mut Fake, state: &mut State, desired: &Desired) {
    settle_with(plane, state, desired, &BTreeSet::new());
}

/// As [`settle`], but flows of snat go on to these backends.
pub(super) fn settle_with(plane: &mut Fake, state: &mut State, desired: &Desired, snats: &BTreeSet<u32>) {
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
            let step = crate::plan::settle(&vip, &state.services[&vip], &mut table, changes);
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
pub(super) fn lingering(desired: &Desired, state: &State) -> Desired {
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
pub(super) fn send(plane: &Fake, vip: &Vip, client: u8) -> (Verdict, Option<IpAddr>) {
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
pub(super) fn forget(plane: &mut Fake) {
    let tables = &mut plane.tables;
    tables.flows.clear();
    tables.snats.get_mut().clear();
    tables.snat_replies.get_mut().clear();
    tables.ports.iter().for_each(|word| word.set(0));
}

/// The tables hold what is desired and nothing else.
pub(super) fn check(plane: &Fake, desired: &Desired) {
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
