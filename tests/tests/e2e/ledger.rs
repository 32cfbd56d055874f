//! Every packet that came in is in exactly one counter.

use std::time::Duration;

use weir::api::types::Ledger;
use weir_tests::lab::{BACK, FRONT, HttpLoad, Lab, UdpLoad, wait_until};

use crate::modes::{MODES, Yard};
use crate::stand::SOON;

/// What a device of Weir's host has received, in packets, as the kernel counts.
fn received(lab: &Lab, device: &str) -> u64 {
    let links: serde_json::Value =
        serde_json::from_str(&lab.weir.ip(&format!("-s -json link show dev {device}")).unwrap()).unwrap();
    links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

#[test]
fn what_is_counted_is_what_was_received() {
    let yard = Yard::new(Lab::builder(), &MODES, "closed_ports = \"refuse\"\n", &[]);
    let lab = &yard.stand.lab;
    let client = &lab.clients[0].netns;
    // What the kernel received, what Weir says that the kernel received since it attached, and what Weir counted. Packets
    // may come between two questions.
    let books = || {
        let mut last = None;
        wait_until("the counters to stand still", SOON, || {
            let before = received(lab, FRONT) + received(lab, BACK);
            let ledger: Ledger = yard.stand.rows(&["refusals"]);
            let since = ledger.interfaces.iter().map(|row| row.received.expect("it attached itself")).sum::<u64>();
            last = Some((before, since, ledger));
            (before == received(lab, FRONT) + received(lab, BACK)).then_some(())
        })
        .unwrap();
        last.unwrap()
    };
    let (kernel, since, begun) = books();
    assert_eq!(since, begun.sum, "{begun:#?}");
    let before_attached = kernel - since;
    for mode in &yard.modes {
        let report = HttpLoad { body: 20_000, ..HttpLoad::new(mode.http(), 50) }.run(client);
        assert_eq!(report.failed(), 0, "{}: {:?}", mode.names[0], report.errors);
        let load = UdpLoad { payload: 4_000, ..UdpLoad::new(mode.echo(), 100, Duration::from_millis(300)) };
        load.run(client).unwrap();
        drop(UdpLoad::new((mode.vip(), 81).into(), 100, Duration::from_millis(100)).run(client).unwrap());
    }
    // Past Weir, too.
    for backend in &lab.backends {
        let load = UdpLoad::new((backend.v4, 5_000).into(), 100, Duration::from_millis(100));
        load.run(client).unwrap();
    }
    let (kernel, since, ledger) = books();
    let counted = ledger.sum - begun.sum;
    println!(
        "{counted} packets in, all of them counted once; {before_attached} came before the programs were attached"
    );
    assert!(counted > 10_000);
    assert_eq!((since, kernel - before_attached), (ledger.sum, ledger.sum), "{ledger:#?}");
}
