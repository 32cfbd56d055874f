//! Packets made up, through both builds: they must agree on every one, whatever it is, and on what they remember of it.
//!
//! `cargo xtask fuzz --packets N --seed S` runs this with other numbers.

use std::time::{Duration, Instant};

use lb_common::Refusal;
use weir_tests::fuzz::{Packets, World, shrink};

use crate::both::Both;
use crate::found::FOUND;
use crate::stage::Stage;
use crate::world::namespace;

/// How many packets `cargo test` sends.
const PACKETS: u64 = 200_000;

/// How many are sent to one world: fewer than any table has room for.
const ROUND: u64 = 50_000;

/// How long the least is sought that shows a difference.
const SHRINKING: Duration = Duration::from_secs(60);

/// After how many packets counters are compared, and everything that is remembered.
const OFTEN: u64 = 1_000;
const NOW_AND_THEN: u64 = 10_000;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// A difference, and all packets up to it.
struct Difference {
    said: String,
    packets: Vec<Vec<u8>>,
}

/// Sends packets to the world of a seed, and says how many were forwarded. It ends early where the clocks of both showed
/// different seconds.
fn round(seed: u64, count: u64, front: u32) -> Result<u64, Difference> {
    let world = World::new(seed);
    let mut both = Both::new(&Stage::of_world(&world, front), front);
    let mut packets = Packets::new(&world, seed);
    let mut sent = Vec::new();
    let mut forwarded = 0;
    for number in 1..=count {
        let frame = packets.make();
        let result = both.send(&frame);
        sent.push(frame);
        let result = result.and_then(|(seen, refusal)| {
            if refusal.is_none_or(|refusal| refusal == Refusal::TooBig) {
                forwarded += 1;
                seen.bytes().into_iter().for_each(|out| packets.remember(out));
            }
            if number % NOW_AND_THEN == 0 || number == count {
                both.compare_state()
            } else if number % OFTEN == 0 {
                both.compare_counters()
            } else {
                Ok(())
            }
        });
        if both.is_torn() {
            return Ok(forwarded);
        }
        if let Err(said) = result {
            return Err(Difference { said, packets: sent });
        }
    }
    Ok(forwarded)
}

/// What the world of a seed says to these packets alone, when that is not the same.
fn differs(seed: u64, packets: &[Vec<u8>], front: u32) -> Option<String> {
    let mut both = Both::new(&Stage::of_world(&World::new(seed), front), front);
    differs_in(&mut both, packets).filter(|_| !both.is_torn())
}

fn differs_in(both: &mut Both, packets: &[Vec<u8>]) -> Option<String> {
    packets.iter().find_map(|packet| both.send(packet).err()).or_else(|| both.compare_state().err())
}

#[test]
fn host_and_kernel_agree_on_packets_made_up() {
    let front = namespace();
    let (packets, first) = (number("WEIR_FUZZ_PACKETS", PACKETS), number("WEIR_FUZZ_SEED", 1));
    let begin = Instant::now();
    let (mut sent, mut forwarded) = (0, 0);
    for seed in first.. {
        let count = ROUND.min(packets - sent);
        if count == 0 {
            break;
        }
        match round(seed, count, front) {
            Ok(some) => forwarded += some,
            Err(Difference { said, packets }) => {
                println!("seed {seed}, packet {}: {said}", packets.len());
                let least = shrink(&packets, SHRINKING, |packets| differs(seed, packets, front).is_some());
                let said = differs(seed, &least, front).unwrap_or(said);
                panic!("{said}\n\nFor found.rs:\n\n{}", row(seed, &least));
            }
        }
        sent += count;
    }
    let rate = sent as f64 / begin.elapsed().as_secs_f64();
    println!("fuzz: {sent} packets, {forwarded} of them forwarded, none apart; {rate:.0} a second");
    assert!(forwarded > sent / 10, "only {forwarded} of {sent} packets were forwarded");
}

#[test]
fn what_was_found_once_is_not_found_again() {
    let front = namespace();
    for (seed, packets) in FOUND {
        let packets: Vec<Vec<u8>> = packets.iter().map(|text| bytes(text)).collect();
        if let Some(said) = differs(*seed, &packets, front) {
            panic!("seed {seed}: {said}\n{}", row(*seed, &packets));
        }
    }
}

/// So that the rows of found.rs can be trusted: a row is read as it was printed, and a difference in it is seen.
#[test]
fn a_difference_is_found_again() {
    let front = namespace();
    let (seed, world) = (1, World::new(1));
    let mut packets = Packets::new(&world, seed);
    let packets: Vec<Vec<u8>> = (0..OFTEN).map(|_| packets.make()).collect();
    // The host has another world's services.
    let apart = |packets: &[Vec<u8>]| {
        let mut both = Both::new(&Stage::of_world(&world, front), front);
        both.host = Both::new(&Stage::of_world(&World::new(seed + 1), front), front).host;
        differs_in(&mut both, packets)
    };
    assert_eq!(differs(seed, &packets, front), None, "both have the same services");
    assert!(apart(&packets).is_some(), "the host has others");
    let least = shrink(&packets, SHRINKING, |packets| apart(packets).is_some());
    let row = row(seed, &least);
    let read: Vec<Vec<u8>> = row.split('"').skip(1).step_by(2).map(bytes).collect();
    assert_eq!(read, least, "{row}");
    assert!(apart(&read).is_some(), "{row}");
}

/// A row of the table in found.rs.
fn row(seed: u64, packets: &[Vec<u8>]) -> String {
    let text = |packet: &Vec<u8>| packet.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let packets: Vec<String> = packets.iter().map(|packet| format!("        \"{}\",\n", text(packet))).collect();
    format!("    ({seed}, &[\n{}    ]),", packets.concat())
}

fn bytes(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(str::from_utf8(two).expect("digits"), 16).expect("digits")).collect()
}
