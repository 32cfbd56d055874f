//! The controller on a fake data plane: what it makes of what registries say.

use std::sync::Arc;

use lb_common::abi;

use super::behind::RETRY;
use super::readiness::NEIGHBOURS;
use super::stage::{WEB, endpoint, parse, registries};
use super::*;
use crate::dataplane::{Fake, Faulty};
use crate::nexthop::{Hop, NextHops, Reached, StackReason};
use crate::source::{Endpoint, Report, Snapshot};

/// With the service `dns`, which has a limit.
fn text() -> String {
    let dns = r#"
[[service]]
name = "dns"
vip = "203.0.113.10"
port = 53
protocol = "udp"
limit = { per = "source", rate = 10, unit = "packets/s" }
"#;
    WEB.to_owned() + dns
}

fn controller<P: DataPlane>(make: impl FnOnce(Fake) -> P) -> Controller<P> {
    let config = parse(&text());
    let plane = make(Fake::new(capacity(&config)));
    Controller::new(config, plane, registries(), Instant::now())
}

fn say<P: DataPlane>(controller: &mut Controller<P>, report: Report) {
    stage::say(controller, report, Instant::now());
}

fn snapshot(services: &[(&str, &[Endpoint])]) -> Report {
    Report::Snapshot(services.iter().map(|(name, all)| ((*name).to_owned(), (*all).into())).collect::<Snapshot>())
}

/// The backends that are listed: those that only drain are left out.
fn ids<P: DataPlane>(controller: &Controller<P>, service: &str) -> Vec<String> {
    let rows = controller.backends(Some(service)).unwrap().into_iter();
    rows.filter(|row| row.state == "active").map(|row| row.id).collect()
}

#[test]
fn a_service_that_nobody_has_spoken_of_is_a_stranger() {
    let controller = controller(|fake| fake);
    assert!(controller.plane.tables.vips.is_empty());
    assert!(!controller.is_ready(Instant::now()));
}

#[test]
fn a_registry_that_never_worked_leaves_its_services_closed() {
    let mut controller = controller(|fake| fake);
    say(&mut controller, Report::Problem("connection refused".into()));
    // The VIPs are there, so that their packets are refused by name rather than passed to the host.
    assert_eq!(controller.plane.tables.vips.len(), 2);
    assert!(ids(&controller, "web").is_empty());
    let status = controller.status(Vec::new(), Vec::new(), Instant::now());
    assert_eq!(status.registries[0].state, "failing");
    assert!(status.problems[0].contains("connection refused"), "{:?}", status.problems);
}

#[test]
fn a_problem_removes_nothing_and_is_over_with_the_next_snapshot() {
    let mut controller = controller(|fake| fake);
    say(&mut controller, snapshot(&[("web", &[endpoint("a", "10.0.0.1", 1)])]));
    let generation = controller.generation;
    say(&mut controller, Report::Problem("down".into()));
    assert_eq!(ids(&controller, "web"), ["a"]);
    assert_eq!(controller.generation, generation, "nothing was written");
    say(&mut controller, snapshot(&[("web", &[endpoint("b", "10.0.0.2", 1)])]));
    assert_eq!(ids(&controller, "web"), ["b"]);
    let status = controller.status(Vec::new(), Vec::new(), Instant::now());
    assert!(!status.problems.iter().any(|problem| problem.contains("down")), "{:?}", status.problems);
}

#[test]
fn a_service_that_refuses_everything_says_why() {
    let mut controller = controller(|fake| fake);
    say(
        &mut controller,
        snapshot(&[("wbe", &[endpoint("a", "10.0.0.1", 1)]), ("dns", &[endpoint("a", "10.0.0.1", 0)])]),
    );
    let rows = controller.services().unwrap();
    assert!(rows[0].problems[0].contains("names no backend for \"web\""), "{:?}", rows[0].problems);
    assert!(rows[1].problems[0].contains("weight is 0"), "{:?}", rows[1].problems);
}

#[test]
fn without_any_registry_to_wait_for_it_is_ready() {
    let config = parse(&WEB[..WEB.find("[[service]]").unwrap()]);
    let plane = Fake::new(capacity(&config));
    let now = Instant::now();
    assert!(Controller::new(config, plane, Registries::default(), now).is_ready(now));
}

#[test]
fn an_empty_or_vanished_service_keeps_its_last_backends_and_says_so() {
    for emptied in [snapshot(&[("web", &[])]), snapshot(&[])] {
        let mut controller = controller(|fake| fake);
        say(&mut controller, snapshot(&[("web", &[endpoint("a", "10.0.0.1", 1), endpoint("b", "10.0.0.2", 1)])]));
        say(&mut controller, emptied);
        assert_eq!(ids(&controller, "web"), ["a", "b"]);
        let status = controller.status(Vec::new(), Vec::new(), Instant::now());
        assert!(
            status.problems.iter().any(|p| p.contains("web") && p.contains("last 2 stand")),
            "{:?}",
            status.problems
        );
        say(&mut controller, snapshot(&[("web", &[endpoint("b", "10.0.0.2", 1)])]));
        assert_eq!(ids(&controller, "web"), ["b"]);
    }
}

#[test]
fn unfit_endpoints_are_left_out_with_a_reason() {
    let mut controller = controller(|fake| fake);
    let endpoints = [
        endpoint("good", "10.0.0.1", 1),
        endpoint("twin", "10.0.0.1", 1),
        endpoint("six", "fd00::1", 1),
        Endpoint { port: 80, ..endpoint("loop", "203.0.113.10", 1) },
    ];
    say(&mut controller, snapshot(&[("web", &endpoints)]));
    assert_eq!(ids(&controller, "web"), ["good"]);
    let problems = controller.services().unwrap()[0].problems.join("\n");
    for word in ["twin", "six", "address family", "loop", "round for ever"] {
        assert!(problems.contains(word), "{word} in {problems}");
    }
}

#[test]
fn as_many_backends_as_there_may_be_can_all_be_replaced() {
    let config = text().replace("table_size = 251", "table_size = 251\nmax_backends = 2\nmax_flows = 1024");
    let config = parse(&config);
    let plane = Fake::new(capacity(&config));
    let mut controller = Controller::new(config, plane, registries(), Instant::now());
    let web = |names: &[&str]| {
        let endpoint = |name: &&str| endpoint(name, &format!("10.0.0.{}", name.as_bytes()[0]), 1);
        snapshot(&[("web", &names.iter().map(endpoint).collect::<Vec<_>>())])
    };
    let mut now = Instant::now();
    for names in [["a", "b"], ["c", "d"], ["a", "c"]] {
        say(&mut controller, web(&names));
        assert_eq!(controller.behind.as_ref().map(|behind| behind.error.as_str()), None);
        assert_eq!(ids(&controller, "web"), names);
        // Those that were replaced have their connections until they have ended.
        for _ in 0..8000 {
            let clock = &controller.plane.tables.now_ns;
            clock.set(clock.get() + 1_000_000_000);
            now += Duration::from_secs(1);
            controller.tick(now);
        }
        assert_eq!(controller.backends(Some("web")).unwrap().len(), 2);
    }
    say(&mut controller, web(&["a", "b", "c"]));
    assert_eq!(ids(&controller, "web"), ["a", "b"]);
    assert!(controller.services().unwrap()[0].problems[0].contains("max_backends"));
}

#[test]
fn a_data_plane_that_fails_is_tried_again_later_each_time() {
    let mut controller = controller(|fake| Faulty::new(fake, 1, 0));
    say(&mut controller, snapshot(&[("web", &[endpoint("a", "10.0.0.1", 1)])]));
    let now = Instant::now();
    assert!(!controller.is_ready(now));
    assert!(controller.status(Vec::new(), Vec::new(), now).problems.iter().any(|p| p.contains("injected fault")));
    let first = controller.behind.as_ref().unwrap().wait;
    controller.reconcile(now);
    assert_eq!(controller.behind.as_ref().unwrap().wait, first * 2);
    for _ in 0..20 {
        controller.reconcile(now);
    }
    assert_eq!(controller.behind.as_ref().unwrap().wait, RETRY.1);
    controller.plane.heal();
    controller.reconcile(now);
    assert_eq!(controller.behind.as_ref().map(|behind| behind.retry_at), None);
    assert_eq!(ids(&controller, "web"), ["a"]);
}

#[test]
fn readiness_waits_for_neighbours_but_not_for_ever() {
    let mut controller = controller(|fake| fake);
    say(
        &mut controller,
        snapshot(&[("web", &[endpoint("a", "10.0.0.1", 1)]), ("dns", &[endpoint("a", "10.0.0.1", 1)])]),
    );
    let spoke = controller.spoke.unwrap();
    assert!(!controller.is_ready(spoke));
    assert!(controller.is_ready(spoke + NEIGHBOURS));
    let mut hops = NextHops::default();
    let address = "10.0.0.1".parse().unwrap();
    hops.set(address, Reached::by(Hop::Stack(StackReason::Unresolved)));
    controller.stand_on(Ground { hops: Arc::new(hops.clone()), ..Ground::default() }, spoke);
    assert!(!controller.is_ready(spoke));
    let device = Hop::Device { ifindex: 3, tags: abi::Tags::NONE, source: [2; 6], destination: [4; 6], mtu: 1500 };
    hops.set(address, Reached::by(device));
    controller.stand_on(Ground { hops: Arc::new(hops), ..Ground::default() }, spoke);
    assert!(controller.is_ready(spoke));
}

/// The weight that a backend was on its way to is not in the data plane.
#[test]
fn after_a_restart_a_ramp_waits_for_its_registry() {
    let config =
        text().replace("protocol = \"tcp\"", "protocol = \"tcp\"\nslow_start = { over = \"1m\", max_moved = \"5%\" }");
    let config = parse(&config);
    let (a, b) = (endpoint("a", "10.0.0.1", 100), endpoint("b", "10.0.0.2", 100));
    let plane = Fake::new(capacity(&config));
    let mut first = Controller::new(config, plane, registries(), Instant::now());
    say(&mut first, snapshot(&[("web", std::slice::from_ref(&a))]));
    say(&mut first, snapshot(&[("web", &[a.clone(), b.clone()])]));
    let slots = |controller: &Controller<Fake>| {
        let rows = controller.backends(Some("web")).unwrap();
        assert_eq!(rows[1].state, "ramping");
        rows[1].slots
    };
    let reached = slots(&first);
    assert!(reached > 0 && reached < 20);
    let Controller { config, plane, capacity, .. } = first;
    let now = Instant::now();
    let mut second = Controller::adopt(config, plane, capacity, registries(), now).unwrap();
    for minute in 0..5 {
        second.tick(now + Duration::from_secs(60) * minute);
        assert_eq!(slots(&second), reached);
    }
    say(&mut second, snapshot(&[("web", &[a, b])]));
    assert!((reached..=reached + 12).contains(&slots(&second)), "from {reached} to {}", slots(&second));
}

/// A backend that was taken out stays out, and one that is adopted keeps its way until its address was looked up.
#[test]
fn whoever_takes_over_changes_nothing_until_it_knows_better() {
    let mut controller = controller(|fake| fake);
    say(&mut controller, snapshot(&[("web", &[endpoint("a", "10.0.0.1", 1), endpoint("b", "10.0.0.2", 1)])]));
    let address = "10.0.0.1".parse().unwrap();
    let mut hops = NextHops::default();
    let hop = Hop::Device { ifindex: 3, tags: abi::Tags::NONE, source: [2; 6], destination: [4; 6], mtu: 1500 };
    let frame = crate::nexthop::Frame {
        ifindex: 3,
        tags: abi::Tags::NONE,
        source: [2; 6],
        destination: [4; 6],
        mtu: 1500,
        port: None,
    };
    hops.set(address, Reached { frame: Some(frame), ..Reached::by(hop) });
    let now = Instant::now();
    controller.stand_on(Ground { hops: Arc::new(hops), ..Ground::default() }, now);
    let which = crate::api::types::Which { backend: "b".into(), service: None };
    let order =
        crate::api::types::DrainOrder { which, deadline_s: Some(0), then: Some(crate::api::types::Then::Remove) };
    controller.drain(&order, now).unwrap();
    for seconds in 1..20 {
        controller.plane.tables.now_ns.set(seconds * 1_000_000_000);
        controller.tick(now + Duration::from_secs(seconds));
    }
    let rows = controller.plane.tables.backends.clone();
    assert_eq!(rows.iter().filter(|row| row.delivery == abi::Delivery::DEVICE).count(), 1, "{rows:?}");

    let Controller { config, plane, .. } = controller;
    let capacity = capacity(&config);
    let mut registries = Registries::default();
    registries.expect("local", "file services.d".into());
    let mut controller = Controller::adopt(config, plane, capacity, registries, now).unwrap();
    controller.stand_on(Ground::default(), now);
    assert_eq!(controller.plane.tables.backends, rows, "nothing was written");
    assert_eq!(controller.plane.tables.vips.len(), 2, "a service without backends stays, too");
    say(&mut controller, snapshot(&[("web", &[endpoint("a", "10.0.0.1", 1), endpoint("b", "10.0.0.2", 1)])]));
    let states: Vec<String> = controller.backends(Some("web")).unwrap().into_iter().map(|row| row.state).collect();
    assert_eq!(states, ["active", "removed"]);
}

/// A typing error in a reload must not take a service down.
#[test]
fn another_registry_that_is_empty_removes_nothing_either() {
    let mut controller = controller(|fake| fake);
    say(&mut controller, snapshot(&[("web", &[endpoint("a", "10.0.0.1", 1)])]));
    let other = parse(&text().replace("services.d", "other.d"));
    assert_eq!(controller.unheard(&other), ["local"]);
    let answers = BTreeMap::from([("local".to_owned(), Snapshot::default())]);
    let report = controller.preview(&other, &answers, &[]).unwrap();
    assert_eq!(report.moved_ppm, 0);
    assert!(report.notes.iter().any(|note| note.contains("web") && note.contains("last 1 stand")), "{report:?}");
    controller.reconfigure(other, &answers, Ground::default(), Instant::now()).unwrap();
    assert_eq!(ids(&controller, "web"), ["a"]);
}

#[test]
fn rows_name_what_they_are_asked_for() {
    let controller = controller(|fake| fake);
    let error = controller.backends(Some("wbe")).unwrap_err().to_string();
    assert!(error.contains("wbe") && error.contains("web, dns"), "{error}");
    assert_eq!(controller.limits(None).unwrap().len(), 1);
    assert_eq!(controller.limits(Some("web")).unwrap().len() + controller.limits(Some("dns")).unwrap().len(), 1);
    let error = controller.limits(Some("wbe")).unwrap_err().to_string();
    assert_eq!(error, "there is no service \"wbe\"; there are web, dns");
    assert_eq!(controller.ledger(vec![]).unwrap().refusals.len(), lb_common::Refusal::ALL.len());
}

#[test]
fn of_reports_that_wait_the_last_is_published_and_no_other() {
    let mut controller = controller(|fake| fake);
    say(&mut controller, snapshot(&[("web", &[endpoint("a", "10.0.0.1", 1)])]));
    let before = controller.generation;
    let update = |weight| Update {
        registry: "local".into(),
        report: snapshot(&[("web", &[endpoint("a", "10.0.0.1", 1), endpoint("b", "10.0.0.2", weight)])]),
    };
    controller.hear((1..=50).map(update), Instant::now());
    assert_eq!(controller.generation, before + 1);
    assert_eq!(controller.backends(Some("web")).unwrap()[1].weight, 50);
}

#[test]
fn backends_at_one_address_do_not_crowd_out_others() {
    let mut controller = controller(|fake| fake);
    let endpoint = |port: u16| Endpoint { port, ..endpoint(&port.to_string(), "10.0.0.1", 1) };
    let many: Vec<Endpoint> = (1..=20_000).map(endpoint).collect();
    let other = [self::endpoint("other", "10.0.0.2", 1)];
    say(&mut controller, snapshot(&[("dns", &many), ("web", &other)]));
    assert_eq!(controller.addresses().len(), 2);
}

#[path = "model_tests.rs"]
mod model;
