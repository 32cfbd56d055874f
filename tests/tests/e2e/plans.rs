//! `weir plan`: what it says is what then happens.

use std::collections::BTreeMap;

use weir::api::types::{PlanReport, PlannedService};
use weir_tests::lab::traffic::ANSWER_PORT;
use weir_tests::lab::{Consul, Entry, vip_v4, wait_until};

use crate::lasting::{self, Lasting, SERVICES, TABLE_SIZE, service};
use crate::stand::{SOON, Service, Stand, config, row};

/// What moves in a service, by where its backends listen: weights and slots, before and after, and slots that move.
type Moves = BTreeMap<(String, u16), ([Option<u16>; 2], [u32; 3])>;

/// The services that change, without what is known of flows, and of backends that have no name yet.
fn moves(services: &[PlannedService]) -> BTreeMap<String, (u32, u32, Moves)> {
    let of = |service: &PlannedService| {
        let backends = service.backends.iter().map(|one| {
            let slots = [one.slots_before, one.slots_after, one.slots_moved];
            ((one.address.clone(), one.port), ([one.weight_before, one.weight_after], slots))
        });
        (service.service.clone(), (service.slots, service.slots_moved, backends.collect()))
    };
    services.iter().filter(|service| service.change != "same").map(of).collect()
}

/// What the last change did is what was planned.
fn assert_came_true(stand: &Stand, plan: &PlanReport) {
    let change = stand.status().last_change.unwrap();
    assert_eq!(moves(&change.services), moves(&plan.services));
    assert_eq!(change.moved_ppm, plan.moved_ppm);
    for planned in plan.services.iter().flat_map(|service| service.backends.iter().map(move |one| (service, one))) {
        let (service, planned) = planned;
        let rows = stand.backends(&service.service);
        let row = rows.iter().find(|row| (&row.address, row.port) == (&planned.address, planned.port)).unwrap();
        assert_eq!(row.slots, planned.slots_after, "{row:?} {planned:?}");
    }
}

#[test]
fn what_a_plan_of_backends_says_comes_true() {
    let lasting = Lasting::new(3, 40);
    let stand = &lasting.stand;
    let at = |name: &'static str, number: usize| {
        let Entry { address, port, .. } = service(name).entries(&stand.lab)[number];
        std::net::SocketAddr::new(address, port)
    };
    let before = (stand.status().generation, lasting.by_backend());
    let question: Vec<String> = SERVICES.iter().map(|(name, _)| format!("{name}/{}=0", at(name, 0))).collect();
    let mut words = vec!["plan"];
    question.iter().for_each(|one| words.extend(["--backend", one]));
    let plan: PlanReport = stand.rows(&words);
    assert!(!plan.applied && plan.services.len() == 4, "{plan:#?}");
    // Every connection is seen, and those that would move are the backend's own; Maglev moves few of the others'.
    for udp in [false, true] {
        let of_kind: Vec<&PlannedService> =
            plan.services.iter().filter(|one| one.service.starts_with("udp") == udp).collect();
        assert_eq!(of_kind.iter().map(|one| one.flows_sampled).collect::<Vec<_>>(), [20, 20], "{plan:#?}");
        let mine = of_kind.iter().flat_map(|one| &one.backends).filter(|one| one.id == "b1");
        let mine: u64 = mine.map(|one| one.flows_moved).sum();
        assert_eq!(mine, lasting.with("b1")[usize::from(udp)] as u64, "{plan:#?}");
        let all: u64 = of_kind.iter().map(|one| one.flows_moved).sum();
        assert!(all >= mine && all <= mine + 4, "{plan:#?}");
    }
    // Nothing has happened.
    assert_eq!((stand.status().generation, lasting.by_backend()), before);
    assert_eq!(stand.status().moving.slots, 0);

    let of_tcp = |plan: &PlanReport| {
        let services = plan.services.iter().filter(|one| one.service == "tcp").cloned().collect();
        PlanReport { services, ..plan.clone() }
    };
    // A weight of 0 by the registry; a backend that joins; weights by order; with slots that hand over already.
    let plan: PlanReport = stand.rows(&["plan", "--backend", &question[0]]);
    let mut entries = service("tcp").entries(&stand.lab);
    entries[0].weight = 0;
    stand.registry.publish("tcp", &entries).unwrap();
    stand.await_backends("tcp", "the weight of 0", |rows| row(rows, "b1").slots == 0);
    assert_came_true(stand, &of_tcp(&plan));

    let joins = std::net::SocketAddr::new(entries[0].address, ANSWER_PORT + 1);
    let plan: PlanReport = stand.rows(&["plan", "--backend", &format!("tcp/{joins}=150")]);
    assert_eq!(plan.services.iter().find(|one| one.service == "tcp").unwrap().backends.len(), 4);
    entries.push(Entry::new("joins", joins.ip(), joins.port(), 150));
    stand.registry.publish("tcp", &entries).unwrap();
    stand.await_backends("tcp", "the one that joins", |rows| rows.len() == 4);
    assert_came_true(stand, &of_tcp(&plan));

    entries.pop();
    stand.registry.publish("tcp", &entries).unwrap();
    stand.await_backends("tcp", "the one that leaves", |rows| row(rows, "b2").slots > TABLE_SIZE * 2 / 5);
    let plan: PlanReport = stand.rows(&["plan", "--backend", &format!("tcp/{}=300", at("tcp", 1))]);
    assert_eq!(stand.weir.cli(&["weight", "b2", "300", "--service", "tcp"]).unwrap().code, Some(0));
    assert_came_true(stand, &of_tcp(&plan));
    lasting.goes_on();
    assert_eq!(lasting.by_backend(), before.1);
    lasting.assert_unbroken();
}

#[test]
fn what_a_plan_of_a_configuration_says_comes_true() {
    let lasting = Lasting::new(2, 20);
    let stand = &lasting.stand;
    let other = stand.lab.dir().join("other.d");
    std::fs::create_dir(&other).unwrap();
    // In the other registry the backends of one service have other weights, and another service is new.
    let more = Service::tcp("more", (vip_v4(40), 80).into());
    let mut text = String::new();
    for (name, weight) in [("tcp", 250), ("tcp6", 100), ("udp", 100), ("more", 100)] {
        let entries = if name == "more" { more.entries(&stand.lab) } else { service(name).entries(&stand.lab) };
        text = format!("service = {name:?}\n");
        for (number, Entry { id, address, port, .. }) in entries.into_iter().enumerate() {
            let weight = if number == 0 { weight } else { 100 };
            text += &format!("\n[[backend]]\nid = {id:?}\naddress = \"{address}\"\nport = {port}\nweight = {weight}\n");
        }
        std::fs::write(other.join(format!("{name}.toml")), &text).unwrap();
    }
    assert!(!text.is_empty());
    let services = [service("tcp"), service("tcp6"), service("udp"), more];
    let path = stand.lab.dir().join("planned.toml");
    std::fs::write(&path, lasting::config(&stand.lab, &services).replace("services.d", "other.d")).unwrap();
    let plan: PlanReport = stand.rows(&["plan", "--config", path.to_str().unwrap()]);
    let changes: BTreeMap<&str, &str> =
        plan.services.iter().map(|one| (one.service.as_str(), one.change.as_str())).collect();
    let expected = [("tcp", "changed"), ("tcp6", "same"), ("udp", "same"), ("udp6", "removed"), ("more", "new")];
    assert_eq!(changes, BTreeMap::from(expected));
    assert_eq!(plan.moved_ppm, 1_000_000, "a service that is taken out moves whole");

    std::fs::rename(&path, stand.lab.dir().join("weir.toml")).unwrap();
    let before = lasting.by_backend();
    let done: PlanReport = stand.rows(&["reload"]);
    assert_eq!(moves(&done.services), moves(&plan.services));
    let change = stand.status().last_change.unwrap();
    assert_eq!((moves(&change.services), change.moved_ppm), (moves(&plan.services), plan.moved_ppm));
    lasting.goes_on();
    assert_eq!(lasting.by_backend(), before);
    // The registry speaks for itself now, and says the same.
    wait_until("the registry to be read", SOON, || {
        stand.status().registries.iter().all(|row| row.state == "ok").then_some(())
    })
    .unwrap();
    assert_eq!(moves(&stand.status().last_change.unwrap().services), moves(&plan.services));
    lasting.assert_unbroken();
}

#[test]
fn a_plan_against_a_registry_that_cannot_be_asked_is_refused_and_names_it() {
    let web = || Service::tcp("web", (vip_v4(10), 80).into());
    let stand = Stand::new(1, 2, &[web()]);
    let path = stand.lab.dir().join("planned.toml");
    let good = config(&stand.lab, &[web()]);
    let malformed = stand.lab.dir().join("malformed.d");
    std::fs::create_dir(&malformed).unwrap();
    std::fs::write(malformed.join("web.toml"), "service = \"web\"\n[[backend]]\nid = 7\n").unwrap();
    // Nobody listens there; and there somebody does who says nothing.
    let silent = stand.lab.weir.run(|| std::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
    let consul = |port| {
        let more = format!("\n[registry.dc1]\ntype = \"consul\"\naddress = \"http://127.0.0.1:{port}\"\n");
        config(&stand.lab, &[web().with("registry = \"dc1\"")]) + &more
    };
    for (text, says) in [
        (good.replace("services.d", "nowhere.d"), &["registry local", "nowhere.d"][..]),
        (good.replace("services.d", "malformed.d"), &["registry local", "web.toml:3"]),
        (consul(1), &["registry dc1", "127.0.0.1:1"]),
        (consul(silent.local_addr().unwrap().port()), &["registry dc1", "did not answer"]),
    ] {
        let generation = stand.status().generation;
        std::fs::write(&path, &text).unwrap();
        let said = stand.weir.cli(&["plan", "--config", path.to_str().unwrap()]).unwrap();
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(says.iter().all(|part| said.stderr.contains(part)), "{says:?}: {said:?}");
        // Nor is it taken over.
        stand.write_config(&text);
        let said = stand.weir.cli(&["reload"]).unwrap();
        assert!(said.code == Some(1) && said.stderr.contains(says[0]), "{said:?}");
        assert_eq!(stand.status().generation, generation);
    }
    // One that answers is asked.
    let agent = Consul::start(&stand.lab, &stand.lab.weir).unwrap();
    std::fs::write(&path, consul(agent.address().port())).unwrap();
    let plan: PlanReport = stand.rows(&["plan", "--config", path.to_str().unwrap()]);
    assert_eq!(plan.moved_ppm, 0, "it knows of no backend, so those of before would stand: {plan:#?}");
}
