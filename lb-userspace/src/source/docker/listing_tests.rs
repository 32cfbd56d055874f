//! What containers of all kinds together say.

use super::*;
use crate::source::declared::ContainerNetwork;

const MAY_CREATE: &str = "192.0.2.0/24";

fn networks() -> Networks {
    let network = |id: &str, name: &str, bridge: Option<&str>| {
        let bridge = bridge.map(str::to_owned);
        (id.to_owned(), ContainerNetwork { id: id.into(), name: name.into(), bridge })
    };
    [
        network("n0", "bridge", Some("docker0")),
        network("n1", "shop_frontend", Some("br-n1")),
        network("n2", "shop_backend", Some("br-n2")),
        network("n3", "other_backend", Some("br-n3")),
        network("n4", "overlay", None),
    ]
    .into()
}

/// A container created as the `number`th, on networks by id, each with an address of either family.
fn container(number: u8, on: &[&str], labels: &[(&str, &str)]) -> Container {
    let name_of = |id: &str| networks().get(id).map(|network| network.name.clone()).expect("a network");
    let attachment = |id: &&str| {
        let net = u8::try_from(id.trim_start_matches('n').len()).expect("small") + id.as_bytes()[1] - b'0';
        Attachment {
            name: name_of(id),
            id: (*id).to_owned(),
            addresses: vec![
                format!("10.0.{net}.{number}").parse().expect("v4"),
                format!("fd00:{net}::{number}").parse().expect("v6"),
            ],
            mac: Some([2, 0x42, 0, 0, net, number]),
        }
    };
    let mut attachments: Vec<Attachment> = on.iter().map(attachment).collect();
    attachments.sort_by(|a, b| a.name.cmp(&b.name));
    Container {
        id: format!("id{number}"),
        name: format!("c{number}"),
        created: format!("2026-11-23T06:00:{number:02}.000000000"),
        started: String::new(),
        labels: labels.iter().map(|(label, value)| (format!("weir.{label}"), (*value).to_owned())).collect(),
        project: Some("shop".to_owned()),
        state: State::Serving,
        stop_signal: 15,
        mode: Mode::Own,
        ports: vec![],
        attachments,
    }
}

fn listing(containers: &[Container]) -> Listing {
    let prefix = MAY_CREATE.parse().expect("a prefix");
    Listing::of(&containers.iter().collect::<Vec<_>>(), &networks(), &[prefix])
}

/// The only problem of containers of which the others serve.
fn problem_of(odd: Container) -> String {
    let good = container(1, &["n2"], &[("service", "web"), ("port", "80")]);
    let listing = listing(&[good, odd]);
    assert!(listing.snapshot.contains_key("web"), "the rest goes on");
    let [problem] = listing.problems.as_slice() else { panic!("{:?}", listing.problems) };
    problem.clone()
}

#[test]
fn a_container_serves_at_its_addresses_and_creates_its_vips() {
    let vip = "192.0.2.10:80/tcp, 192.0.2.10:443/tcp";
    let labels = [("service", "web"), ("port", "8080"), ("vip", vip), ("weight", "7")];
    let mut unlabelled = container(2, &["n1", "n2"], &[]);
    unlabelled.ports = vec![80];
    let listing = listing(&[container(1, &["n2"], &labels), unlabelled]);
    assert_eq!(listing.problems, Vec::<String>::new());
    let web: Vec<String> = listing.snapshot["web"]
        .iter()
        .map(|one| format!("{} {} {} {}", one.id, one.address, one.port, one.weight))
        .collect();
    assert_eq!(web, ["c1 10.0.3.1 8080 7", "c1 fd00:3::1 8080 7"]);
    let services: Vec<String> = listing
        .declared
        .services
        .iter()
        .map(|one| format!("{} {} {} {}", one.name, one.registry_service, one.vip, one.claimed_by))
        .collect();
    assert_eq!(
        services,
        ["web web 192.0.2.10:80/tcp container c1", "web@192.0.2.10:443/tcp web 192.0.2.10:443/tcp container c1",]
    );
    let ports: Vec<String> = listing
        .declared
        .ports
        .iter()
        .map(|port| format!("{} {} {:?} {}", port.bridge, port.container, port.networks, port.mac[5]))
        .collect();
    assert_eq!(ports, ["br-n1 c2 [\"n2\", \"n1\"] 2", "br-n2 c1 [\"n2\"] 1", "br-n2 c2 [\"n2\", \"n1\"] 2"]);
    assert_eq!(listing.declared.networks.len(), 5);
}

#[test]
fn the_only_exposed_port_is_where_it_listens() {
    let mut one = container(1, &["n0"], &[("service", "dns")]);
    one.ports = vec![53];
    assert_eq!(listing(&[one]).snapshot["dns"][0].port, 53);
}

#[test]
fn networks_are_chosen_by_the_name_that_compose_or_the_engine_gave_them() {
    for (label, address) in [("backend", "10.0.3.1"), ("shop_backend", "10.0.3.1"), ("bridge", "10.0.1.1")] {
        let one = container(1, &["n0", "n1", "n2"], &[("service", "web"), ("port", "80"), ("network", label)]);
        assert_eq!(listing(&[one]).snapshot["web"][0].address.to_string(), address, "{label}");
    }
    // Without a project of its own the end of a name is enough when there is one.
    let mut one = container(1, &["n0", "n3"], &[("service", "web"), ("port", "80"), ("network", "backend")]);
    one.project = None;
    assert_eq!(listing(&[one]).snapshot["web"][0].address.to_string(), "10.0.4.1");
    // Without a label a network with a bridge comes first.
    let one = container(1, &["n4", "n1"], &[("service", "web"), ("port", "80")]);
    assert_eq!(listing(&[one]).snapshot["web"][0].address.to_string(), "10.0.2.1");
}

#[test]
fn who_may_use_a_service_are_its_containers_networks_unless_labels_say() {
    let allow = |labels: &[(&str, &str)]| {
        let web = [("service", "web"), ("port", "80")];
        let labels: Vec<_> = web.iter().chain(labels).copied().collect();
        let listing = listing(&[container(1, &["n1", "n2"], &labels), container(2, &["n2", "n3"], &labels)]);
        assert_eq!(listing.problems, Vec::<String>::new());
        let allow = &listing.declared.allow["web"];
        (allow.networks.iter().cloned().collect::<Vec<_>>().join(" "), allow.outside)
    };
    assert_eq!(allow(&[]), ("n1 n2 n3".to_owned(), true));
    assert_eq!(allow(&[("public", "false")]), ("n1 n2 n3".to_owned(), false));
    assert_eq!(allow(&[("allow_networks", "frontend")]), ("n1".to_owned(), false));
    assert_eq!(allow(&[("allow_networks", "bridge,outside")]), ("n0".to_owned(), true));
    let odd = container(2, &["n2"], &[("service", "x"), ("port", "1"), ("allow_networks", "nowhere")]);
    assert_eq!(
        problem_of(odd),
        "container c2: weir.allow_networks: found \"nowhere\", expected the name of a network, of which there may be only \
         one, or outside"
    );
}

#[test]
fn states_that_take_no_new_flows_have_weight_0_and_are_told_only_when_all_do() {
    let labels = [("service", "web"), ("port", "80")];
    for state in [State::Starting, State::Unhealthy, State::Paused, State::Stopping] {
        let mut odd = container(2, &["n2"], &labels);
        odd.state = state;
        let both = listing(&[container(1, &["n2"], &labels), odd.clone()]);
        assert_eq!(both.snapshot["web"].iter().map(|one| one.weight).collect::<Vec<_>>(), [100, 100, 0, 0]);
        assert_eq!(both.problems, Vec::<String>::new());
        let alone = listing(&[odd]);
        let expected = format!("service web: no container takes new flows: c2 {}", state.idle().expect("idle"));
        assert_eq!(alone.problems, [expected]);
    }
    let mut off = container(2, &["n2"], &labels);
    off.state = State::Off;
    assert_eq!(listing(&[off]), Listing { declared: listing(&[]).declared, ..Listing::default() });
}

#[test]
fn bad_containers_are_named() {
    let web = [("service", "web"), ("port", "80")];
    let with = |label: &'static str, value: &'static str| [web[0], web[1], (label, value)];
    let mut host = container(2, &[], &web);
    host.mode = Mode::Host;
    assert!(problem_of(host).starts_with("container c2 is left out: found the host's network (network_mode host)"));
    let mut shared = container(2, &[], &web);
    shared.mode = Mode::Of("0123456789abcdef".into());
    assert!(problem_of(shared).contains("found the network of container 0123456789ab, expected one of its own"));
    let mut none = container(2, &[], &web);
    none.mode = Mode::None;
    assert!(problem_of(none).contains("found no network (network_mode none)"));
    let mut addressless = container(2, &["n2"], &web);
    addressless.attachments[0].addresses.clear();
    assert!(problem_of(addressless).contains("found no address on network shop_backend, expected one"));
    let elsewhere = container(2, &["n1", "n0"], &with("network", "backend"));
    let expected = "container c2 is left out: weir.network: found \"backend\", expected a network that it is on: bridge or \
                    shop_frontend";
    assert_eq!(problem_of(elsewhere), expected);
    let mut portless = container(2, &["n2"], &[("service", "x")]);
    portless.ports = vec![80, 443];
    assert!(problem_of(portless).contains("weir.port: found nothing, expected a port: its image exposes 80, 443"));
    let odd = container(2, &["n2"], &[("service", "x"), ("port", "http")]);
    assert!(problem_of(odd).starts_with("container c2 is left out: weir.port: found \"http\", expected"));
    let far = container(2, &["n2"], &with("vip", "203.0.113.1:80/tcp"));
    let expected =
        "container c2: weir.vip: found 203.0.113.1:80/tcp, expected an address that `may_create` allows: 192.0.2.0/24";
    assert_eq!(problem_of(far), expected);
}

#[test]
fn of_two_that_claim_one_vip_differently_the_first_wins() {
    let vip = ("vip", "192.0.2.10:80/tcp");
    let first = container(1, &["n2"], &[("service", "web"), ("port", "80"), vip]);
    let other = [("service", "shop"), ("port", "80"), vip, ("forward", "snat")];
    let listing = listing(&[first, container(2, &["n2"], &other)]);
    assert_eq!(listing.declared.services.len(), 1);
    assert_eq!(listing.declared.services[0].claimed_by, "container c1");
    assert_eq!(
        listing.problems,
        [
            "container c2: weir.vip: found 192.0.2.10:80/tcp with another weir.service or weir.forward than container c1 has, \
             expected the same; what c1, which was created first, says holds"
        ]
    );
}

#[test]
fn many_problems_are_cut() {
    let odd: Vec<Container> = (1..=30).map(|number| container(number, &["n2"], &[("port", "80")])).collect();
    let told = listing(&odd).problem().expect("some");
    assert_eq!(told.lines().count(), 21);
    assert!(told.ends_with("\nand 10 more problems"), "{told}");
    assert!(listing(&odd).snapshot.is_empty());
}
