//! A file registry that is edited, broken, emptied and taken away while traffic flows.

use std::net::SocketAddr;
use std::time::Instant;

use weir::api::types::Status;
use weir_tests::lab::{HttpLoad, HttpReport, vip_v4, wait_until};

use crate::stand::{SOON, Service, Stand, row};

fn vip() -> SocketAddr {
    (vip_v4(10), 80).into()
}

fn stand() -> (Stand, Service) {
    let service = Service::tcp("web", vip());
    (Stand::new(1, 3, std::slice::from_ref(&service)), service)
}

fn all_answered(stand: &Stand) -> HttpReport {
    let report = HttpLoad::new(vip(), 300).run(&stand.lab.clients[0].netns);
    assert_eq!((report.failed(), report.answered()), (0, 300), "{:?}", report.errors);
    report
}

fn await_status(stand: &Stand, what: &str, is_it: impl Fn(&Status) -> bool) -> Status {
    let mut last = stand.status();
    wait_until(what, SOON, || {
        last = stand.status();
        is_it(&last).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {last:#?}"));
    last
}

fn answers(report: &HttpReport) -> Vec<&str> {
    report.answers.keys().map(String::as_str).collect()
}

#[test]
fn weights_removals_and_additions_are_followed() {
    let (stand, service) = stand();
    let all = service.entries(&stand.lab);
    assert_eq!(answers(&all_answered(&stand)), ["b1", "b2", "b3"]);

    let mut shifted = all.clone();
    (shifted[0].weight, shifted[1].weight) = (0, 300);
    let edited = Instant::now();
    stand.registry.publish("web", &shifted).unwrap();
    let rows = stand.await_backends("web", "the new weights", |rows| row(rows, "b2").weight == 300);
    println!("an edit was in the kernel after {:?}", edited.elapsed());
    assert_eq!(row(&rows, "b1").slots, 0, "{rows:#?}");
    assert!(row(&rows, "b2").slots.abs_diff(3 * row(&rows, "b3").slots) <= 8, "{rows:#?}");
    assert_eq!(answers(&all_answered(&stand)), ["b2", "b3"]);

    stand.registry.publish("web", &all[..1]).unwrap();
    stand.await_backends("web", "b1 alone", |rows| rows.iter().all(|row| (row.slots > 0) == (row.id == "b1")));
    assert_eq!(answers(&all_answered(&stand)), ["b1"]);

    stand.registry.publish("web", &all).unwrap();
    stand.await_backends("web", "all three", |rows| rows.iter().filter(|row| row.slots > 0).count() == 3);
    assert_eq!(answers(&all_answered(&stand)), ["b1", "b2", "b3"]);
}

#[test]
fn the_last_good_state_stands_while_a_file_is_malformed() {
    let (stand, service) = stand();
    stand
        .registry
        .write("web.toml", "service = \"web\"\n\n[[backend]]\nid = \"b1\"\naddres = \"10.0.1.11\"\n")
        .unwrap();
    let status = await_status(&stand, "the problem", |status| status.registries[0].state == "failing");
    let problem =
        status.problems.iter().find(|problem| problem.contains("web.toml:5")).unwrap_or_else(|| panic!("{status:#?}"));
    assert!(problem.contains("addres"), "{problem}");
    let shown = stand.weir.cli(&["status"]).unwrap();
    assert!(shown.code == Some(0) && shown.stdout.contains("web.toml:5"), "{shown:?}");
    assert!(stand.weir.log().contains("web.toml:5"), "{}", stand.weir.log());
    assert_eq!(answers(&all_answered(&stand)), ["b1", "b2", "b3"]);

    stand.registry.publish("web", &service.entries(&stand.lab)[1..]).unwrap();
    stand.await_backends("web", "the repaired file", |rows| rows.iter().all(|row| (row.slots > 0) == (row.id != "b1")));
    let status = await_status(&stand, "no problem", |status| status.problems.is_empty());
    assert_eq!(status.registries[0].state, "ok");
    assert_eq!(answers(&all_answered(&stand)), ["b2", "b3"]);
}

#[test]
fn an_emptied_file_takes_no_service_down() {
    let (stand, service) = stand();
    stand.registry.publish("web", &[]).unwrap();
    await_status(&stand, "the emptied file", |status| {
        status.problems.iter().any(|problem| problem.contains("web") && problem.contains("last 3 stand"))
    });
    assert_eq!(answers(&all_answered(&stand)), ["b1", "b2", "b3"]);
    stand.registry.publish("web", &service.entries(&stand.lab)).unwrap();
    await_status(&stand, "no problem", |status| status.problems.is_empty());
}

#[test]
fn a_removed_directory_takes_no_service_down_and_is_seen_when_it_is_back() {
    let (stand, service) = stand();
    let (dir, away) = (stand.registry.dir(), stand.lab.dir().join("away"));
    std::fs::rename(dir, &away).unwrap();
    await_status(&stand, "the missing directory", |status| {
        status.problems.iter().any(|problem| problem.contains("services.d"))
    });
    assert_eq!(answers(&all_answered(&stand)), ["b1", "b2", "b3"]);

    std::fs::rename(&away, dir).unwrap();
    await_status(&stand, "no problem", |status| status.problems.is_empty());
    stand.registry.publish("web", &service.entries(&stand.lab)[..2]).unwrap();
    stand.await_backends("web", "the edit after that", |rows| {
        row(rows, "b1").slots > 0 && rows.iter().all(|row| (row.slots == 0) == (row.id == "b3"))
    });
    assert_eq!(answers(&all_answered(&stand)), ["b1", "b2"]);
}
