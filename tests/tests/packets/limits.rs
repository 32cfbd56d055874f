//! Packets that press on a limit. The rates are so low that no second packet fits within a test's time.

use lb_common::Refusal;

use crate::frame::{Frame, at, udp};
use crate::rig::{Fate, Rig};

fn forwarded(rig: &mut Rig, frame: &Frame) -> Option<Refusal> {
    match rig.send(&frame.bytes()) {
        (Fate::Redirect(_), None) => None,
        (Fate::Drop, refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_source_has_a_bucket_of_its_own() {
    let mut rig = Rig::new();
    let frame = |last: u8, port| udp(at(&format!("198.51.100.{last}"), port), at("203.0.113.50", 53));
    assert_eq!(forwarded(&mut rig, &frame(1, 1000)), None);
    assert_eq!(forwarded(&mut rig, &frame(1, 1000)), Some(Refusal::OverSourceLimit));
    assert_eq!(forwarded(&mut rig, &frame(1, 2000)), Some(Refusal::OverSourceLimit));
    assert_eq!(forwarded(&mut rig, &frame(2, 1000)), None);
    assert_eq!(forwarded(&mut rig, &frame(2, 1000)), Some(Refusal::OverSourceLimit));
    assert_eq!(rig.traffic("203.0.113.50:53/udp").packets, 2);
}

#[test]
fn a_service_has_one_bucket() {
    let mut rig = Rig::new();
    let frame = |last: u8| udp(at(&format!("198.51.100.{last}"), 1000), at("203.0.113.51", 53));
    assert_eq!(forwarded(&mut rig, &frame(1)), None);
    assert_eq!(forwarded(&mut rig, &frame(2)), Some(Refusal::OverServiceLimit));
    assert_eq!(forwarded(&mut rig, &frame(3)), Some(Refusal::OverServiceLimit));
}

#[test]
fn what_a_source_may_not_send_costs_the_others_nothing() {
    let mut rig = Rig::new();
    // 728 bytes of layer 3 each; the service takes 1,000 at once, and each source may send one.
    let frame = |last: u8, payload| Frame {
        payload: vec![0; payload],
        ..udp(at(&format!("198.51.100.{last}"), 1000), at("203.0.113.52", 53))
    };
    assert_eq!(forwarded(&mut rig, &frame(1, 700)), None);
    for _ in 0..10 {
        assert_eq!(forwarded(&mut rig, &frame(1, 700)), Some(Refusal::OverSourceLimit));
    }
    assert_eq!(forwarded(&mut rig, &frame(2, 700)), Some(Refusal::OverServiceLimit));
    assert_eq!(forwarded(&mut rig, &frame(3, 200)), None);
}
