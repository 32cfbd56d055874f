//! Which flows move when a backend leaves, and comes back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use weir::maglev;
use weir_tests::lab::{HttpLoad, HttpReport, Lab, vip_v4};

use crate::stand::{Service, Stand};

const LEAVES: &str = "b4";
const FLOWS: u16 = 4_000;

fn vip() -> SocketAddr {
    (vip_v4(10), 80).into()
}

fn flows(stand: &Stand) -> HttpReport {
    let load = HttpLoad { source_ports: (2_000..2_000 + FLOWS).collect(), ..HttpLoad::new(vip(), FLOWS.into()) };
    let report = load.run(&stand.lab.clients[0].netns);
    assert_eq!((report.failed(), report.answered()), (0, FLOWS.into()), "{:?}", report.errors);
    report
}

/// The part of the table's slots of the other backends that change owner when one leaves, in percent.
fn slots_moved(service: &Service, lab: &Lab) -> f64 {
    let entry = |(id, entry): (u32, weir_tests::lab::Entry)| maglev::Entry {
        id,
        listens: (entry.address, entry.port),
        weight: entry.weight.into(),
    };
    let all: Vec<maglev::Entry> = (0..).zip(service.entries(lab)).map(entry).collect();
    let gone = all[3];
    let fewer: Vec<_> = all.iter().copied().filter(|entry| entry.id != gone.id).collect();
    let (before, after) = (maglev::build(&all, 65_537), maglev::build(&fewer, 65_537));
    let others = before.iter().zip(&after).filter(|(before, _)| **before != gone.id);
    let (moved, all) =
        others.fold((0, 0), |(moved, all), (before, after)| (moved + u32::from(before != after), all + 1));
    100.0 * f64::from(moved) / f64::from(all)
}

#[test]
fn removing_one_of_ten_moves_at_most_a_percent_of_the_others_flows() {
    let service = Service::tcp("web", vip());
    let stand = Stand::new(1, 10, std::slice::from_ref(&service));
    let all = service.entries(&stand.lab);
    let fewer: Vec<_> = all.iter().filter(|entry| entry.id != LEAVES).cloned().collect();

    let before = flows(&stand);
    assert_eq!(before.answers.len(), 10, "{:?}", before.answers);
    stand.registry.publish("web", &fewer).unwrap();
    let rows = stand.await_backends("web", "b4 to be gone", |rows| {
        rows.iter().all(|row| (row.slots == 0) == (row.id == LEAVES))
            && rows.iter().map(|row| row.slots).sum::<u32>() == 65_537
    });
    let slots: BTreeMap<_, _> = rows.iter().map(|row| (row.id.as_str(), row.slots)).collect();
    let away = flows(&stand);
    assert!(!away.answers.contains_key(LEAVES), "{:?}", away.answers);

    let others: Vec<_> = before.by_request.iter().filter(|(_, backend)| *backend != LEAVES).collect();
    let moved = others.iter().filter(|(flow, backend)| away.by_request[*flow] != **backend).count();
    let moved_percent = 100.0 * moved as f64 / others.len() as f64;
    let slots_percent = slots_moved(&service, &stand.lab);
    println!(
        "{moved} of {} flows moved ({moved_percent:.2} %); {slots_percent:.2} % of the slots; {slots:?}",
        others.len()
    );
    assert!(moved_percent <= 1.0, "{moved} of {} flows moved", others.len());
    assert!(slots_percent <= 1.0, "{slots_percent} % of the slots moved");

    stand.registry.publish("web", &all).unwrap();
    stand.await_backends("web", "b4 to be back", |rows| rows.len() == 10 && rows.iter().all(|row| row.slots > 0));
    assert_eq!(flows(&stand).by_request, before.by_request, "all are back where they were");
}
