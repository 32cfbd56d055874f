//! Clients that speak to a backend's own address.

use lb_common::Refusal;

use crate::frame::{ACK, Frame, SYN, at, tcp, udp};
use crate::rig::{Fate, Rig};
use crate::world::{CLIENT, CLIENT_MAC, FRONT_MAC};

#[test]
fn their_replies_are_left_alone() {
    let mut rig = Rig::new();
    let (client, backend) = (at(CLIENT, 40_000), at("10.0.1.11", 8080));
    for frame in [tcp(client, backend, SYN), tcp(backend, client, SYN | ACK), tcp(client, backend, ACK)] {
        assert_eq!(rig.send(&frame.bytes()), (Fate::Pass(frame.bytes()), Some(Refusal::Direct)));
    }
    let dns = at("10.0.1.11", 5353);
    for frame in [udp(client, dns), udp(dns, client)] {
        assert_eq!(rig.send(&frame.bytes()), (Fate::Pass(frame.bytes()), Some(Refusal::Direct)));
    }
}

#[test]
fn a_port_that_was_used_directly_can_be_used_for_the_vip_next() {
    let mut rig = Rig::new();
    let (client, backend, vip) = (at(CLIENT, 40_000), at("10.0.1.11", 8080), at("203.0.113.10", 80));
    rig.send(&tcp(client, backend, SYN).bytes());
    assert!(matches!(rig.send(&tcp(client, vip, SYN).bytes()), (Fate::Redirect(_), None)));
    let reply = tcp(backend, client, SYN | ACK);
    let expected = Frame { source: vip, ..reply.clone() }.sent(CLIENT_MAC, FRONT_MAC);
    assert_eq!(rig.send(&reply.bytes()), (Fate::Redirect(expected.bytes()), None));
}

#[test]
fn a_stray_segment_does_not_take_a_remembered_connection() {
    let mut rig = Rig::new();
    // The backend serves two services, so that the flow is remembered for the VIP.
    let (client, backend, vip) = (at(CLIENT, 40_000), at("10.0.1.20", 8080), at("203.0.113.71", 80));
    rig.send(&tcp(client, vip, SYN).bytes());
    assert_eq!(rig.send(&tcp(client, backend, ACK).bytes()).1, Some(Refusal::Direct));
    let reply = tcp(backend, client, ACK);
    let expected = Frame { source: vip, ..reply.clone() }.sent(CLIENT_MAC, FRONT_MAC);
    assert_eq!(rig.send(&reply.bytes()), (Fate::Redirect(expected.bytes()), None));
}

#[test]
fn a_new_direct_connection_takes_a_port_that_was_used_for_the_vip() {
    let mut rig = Rig::new();
    let (client, backend, vip) = (at(CLIENT, 40_000), at("10.0.1.20", 8080), at("203.0.113.71", 80));
    rig.send(&tcp(client, vip, SYN).bytes());
    for frame in [tcp(client, backend, SYN), tcp(backend, client, SYN | ACK)] {
        assert_eq!(rig.send(&frame.bytes()), (Fate::Pass(frame.bytes()), Some(Refusal::Direct)));
    }
}

#[test]
fn backends_that_the_hash_does_not_lead_to_are_spoken_to_directly_too() {
    let mut rig = Rig::new();
    let client = at(CLIENT, 40_001);
    for last in 1..=7 {
        let backend = at(&format!("10.0.2.{last}"), 80);
        for frame in [tcp(client, backend, SYN), tcp(backend, client, SYN | ACK)] {
            assert_eq!(rig.send(&frame.bytes()), (Fate::Pass(frame.bytes()), Some(Refusal::Direct)));
        }
    }
}
