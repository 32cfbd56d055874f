//! What holds for any bytes. Whole packets, through this build and the kernel's, are in tests/tests/decap.

use proptest::prelude::*;

use super::host::HostDecap;
use super::{Action, ClampOutcome, DecapOutcome, clamp, unwrap};
use crate::Address;
use crate::checksum::full;
use crate::host::HostFrame;

const SENDER: [u8; 4] = [10, 0, 0, 5];
const OURS: [u8; 4] = [10, 0, 1, 11];
const SENDER6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
const OURS6: [u8; 16] = [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11];

fn tables() -> HostDecap {
    HostDecap {
        senders: vec![(Address::from_v4(SENDER), 32), (Address::from_v6(SENDER6), 64)],
        ours: [Address::from_v4(OURS), Address::from_v6(OURS6)].into(),
        ..HostDecap::default()
    }
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("a packet's length").to_be_bytes()
}

fn v4(class: u8, protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let [high, low] = length(20 + payload.len());
    let mut header = [&[0x45, class, high, low, 0, 0, 0, 0, 64, protocol, 0, 0][..], &source, &destination].concat();
    let sum = full(&[&header]).to_ne_bytes();
    header[10..12].copy_from_slice(&sum);
    [&header[..], payload].concat()
}

fn v6(class: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = length(payload.len());
    [&[0x60 | class >> 4, class << 4, 0, 0, high, low, protocol, 64][..], &SENDER6, &OURS6, payload].concat()
}

/// A frame of a tunnel with these bytes inside.
fn tunnel(outer_v4: bool, gue: bool, class: u8, inner: &[u8]) -> Vec<u8> {
    let udp = [&[0xc3, 0x50, 0x17, 0xc0][..], &length(8 + inner.len()), &[0, 0], inner].concat();
    let version = inner.first().map_or(0, |first| first >> 4);
    let protocol = if gue { 17 } else { if version == 6 { 41 } else { 4 } };
    let payload = if gue { &udp } else { inner };
    let packet = if outer_v4 { v4(class, protocol, SENDER, OURS, payload) } else { v6(class, protocol, payload) };
    let kind: [u8; 2] = if outer_v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&[2; 12][..], &kind, &packet].concat()
}

/// Unwraps, and says what must be so whatever came in.
fn unwrapped(frame: &[u8]) -> (Vec<u8>, DecapOutcome) {
    let (mut packet, tables) = (HostFrame::new(frame), tables());
    let outcome = unwrap(&mut packet, &tables);
    let bytes = packet.bytes().to_vec();
    assert_eq!(tables.outcomes.borrow().iter().collect::<Vec<_>>(), [(&outcome, &1)]);
    if outcome.action() == Action::Unwrap {
        assert!(bytes.len() + 20 <= frame.len() && bytes.len() >= 14 + 20);
        assert_eq!(tables.unwrapped.borrow().len(), 1);
        assert_eq!(bytes[..12], frame[..12]);
        // All but the mark of congestion, and the checksum over it, is the end of what came.
        let end = &frame[frame.len() - (bytes.len() - 14)..];
        let marked = if bytes[14] >> 4 == 4 { vec![1, 10, 11] } else { vec![1] };
        if bytes[12] != 0x81 && bytes[12] != 0x88 {
            assert!((0..end.len()).all(|at| bytes[14 + at] == end[at] || marked.contains(&at)));
        }
    } else {
        assert_eq!(bytes, frame, "{outcome:?}");
        assert!(tables.unwrapped.borrow().is_empty());
    }
    (bytes, outcome)
}

proptest! {
    #[test]
    fn any_bytes_are_taken_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        unwrapped(&bytes);
        let tables = tables();
        tables.unwrapped.borrow_mut().insert(Address::from_v4([0; 4]), 20);
        clamp(&mut HostFrame::new(&bytes), &tables);
    }

    #[test]
    fn any_bytes_in_a_tunnel_are_taken_without_a_panic(
        outer_v4: bool,
        gue: bool,
        class: u8,
        first in prop_oneof![Just(0x45_u8), Just(0x46), Just(0x60), any::<u8>()],
        rest in proptest::collection::vec(any::<u8>(), 0..120),
        cut in 0..200_usize,
        changed in proptest::option::of((0..60_usize, any::<u8>())),
    ) {
        let mut frame = tunnel(outer_v4, gue, class, &[&[first][..], &rest].concat());
        if let Some((at, to)) = changed {
            frame[at % 34] = to;
        }
        frame.truncate(frame.len().max(cut) - cut.min(40));
        unwrapped(&frame);
    }

    #[test]
    fn what_was_wrapped_comes_out(
        outer_v4: bool,
        gue: bool,
        outer_class: u8,
        class: u8,
        protocol in prop_oneof![Just(1_u8), Just(6), Just(17), Just(132)],
        payload in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let inner = v4(class, protocol, [198, 51, 100, 7], [203, 0, 113, 10], &payload);
        let (bytes, outcome) = unwrapped(&tunnel(outer_v4, gue, outer_class, &inner));
        if class & 3 == 0 && outer_class & 3 == 3 {
            prop_assert_eq!(outcome, DecapOutcome::CongestionDrop);
        } else {
            prop_assert_eq!(outcome, if gue { DecapOutcome::Gue } else { DecapOutcome::Ipip });
            prop_assert_eq!(full(&[&bytes[14..34]]), 0);
            prop_assert_eq!(bytes[15] & !3, class & !3);
            prop_assert_eq!(&bytes[34..], &inner[20..]);
        }
    }

    #[test]
    fn a_lowered_mss_leaves_the_checksum_right(
        words in 0..=9_usize,
        mut options in proptest::collection::vec(prop_oneof![Just(1_u8), Just(2), Just(4), any::<u8>()], 40),
        mss: u16,
        at in 0..40_usize,
        overhead in 20..=48_u32,
    ) {
        options.truncate(4 * words);
        if at + 4 <= options.len() {
            options[..at].fill(1);
            let [high, low] = mss.to_be_bytes();
            options[at..at + 4].copy_from_slice(&[2, 4, high, low]);
        }
        let length = u8::try_from(20 + options.len()).expect("at most 60");
        let mut segment = vec![0, 80, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 2, (length / 4) << 4, 0x12, 0xff, 0xff, 0, 0, 0, 0];
        segment.extend(&options);
        let pseudo = [203, 0, 113, 10, 198, 51, 100, 7, 0, 6, 0, length];
        let sum = full(&[&pseudo, &segment]).to_ne_bytes();
        segment[16..18].copy_from_slice(&sum);
        let packet = v4(0, 6, [203, 0, 113, 10], [198, 51, 100, 7], &segment);
        let frame = [&[2; 12][..], &[0x08, 0x00], &packet].concat();
        let tables = tables();
        tables.unwrapped.borrow_mut().insert(Address::from_v4([203, 0, 113, 10]), overhead);
        let mut packet = HostFrame::new(&frame);
        let outcome = clamp(&mut packet, &tables).expect("a SYN-ACK");
        let clamped = packet.bytes().to_vec();
        prop_assert_eq!(full(&[&pseudo, &clamped[34..]]), 0);
        let most = 1500 - overhead - 40;
        if at + 4 <= options.len() {
            let found = u16::from_be_bytes([clamped[54 + at + 2], clamped[54 + at + 3]]);
            prop_assert_eq!(u32::from(found), most.min(mss.into()));
        }
        prop_assert_eq!(outcome == ClampOutcome::Lowered, clamped != frame);
    }
}

#[test]
fn a_prefix_of_no_bits_is_everybody() {
    use super::DecapTables as _;
    let v6 = HostDecap { senders: vec![(Address::from_v6([0; 16]), 0)], ..HostDecap::default() };
    assert!(v6.is_sender(&Address::from_v6(SENDER6)));
    let v4 = HostDecap { senders: vec![(Address::from_v4([0; 4]), 0)], ..HostDecap::default() };
    assert!(v4.is_sender(&Address::from_v4(SENDER)) && !v4.is_sender(&Address::from_v6(SENDER6)));
}
