//! Services that a registry creates, from their first container to their last.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lb_common::abi::Tags;

use super::{Controller, Registries, capacity, stage};
use crate::config::{Config, Forward};
use crate::dataplane::Fake;
use crate::desired::Ground;
use crate::nexthop::{Device, NextHops};
use crate::source::declared::{Allow, ContainerNetwork, Declared, DeclaredService};
use crate::source::{Endpoint, Report, Snapshot, Update};

const CONFIG: &str = r#"
interface = [{ name = "eth0" }]
[weir]
max_services = 4
snat_addresses = ["192.0.2.9"]
[registry.engine]
type = "docker"
may_create = ["192.0.2.0/24"]
[[service]]
name = "web"
vip = "192.0.2.1"
port = 80
protocol = "tcp"
"#;

fn config() -> Config {
    Config::parse(CONFIG, Path::new("weir.toml")).expect("good")
}

fn controller() -> Controller<Fake> {
    let mut registries = Registries::default();
    registries.expect("engine", "docker".into());
    let config = config();
    let plane = Fake::new(capacity(&config));
    Controller::new(config, plane, registries, Instant::now())
}

fn endpoint(id: &str, address: &str) -> Endpoint {
    stage::endpoint(id, address, 100)
}

fn service(name: &str, vip: &str) -> DeclaredService {
    DeclaredService {
        name: name.into(),
        registry_service: name.split('@').next().expect("a name").into(),
        vip: vip.parse().expect("a VIP"),
        forward: None,
        limits: Vec::new(),
        claimed_by: "container c1".into(),
    }
}

fn say(controller: &mut Controller<Fake>, report: Report) {
    controller.hear([Update { registry: "engine".into(), report }], Instant::now());
}

fn tell(controller: &mut Controller<Fake>, services: Vec<DeclaredService>, endpoints: &[(&str, &[Endpoint])]) {
    say(controller, Report::Declared(Arc::new(Declared { services, ..Declared::default() })));
    let snapshot: Snapshot = endpoints.iter().map(|(name, all)| ((*name).to_owned(), (*all).into())).collect();
    say(controller, Report::Snapshot(snapshot));
    // Until nothing is due any more, which for connections that live is far off.
    for _ in 0..4 {
        let Some(due) = controller.tick_at() else { break };
        controller.tick(due);
    }
}

/// Every service's backends as they are shown: what, where, and how they are.
fn rows(controller: &Controller<Fake>) -> Vec<String> {
    let rows = controller.backends(None).expect("rows").into_iter();
    rows.map(|row| format!("{} {} {} {}", row.service, row.id, row.address, row.state)).collect()
}

fn problems(controller: &Controller<Fake>) -> Vec<String> {
    controller.status(Vec::new(), Vec::new(), Instant::now()).problems
}

#[test]
fn a_label_creates_a_service_with_its_first_container() {
    let mut controller = controller();
    tell(
        &mut controller,
        vec![service("api", "192.0.2.2:80/tcp")],
        &[("api", &[endpoint("c1", "10.0.0.1")]), ("web", &[endpoint("c2", "10.0.0.2")])],
    );
    assert_eq!(rows(&controller), ["web c2 10.0.0.2 active", "api c1 10.0.0.1 active"]);
    assert_eq!(problems(&controller), Vec::<String>::new());
    let api = &controller.config().services[1];
    assert_eq!((api.forward, &api.allow), (Forward::Nat, &Some(Allow { outside: true, ..Allow::default() })));
}

#[test]
fn an_endpoint_that_is_not_named_any_more_is_cut_and_a_service_without_claim_ends() {
    let mut controller = controller();
    let both = [endpoint("c1", "10.0.0.1"), endpoint("c2", "10.0.0.2")];
    let declared = || vec![service("api", "192.0.2.2:80/tcp")];
    tell(&mut controller, declared(), &[("api", &both)]);
    assert_eq!(rows(&controller).len(), 2);
    tell(&mut controller, declared(), &[("api", &both[1..])]);
    assert_eq!(rows(&controller), ["api c2 10.0.0.2 active"], "nothing lingers at an address that may be another's");
    // Without its last container.
    tell(&mut controller, vec![], &[]);
    assert_eq!(rows(&controller), Vec::<String>::new());
    let api = "192.0.2.2:80/tcp".parse().expect("a VIP");
    assert!(!controller.state.services.contains_key(&api), "it has gone with its last connection");
    let asked = controller.backends(Some("api")).map(drop).map_err(|error| error.to_string());
    assert_eq!(asked, Err("there is no service \"api\"; there are web".to_owned()), "nobody has said anything since");
    // And back again.
    tell(&mut controller, declared(), &[("api", &both)]);
    assert_eq!(rows(&controller).len(), 2);
}

#[test]
fn a_service_that_is_not_claimed_any_more_drains_while_its_containers_live() {
    let mut controller = controller();
    let one = [endpoint("c1", "10.0.0.1")];
    tell(&mut controller, vec![service("api", "192.0.2.2:80/tcp")], &[("api", &one)]);
    tell(&mut controller, vec![], &[("api", &one)]);
    let rows = rows(&controller);
    assert!(rows.len() == 1 && rows[0].starts_with("api c1 10.0.0.1 ") && !rows[0].ends_with("active"), "{rows:?}");
    let expected = "registry engine: container c1: found weir.service \"api\", expected a service of the configuration with \
                    registry \"engine\", or a weir.vip that may be created";
    assert!(problems(&controller).contains(&expected.to_owned()), "{:?}", problems(&controller));
}

#[test]
fn the_configuration_comes_before_labels() {
    let mut controller = controller();
    let one: &[Endpoint] = &[endpoint("c1", "10.0.0.1")];
    tell(
        &mut controller,
        vec![
            // The configuration's own.
            service("web", "192.0.2.1:80/tcp"),
            // Another VIP of a service that has one.
            DeclaredService { name: "web".into(), ..service("web", "192.0.2.1:443/tcp") },
            service("snat", "192.0.2.9:80/tcp"),
        ],
        &[("web", one), ("snat", one)],
    );
    let names: Vec<String> =
        controller.config().services.iter().map(|one| format!("{} {}", one.name, one.vip)).collect();
    assert_eq!(names, ["web 192.0.2.1:80/tcp", "web@192.0.2.1:443/tcp 192.0.2.1:443/tcp"]);
    assert_eq!(rows(&controller).len(), 2);
    assert!(
        problems(&controller)[0]
            .contains("weir.vip 192.0.2.9:80/tcp of service snat is left out: found an address that")
    );
    // A VIP of another service.
    tell(&mut controller, vec![service("shop", "192.0.2.1:80/tcp")], &[("web", one), ("shop", one)]);
    let expected = "container c1: weir.vip 192.0.2.1:80/tcp of service shop is left out: found that service web has this VIP, \
                    expected every VIP once";
    assert!(problems(&controller)[0].contains(expected), "{:?}", problems(&controller));
}

#[test]
fn there_are_no_more_services_than_the_maps_have_room_for() {
    let mut controller = controller();
    let all: Vec<DeclaredService> =
        (1..=4).map(|port| service(&format!("s{port}"), &format!("192.0.2.2:{port}/udp"))).collect();
    let one: &[Endpoint] = &[endpoint("c1", "10.0.0.1")];
    tell(&mut controller, all, &[("s1", one), ("s2", one), ("s3", one), ("s4", one), ("web", one)]);
    assert_eq!(controller.config().services.len(), 4);
    assert!(problems(&controller)[0].contains("service s4 is left out: found no room for more services"));
}

#[test]
fn a_reload_keeps_what_was_declared() {
    let mut controller = controller();
    let one = [endpoint("c1", "10.0.0.1")];
    tell(&mut controller, vec![service("api", "192.0.2.2:80/tcp")], &[("api", &one)]);
    controller
        .reconfigure(config(), &std::collections::BTreeMap::new(), Ground::default(), Instant::now())
        .expect("good");
    assert_eq!(rows(&controller), ["api c1 10.0.0.1 active"]);
    let report = controller.preview(&config(), &std::collections::BTreeMap::new(), &[]).expect("a report");
    assert_eq!(report.moved_ppm, 0, "{report:?}");
}

/// Who may use what is in the data plane as bits, in services and in devices: the ones mean nothing without the others.
#[test]
fn after_a_restart_networks_are_as_they_were_until_the_engine_says_otherwise() {
    let (bridge, veth, api) = (7, 8, "192.0.2.2:80/tcp".parse().expect("a VIP"));
    let device = |name: &str, kind: &str, link, bridge| Device {
        name: name.into(),
        can_transmit: false,
        mtu: 1500,
        ethernet: Some([2; 6]),
        kind: Some(kind.into()),
        link,
        tags: Tags::NONE,
        can_scatter: false,
        is_up: true,
        bridge,
        has_peer_elsewhere: kind == "veth",
    };
    let mut hops = NextHops::default();
    hops.devices.insert(bridge, device("br-a", "bridge", bridge, None));
    hops.devices.insert(veth, device("veth1", "veth", veth, Some(bridge)));
    let ground = Ground { hops: Arc::new(hops), ingress: [veth].into(), ..Ground::default() };
    let bits = |controller: &Controller<Fake>| {
        (controller.state.services[&api].head.networks, controller.state.devices[&veth].networks)
    };
    let mut before = controller();
    before.stand_on(ground.clone(), Instant::now());
    let network = ContainerNetwork { id: "a".into(), name: "a".into(), bridge: Some("br-a".into()) };
    let allow = Allow { networks: Arc::new(["a".to_owned()].into()), outside: false };
    say(
        &mut before,
        Report::Declared(Arc::new(Declared {
            services: vec![service("api", "192.0.2.2:80/tcp")],
            allow: [("api".to_owned(), allow)].into(),
            networks: vec![network],
            ports: Vec::new(),
        })),
    );
    let endpoints: Arc<[Endpoint]> = [endpoint("c1", "10.0.0.1")].into();
    say(&mut before, Report::Snapshot([("api".to_owned(), endpoints)].into()));
    let known = bits(&before);
    assert!(known.0 == known.1 && known.0 != 0, "{known:?}");
    let capacity = before.capacity;
    let mut registries = Registries::default();
    registries.expect("engine", "docker".into());
    let mut after = Controller::adopt(config(), before.plane, capacity, registries, Instant::now()).expect("adopted");
    after.stand_on(ground, Instant::now());
    say(&mut after, Report::Problem("refused".into()));
    after.reconcile(Instant::now());
    assert_eq!(bits(&after), known);
}

#[test]
fn after_a_restart_what_was_declared_stands_until_the_engine_says_otherwise() {
    let mut before = controller();
    let one = [endpoint("c1", "10.0.0.1")];
    tell(&mut before, vec![service("api", "192.0.2.2:80/tcp")], &[("api", &one)]);
    let capacity = before.capacity;
    let mut registries = Registries::default();
    registries.expect("engine", "docker".into());
    let mut after = Controller::adopt(config(), before.plane, capacity, registries, Instant::now()).expect("adopted");
    after.reconcile(Instant::now());
    let api = "192.0.2.2:80/tcp".parse().expect("a VIP");
    let shares = |controller: &Controller<Fake>| {
        controller.state.services.get(&api).map(|held| held.backends.values().map(|one| one.row.weight).sum::<u32>())
    };
    assert!(shares(&after).is_some_and(|share| share > 0), "{:?}", shares(&after));
    let who_may = |controller: &Controller<Fake>| controller.state.services[&api].head.networks;
    assert_eq!(who_may(&after), lb_common::abi::Networks::OUTSIDE, "and not everybody");
    say(&mut after, Report::Problem("refused".into()));
    assert!(shares(&after).is_some_and(|share| share > 0));
    tell(&mut after, vec![], &[]);
    after.reconcile(Instant::now());
    assert_eq!(shares(&after), None);
}
