//! What a slot waits for before it settles, where chance does not lead the model.

use std::collections::BTreeSet;

use super::*;
use crate::handover::Facts;

/// What the registry says: that this backend is there, and no other.
fn only(tcp: bool, backend: u8) -> Event {
    Event::Registry { tcp, backends: [(backend, 1)].into() }
}

const fn backend(tcp: bool, backend: u8) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::new(10, 0, tcp as u8, backend))
}

/// Chance rarely lets a flood end just before a slot would settle.
#[test]
fn a_slot_waits_for_connections_for_which_there_was_no_room() {
    let mut world = World::new(IDLE_S);
    let clients = 0..20;
    world.run(&only(true, 1));
    world.run(&only(true, 2));
    world.pass(2 * IDLE_S, true);
    world.run(&Event::Flood { clients: 600 });
    assert!(clients.clone().all(|client| world.exchange(true, client, SYN) == backend(true, 1)));
    // By now an idle time-out has passed since the slots began to move, but not since these came.
    world.pass(2 * (IDLE_S - 2), true);
    assert!(clients.clone().all(|client| world.exchange(true, client, ACK) == backend(true, 1)));
}

/// Nothing comes between reading and writing in the model; where it does, it is seen when the slot is read again.
#[test]
fn a_slot_that_learns_stops_learning_before_it_settles() {
    let mut world = World::new(IDLE_S);
    world.run(&only(false, 1));
    world.run(&only(false, 2));
    let learns = |world: &World| world.tables().slots.iter().any(|slot| slot.is_learning());
    assert!(learns(&world));
    while learns(&world) {
        world.pass(1, true);
    }
    assert!(world.moving() > 0, "a flow that came meanwhile would go elsewhere");
    world.pass(2, true);
    assert_eq!(world.moving(), 0);
}

/// The model's own idle time-out is too short for it: connections that were half heard are forgotten, but not settled.
#[test]
fn a_slot_waits_for_connections_of_which_one_side_alone_was_heard() {
    const IDLE_S: u8 = 120;
    let mut world = World::new(IDLE_S);
    let (old, clients) = (backend(true, 1), 0..20);
    world.run(&only(true, 1));
    assert!(clients.clone().all(|client| world.exchange(true, client, SYN) == old));
    world.run(&only(true, 2));
    world.pass(2 * 60, true);
    assert!(clients.clone().all(|client| world.request(true, client, ACK) == old));
    world.pass(2 * 35, true);
    assert!(world.tables().flows.is_empty(), "they are not to keep the table full");
    // By now an idle time-out has passed since the slots began to move, but not since the clients spoke.
    world.pass(2 * 45, true);
    assert!(clients.clone().all(|client| world.exchange(true, client, ACK) == old));
    world.pass(2 * 125, true);
    assert_eq!(world.moving(), 0);
    assert!(world.tables().flows.is_empty());
}

/// Or a drain would be taken for done.
#[test]
fn a_sweep_that_cannot_read_forgets_nothing() {
    let mut world = World::new(IDLE_S);
    world.run(&only(true, 1));
    world.run(&only(true, 2));
    assert_eq!(world.exchange(true, 1, ACK), backend(true, 1));
    world.pass(2, true);
    let Controller { handover, state, .. } = world.controller();
    let before = handover.clone();
    assert_eq!((before.flows, before.left.len()), (1, 1));
    let facts = Facts {
        now_s: u32::MAX / 4,
        idle_s: &|_| IDLE_S.into(),
        flows: &[],
        slots: &|_| anyhow::bail!("no table"),
        stamps: &|_, _| Ok(Vec::new()),
        cut: &BTreeSet::new(),
    };
    assert!(handover.sweep(&facts, state).is_err());
    assert_eq!(*handover, before);
}
