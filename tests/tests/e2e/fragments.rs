//! Datagrams of 20 KB, which no path takes whole, there and back by every way to forward.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use weir_tests::lab::{Lab, Netns, tshark_verdict};

use crate::carried::GUE_PORT;
use crate::modes::{MODES, Mode, Yard, sniff};

const DATAGRAM: usize = 20_000;
/// From so many ports.
const FLOWS: usize = 20;
/// How long an answer may stay away before the datagram is sent again, as whoever speaks UDP has to.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often a datagram is sent at most. A client learns the path MTU of a tunnel from the datagram that was too large for
/// it, which is lost. With a hop behind, Weir has to learn, too: the second datagram gets as far as the hop, which tells
/// Weir, the third has Weir tell the client, and the fourth arrives.
const TRIES: usize = 4;

/// Sends a datagram until its answer comes; who answered, and how often it was sent.
fn exchange(client: &Netns, target: SocketAddr, seed: usize) -> (String, usize) {
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = client.run(|| UdpSocket::bind(any)).unwrap();
    socket.connect(target).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let byte = |index: usize| index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
    let sent: Vec<u8> = (seed..seed + DATAGRAM).map(byte).collect();
    let mut received = vec![0; 65_536];
    for tries in 1..=TRIES {
        // That it was too large is said here, too: what was told of the one before.
        if socket.send(&sent).is_err() {
            continue;
        }
        let Ok(length) = socket.recv(&mut received) else { continue };
        let name = received.iter().position(|byte| *byte == b' ').expect("a name and a space");
        assert_eq!(received[name + 1..length], sent, "{target}: what came back is what was sent");
        return (String::from_utf8(received[..name].to_vec()).unwrap(), tries);
    }
    panic!("{target}: no answer to {TRIES} datagrams")
}

fn all_arrive(yard: &Yard, most_tries: impl Fn(&Mode) -> usize) {
    let (lab, client) = (&yard.stand.lab, &yard.stand.lab.clients[0].netns);
    let sniffers = sniff(yard);
    for mode in &yard.modes {
        let answers: Vec<_> = (0..FLOWS).map(|seed| exchange(client, mode.echo(), seed)).collect();
        let first = answers[0].1;
        println!("{}: {FLOWS} datagrams of {DATAGRAM} bytes; the first was sent {first} times", mode.names[1]);
        assert!(first <= most_tries(mode), "{}: {answers:?}", mode.names[1]);
        for (name, tries) in &answers[1..] {
            assert!(mode.backends(lab).contains(&name.as_str()), "{name}");
            assert_eq!(*tries, 1, "{}: {answers:?}", mode.names[1]);
        }
    }
    for sniffer in sniffers {
        let verdict = tshark_verdict(&sniffer.stop().unwrap(), GUE_PORT).unwrap();
        println!("{verdict}");
        assert!(verdict.is_clean(), "{verdict}");
    }
    for refusal in ["fragment_without_first", "fragment_overlap", "fragment_table_full", "bad_fragment", "malformed"] {
        assert_eq!(yard.stand.refused(refusal), 0, "{refusal}");
    }
}

#[test]
fn datagrams_in_fragments_arrive_whole_by_every_mode() {
    let yard = Yard::new(Lab::builder(), &MODES, "", &[]);
    all_arrive(&yard, |mode| 1 + usize::from(mode.is_tunnel()));
}

#[test]
fn datagrams_in_fragments_arrive_whole_by_tunnels_through_a_hop_of_1400_bytes() {
    let modes: Vec<Mode> = MODES.into_iter().filter(Mode::is_tunnel).collect();
    let yard = Yard::new(Lab::builder().hop_mtu(1_400), &modes, "", &[]);
    all_arrive(&yard, |_| TRIES);
}
