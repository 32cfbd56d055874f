//! Real requests of 100 KB, up and down, by every way to forward: through 1,500 bytes, through a hop that takes 1,400, and
//! behind VLAN tags.

use std::time::{Duration, Instant};

use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::abi::{self, Delivery, Tags};
use weir_tests::lab::{BACK, FRONT, HttpLoad, Lab, Tag, Trunk, tshark_verdict};

use crate::modes::{BACKENDS, MODES, Mode, Yard, sniff};

/// How many requests, and how many of them are captured before.
const REQUESTS: usize = 1_000;
const CAPTURED: usize = 8;
const BODY: usize = 100_000;
/// What links take, in bytes.
const MTU: u32 = 1_500;
/// What the hop takes, in bytes.
const HOP: u16 = 1_400;
pub(crate) const GUE_PORT: u16 = 6_080;

/// Sends requests by a mode's VIP; all have to be answered, with what was sent, and by both backends.
fn carry(yard: &Yard, mode: &Mode, requests: usize) -> Duration {
    let load = HttpLoad {
        body: BODY,
        concurrency: 16,
        timeout: Duration::from_secs(10),
        ..HttpLoad::new(mode.http(), requests)
    };
    let report = load.run(&yard.stand.lab.clients[0].netns);
    assert_eq!((report.failed(), report.answered()), (0, requests as u64), "{}: {:?}", mode.names[0], report.errors);
    if requests == REQUESTS {
        let answered: Vec<_> = report.answers.keys().map(String::as_str).collect();
        assert_eq!(answered, mode.backends(&yard.stand.lab), "{}", mode.names[0]);
    }
    report.elapsed
}

/// A few requests of each mode under the eyes of tshark, then the others.
fn all_are_carried(yard: &Yard, what: &str) {
    let begun = Instant::now();
    let sniffers = sniff(yard);
    for mode in &yard.modes {
        carry(yard, mode, CAPTURED);
    }
    let mut packets = 0;
    for sniffer in sniffers {
        let file = sniffer.stop().unwrap();
        let verdict = tshark_verdict(&file, GUE_PORT).unwrap();
        println!("{what}: {}: {verdict}", file.file_name().unwrap().display());
        assert!(verdict.is_clean(), "{verdict}");
        packets += verdict.packets;
    }
    println!("{what}: captured for {:.1} s", begun.elapsed().as_secs_f64());
    assert!(packets > CAPTURED * yard.modes.len() * 100, "{packets} packets");
    for mode in &yard.modes {
        let elapsed = carry(yard, mode, REQUESTS);
        let rows = yard.stand.backends(mode.names[0]);
        let packets: u64 = rows.iter().map(|row| row.packets).sum();
        println!(
            "{what}: {}: {REQUESTS} requests of 100 KB up and down in {:.2} s, {packets} packets to backends",
            mode.names[0],
            elapsed.as_secs_f64()
        );
        // No less than the bytes that went up, in packets of 1,500.
        assert!(packets > (REQUESTS * BODY / 1_460) as u64, "{rows:#?}");
    }
}

/// What a client believes of the way to a VIP, in bytes.
fn path_mtu(yard: &Yard, mode: &Mode) -> Option<u16> {
    let family = if mode.v6 { "-6" } else { "-4" };
    let route = yard.stand.lab.clients[0].netns.ip(&format!("{family} route get {}", mode.vip())).unwrap();
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    words.next().map(|word| word.parse().unwrap())
}

/// What is left of a path for the packets in the tunnel.
fn within(path: u16, mode: &Mode) -> u16 {
    let outer = if mode.outer_v6 { 40 } else { 20 };
    path - outer - if mode.forward == "gue" { 8 } else { 0 }
}

#[test]
fn a_thousand_requests_by_every_mode() {
    let yard = Yard::new(Lab::builder(), &MODES, "", &[]);
    all_are_carried(&yard, "1,500 bytes");
    for mode in MODES {
        let expected = mode.is_tunnel().then(|| within(1_500, &mode));
        assert_eq!(path_mtu(&yard, &mode), expected, "{}", mode.names[0]);
    }
}

#[test]
fn a_thousand_requests_by_every_mode_through_a_hop_of_1400_bytes() {
    let modes: Vec<Mode> = MODES.into_iter().filter(|mode| mode.forward != "l2").collect();
    let yard = Yard::new(Lab::builder().hop_mtu(HOP), &modes, "", &[]);
    all_are_carried(&yard, "a hop of 1,400 bytes");
    for mode in modes {
        // A path learnt by one flow is known to all others: of a tunnel, Weir itself tells.
        let expected = if mode.is_tunnel() { within(HOP, &mode) } else { HOP };
        assert_eq!(path_mtu(&yard, &mode), Some(expected), "{}", mode.names[0]);
    }
}

/// The clients are behind a customer's tag, the backends behind two. This kernel need not know VLANs: what the controller
/// makes of VLAN devices is written in its place.
#[test]
fn a_thousand_requests_by_every_mode_behind_vlan_tags() {
    let lab = Lab::builder().backends(BACKENDS).build().unwrap();
    // A NIC takes one tag more than its MTU says; whoever has two gives it more room.
    for (netns, device) in [(&lab.weir, BACK), (&lab.switch, "weir-back")] {
        netns.ip(&format!("link set dev {device} mtu {}", MTU + 4)).unwrap();
    }
    let mut yard = Yard::in_lab(lab, &MODES, "", &[]);
    let lab = &yard.stand.lab;
    let front = Tags::vlan(100);
    let [first, _] = front.0;
    let back = Tags([u32::from_ne_bytes([0x88, 0xa8, 0, 7]), u32::from_ne_bytes([0x81, 0, 0, 200])]);
    assert_eq!(first, u32::from_ne_bytes([0x81, 0, 0, 100]));
    let open = |name: &str| MapData::from_pin(lab.state().join("maps").join(name)).unwrap();
    let mut backends: Array<_, abi::Backend> = Map::Array(open(abi::map::BACKENDS)).try_into().unwrap();
    for id in 0..backends.len() {
        let row = backends.get(&id, 0).unwrap();
        if matches!(row.delivery, Delivery::DEVICE | Delivery::REDIRECT) {
            backends.set(id, abi::Backend { tags: back, mtu: MTU, ..row }, 0).unwrap();
        }
    }
    let mut devices: HashMap<_, u32, abi::Device> = Map::HashMap(open(abi::map::DEVICES)).try_into().unwrap();
    for (device, tags) in [(FRONT, front), (BACK, back)] {
        let index = lab.weir.index(device).unwrap();
        let row = devices.get(&index, 0).unwrap();
        devices.insert(index, abi::Device { tags, ..row }, 0).unwrap();
    }
    let trunks = vec![
        Trunk::on(&lab.switch, "weir-front", &[Tag::customer(100)]).unwrap(),
        Trunk::on(&lab.switch, "weir-back", &[Tag::provider(7), Tag::customer(200)]).unwrap(),
    ];
    yard.keep(trunks);
    all_are_carried(&yard, "VLAN 100 in front, 7 and 200 behind");
}
