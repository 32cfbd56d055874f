//! The MSS of SYN-ACKs.

use lb_common::decap::ClampOutcome;

use crate::frame::{CLIENT, CLIENT6, Ip, OURS, OURS6, SENDER, SENDER6, VIP, VIP6, request, tcp};
use crate::rig::Rig;

const SYN_ACK: u8 = 0x12;

fn mss(size: u16) -> [u8; 4] {
    let [high, low] = size.to_be_bytes();
    [2, 4, high, low]
}

/// A rig by which these packets came in.
fn after(tunnels: &[Ip]) -> Rig {
    let mut rig = Rig::new();
    for tunnel in tunnels {
        rig.send(&tunnel.frame());
    }
    rig
}

#[test]
fn what_the_tunnel_adds_is_left_free() {
    let (v4, v6) = (request(true), request(false));
    for (tunnel, vip, client, fits) in [
        (v4.ipip(SENDER, OURS), VIP, CLIENT, 1500 - 20 - 40),
        (v4.ipip(SENDER6, OURS6), VIP, CLIENT, 1500 - 40 - 40),
        (v4.gue(SENDER, OURS), VIP, CLIENT, 1500 - 28 - 40),
        (v4.gue(SENDER6, OURS6), VIP, CLIENT, 1500 - 48 - 40),
        (v6.ipip(SENDER, OURS), VIP6, CLIENT6, 1500 - 20 - 60),
        (v6.ipip(SENDER6, OURS6), VIP6, CLIENT6, 1500 - 40 - 60),
        (v6.gue(SENDER, OURS), VIP6, CLIENT6, 1500 - 28 - 60),
        (v6.gue(SENDER6, OURS6), VIP6, CLIENT6, 1500 - 48 - 60),
    ] {
        let mut rig = after(&[tunnel]);
        let syn_ack = |size| tcp(vip, client, SYN_ACK, &mss(size));
        for tags in [&[][..], &[[0x81, 0, 0, 42]]] {
            let left = rig.leave(&syn_ack(8960).tagged(tags));
            assert_eq!(left, (syn_ack(fits).tagged(tags), Some(ClampOutcome::Lowered)), "{vip}: {fits}");
        }
        assert_eq!(rig.leave(&syn_ack(fits + 1).frame()), (syn_ack(fits).frame(), Some(ClampOutcome::Lowered)));
        for small in [fits, 536, 0] {
            let frame = syn_ack(small).frame();
            assert_eq!(rig.leave(&frame), (frame.clone(), Some(ClampOutcome::SmallEnough)));
        }
    }
}

#[test]
fn of_several_tunnels_the_one_that_adds_most_counts() {
    let v4 = request(true);
    for tunnels in [[v4.ipip(SENDER, OURS), v4.gue(SENDER6, OURS6)], [v4.gue(SENDER6, OURS6), v4.ipip(SENDER, OURS)]] {
        let mut rig = after(&tunnels);
        let syn_ack = |size| tcp(VIP, CLIENT, SYN_ACK, &mss(size)).frame();
        assert_eq!(rig.leave(&syn_ack(1460)).0, syn_ack(1500 - 48 - 40));
    }
}

#[test]
fn wherever_the_option_is() {
    let mut rig = after(&[request(true).ipip(SENDER, OURS)]);
    let with = |before: &[u8], size: u16| {
        let mut options = [before, &mss(size)].concat();
        options.resize(options.len().next_multiple_of(4), 0);
        Ip { options: vec![1; 8], ..tcp(VIP, CLIENT, SYN_ACK, &options) }.frame()
    };
    for before in [
        &[][..],
        // At odd places the value lies across two words of the sum.
        &[1],
        &[1, 1],
        &[1, 1, 1],
        &[4, 2],
        &[3, 3, 7],
        &[8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 4, 2],
        &[1; 36],
        &[1; 35],
        &[19, 18, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 1, 1],
    ] {
        // A checksum whose carry runs over, and others.
        for size in [1441, 1460, 8960, 65_535] {
            let left = rig.leave(&with(before, size));
            assert_eq!(left, (with(before, 1440), Some(ClampOutcome::Lowered)), "{before:?}, {size}");
        }
    }
}

#[test]
fn options_that_are_none() {
    let mut rig = after(&[request(true).ipip(SENDER, OURS)]);
    for (what, options, outcome) in [
        ("no option", &[][..], ClampOutcome::NoOption),
        ("others", &[4, 2, 3, 3, 7, 1, 1, 1], ClampOutcome::NoOption),
        ("the end comes first", &[0, 0, 0, 0, 2, 4, 35, 0], ClampOutcome::NoOption),
        ("no operation at all", &[1; 40], ClampOutcome::NoOption),
        ("cut off by the header's end", &[1, 1, 2, 4], ClampOutcome::NoOption),
        ("one that is longer than the header", &[8, 250, 0, 0, 2, 4, 35, 0], ClampOutcome::NoOption),
        ("one without a length", &[8, 0, 0, 0, 2, 4, 35, 0], ClampOutcome::Unreadable),
        ("an MSS of another length", &[2, 6, 35, 0, 35, 0, 1, 1], ClampOutcome::NoOption),
        ("an MSS without a length", &[2, 0, 35, 0, 1, 1, 1, 1], ClampOutcome::Unreadable),
    ] {
        let frame = tcp(VIP, CLIENT, SYN_ACK, options).frame();
        assert_eq!(rig.leave(&frame), (frame.clone(), Some(outcome)), "{what}");
    }
    // The header says more than the frame has.
    let mut frame = tcp(VIP, CLIENT, SYN_ACK, &[]).frame();
    frame[46] = 0xf0;
    frame.truncate(54);
    assert_eq!(rig.leave(&frame), (frame.clone(), Some(ClampOutcome::Unreadable)));
}

#[test]
fn everything_else_leaves_as_it_is() {
    let mut rig = after(&[request(true).ipip(SENDER, OURS)]);
    let big = mss(8960);
    for (what, packet) in [
        ("a SYN", tcp(VIP, CLIENT, 0x02, &big)),
        ("an ACK", tcp(VIP, CLIENT, 0x10, &big)),
        ("a reset", tcp(VIP, CLIENT, 0x16, &big)),
        ("from another address", tcp(OURS, CLIENT, SYN_ACK, &big)),
        ("from the client", tcp(CLIENT, VIP, SYN_ACK, &big)),
        ("a later fragment", Ip { fragment: 1, ..tcp(VIP, CLIENT, SYN_ACK, &big) }),
        ("no TCP", Ip { protocol: 132, ..tcp(VIP, CLIENT, SYN_ACK, &big) }),
    ] {
        let frame = packet.frame();
        assert_eq!(rig.leave(&frame), (frame.clone(), None), "{what}");
    }
}
