//! Backends from a real Consul.

use std::time::{Duration, Instant};

use weir::api::types::BackendRow;
use weir_tests::lab::{Consul, HTTP_PORT, HttpLoad, HttpReport, Lab, Registration, vip_v4, wait_until};

use crate::stand::{SOON, Service, Stand, row};

/// How long a source may take to notice that its registry is back: it backs off meanwhile.
const BACK_WITHIN: Duration = Duration::from_secs(60);

fn registration(lab: &Lab, number: usize, weights: (u16, u16)) -> Registration {
    Registration {
        id: format!("b{number}"),
        service: "web".to_owned(),
        address: lab.backends[number - 1].v4.to_string(),
        port: HTTP_PORT,
        tags: vec![],
        weights,
    }
}

fn requests(stand: &Stand, requests: usize) -> HttpReport {
    let report = HttpLoad::new((vip_v4(10), 80).into(), requests).run(&stand.lab.clients[0].netns);
    assert_eq!((report.failed(), report.answered()), (0, requests as u64), "{:?}", report.errors);
    report
}

/// The weights of the backends that take flows.
fn weights(rows: &[BackendRow]) -> Vec<(&str, u16)> {
    rows.iter().filter(|row| row.slots > 0).map(|row| (row.id.as_str(), row.weight)).collect()
}

/// Does something at Consul, waits until the kernel has these weights, and says how long after Consul's answer.
fn follows(stand: &Stand, what: &str, change: impl FnOnce(), expected: &[(&str, u16)]) {
    change();
    let answered = Instant::now();
    stand.await_backends("web", what, |rows| weights(rows) == expected);
    println!("{what}: in the kernel {:?} after Consul's answer", answered.elapsed());
    let report = requests(stand, 200);
    let names: Vec<&str> = report.answers.keys().map(String::as_str).collect();
    assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{what}");
}

#[test]
fn consul_is_followed_and_missed_by_nobody_when_it_is_gone() {
    let lab = Lab::builder().backends(3).build().unwrap();
    let mut consul = Consul::start(&lab, &lab.weir).unwrap();
    let [b1, b2, b3] =
        [(1, (100, 50)), (2, (300, 30)), (3, (200, 20))].map(|(number, w)| registration(&lab, number, w));
    consul.register(&b1).unwrap();
    consul.register(&b2).unwrap();
    let more = format!("\n[registry.dc1]\ntype = \"consul\"\naddress = {:?}\n", consul.url());
    let service = Service::tcp("web", (vip_v4(10), 80).into()).with("registry = \"dc1\"");
    let stand = Stand::with_config(lab, &[service], &more);

    let rows = stand.await_backends("web", "two backends", |rows| weights(rows) == [("b1", 100), ("b2", 300)]);
    assert!((3 * row(&rows, "b1").slots).abs_diff(row(&rows, "b2").slots) <= 8, "{rows:#?}");
    let report = requests(&stand, 1_600);
    // Five standard deviations of a share of a quarter.
    assert!((report.share("b1") - 0.25).abs() < 5.0 * (0.25_f64 * 0.75 / 1_600.0).sqrt(), "{:?}", report.answers);

    follows(&stand, "one more", || consul.register(&b3).unwrap(), &[("b1", 100), ("b2", 300), ("b3", 200)]);
    let heavy = Registration { weights: (400, 40), ..b1.clone() };
    follows(&stand, "another weight", || consul.register(&heavy).unwrap(), &[("b1", 400), ("b2", 300), ("b3", 200)]);
    follows(&stand, "a failing check", || consul.set_health("b2", "fail").unwrap(), &[("b1", 400), ("b3", 200)]);
    follows(&stand, "a warning", || consul.set_health("b2", "warn").unwrap(), &[("b1", 400), ("b2", 30), ("b3", 200)]);
    follows(&stand, "one less", || consul.deregister("b3").unwrap(), &[("b1", 400), ("b2", 30)]);

    consul.kill().unwrap();
    wait_until("Consul to be missed", SOON, || {
        let status = stand.status();
        let row = status.registries.into_iter().find(|row| row.name == "dc1").unwrap();
        (row.state == "failing" && row.problem.is_some() && !status.problems.is_empty()).then_some(())
    })
    .unwrap();
    assert_eq!(weights(&stand.backends("web")), [("b1", 400), ("b2", 30)]);
    requests(&stand, 400);

    // It has forgotten everything, and knows no backend at first.
    let port = consul.address().port();
    std::fs::remove_dir_all(stand.lab.dir().join(format!("consul-{port}"))).unwrap();
    let consul = Consul::start_at(&stand.lab, &stand.lab.weir, port).unwrap();
    wait_until("Consul's emptiness to be held back", BACK_WITHIN, || {
        stand.status().problems.iter().any(|problem| problem.contains("last 2 stand")).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:#?}\n{}", stand.status(), stand.weir.log()));
    requests(&stand, 400);
    follows(&stand, "back again", || consul.register(&b3).unwrap(), &[("b3", 200)]);
    wait_until("all to be well", SOON, || stand.status().problems.is_empty().then_some(())).unwrap();
}
