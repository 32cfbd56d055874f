//! What a container may say wrongly: it is named, and the rest goes on.

use weir_tests::lab::docker::Run;

use crate::stage::{Host, NETWORK, declared};

/// A container of a service of its own with this VIP.
fn with_vip(name: &str, service: &str, vip: &str) -> Run {
    Run::new(name).network(NETWORK).label("weir.service", service).label("weir.port", "8080").label("weir.vip", vip)
}

#[test]
fn bad_labels_are_told_by_the_containers_name_and_the_rest_goes_on() {
    let host = Host::new();
    let weir = host.weir();
    let _good = host.run_on(NETWORK, declared("good"));
    let serves = |what: &str| weir.await_serving(what, &["good"]);
    serves("one good container");

    let left_out = |name: &str, reason: &str| format!("container {name} is left out: {reason}");
    let labelled = [
        ("bad-port", "weir.port", "eighty", "weir.port: found \"eighty\", expected an integer from 0 to 65535"),
        ("bad-weight", "weir.weight", "-1", "weir.weight: found \"-1\", expected an integer from 0 to 65535"),
        (
            "typo",
            "weir.wieght",
            "5",
            "\"weir.wieght\": found an unknown label, expected weir.weight (did you mean that?)",
        ),
        ("bad-mode", "weir.forward", "magic", "weir.forward: found \"magic\", expected nat, snat, l2, ipip or gue"),
    ]
    .map(|(name, label, value, reason)| {
        (name, declared(name).network(NETWORK).label(label, value), left_out(name, reason))
    });
    let others = [
        (
            "bad-vip",
            with_vip("bad-vip", "other", "203.0.113.10"),
            left_out("bad-vip", "weir.vip: found \"203.0.113.10\", expected ADDRESS:PORT/PROTOCOL"),
        ),
        (
            "far-vip",
            with_vip("far-vip", "other", "198.18.0.1:80/tcp"),
            "container far-vip: weir.vip: found 198.18.0.1:80/tcp, expected an address that `may_create` allows: \
             203.0.113.0/24"
                .to_owned(),
        ),
        // The same VIP as `good`'s, by another service's name, and later.
        (
            "thief",
            with_vip("thief", "other", "203.0.113.10:80/tcp"),
            "container thief: weir.vip: found 203.0.113.10:80/tcp with another weir.service than container good has, \
             expected the same"
                .to_owned(),
        ),
        (
            "hostly",
            declared("hostly").option("--network", "host"),
            left_out("hostly", "found the host's network (network_mode host), expected a network of containers"),
        ),
        (
            "lonely",
            declared("lonely").option("--network", "none"),
            left_out("lonely", "found no network (network_mode none), expected one"),
        ),
    ];
    for (name, bad, problem) in labelled.into_iter().chain(others) {
        let container = host.engine.run(&bad).unwrap();
        weir.await_problem(&[&problem]);
        serves(name);
        container.remove().unwrap();
    }
    weir_tests::lab::wait_until("the problems to be forgotten", crate::stage::SOON, || {
        weir.status().problems.is_empty().then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:#?}", weir.status().problems));
    serves("all that was bad is gone");
}

#[test]
fn a_socket_that_is_not_there_is_told_with_what_to_do() {
    let host = Host::new();
    let socket = host.engine.socket();
    let _good = host.run_on(NETWORK, declared("good"));
    let aside = socket.with_extension("aside");
    std::fs::rename(&socket, &aside).unwrap();
    let weir = host.weir();
    weir.await_problem(&["docker.sock", "is the engine running, and is this its address?"]);
    std::fs::rename(&aside, &socket).unwrap();
    weir.await_serving("the socket is there", &["good"]);
}
