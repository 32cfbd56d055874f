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

    for (bad, words) in [
        (declared("bad-port").network(NETWORK).label("weir.port", "eighty"), &["bad-port", "weir.port", "eighty"][..]),
        (declared("bad-weight").network(NETWORK).label("weir.weight", "-1"), &["bad-weight", "weir.weight", "-1"]),
        (declared("typo").network(NETWORK).label("weir.wieght", "5"), &["typo", "weir.wieght"]),
        (declared("bad-mode").network(NETWORK).label("weir.forward", "magic"), &["bad-mode", "weir.forward", "magic"]),
        (with_vip("bad-vip", "other", "203.0.113.10"), &["bad-vip", "weir.vip", "203.0.113.10"]),
        (with_vip("far-vip", "other", "198.18.0.1:80/tcp"), &["far-vip", "198.18.0.1", "may_create"]),
        // The same VIP as `good`'s, by another service's name, and later.
        (with_vip("thief", "other", "203.0.113.10:80/tcp"), &["thief", "203.0.113.10:80"]),
        (declared("hostly").option("--network", "host"), &["hostly", "host"]),
        (declared("lonely").option("--network", "none"), &["lonely"]),
    ] {
        let container = host.engine.run(&bad).unwrap();
        weir.await_problem(words);
        serves(words[0]);
        container.remove().unwrap();
    }
    weir_tests::lab::wait_until("the problems to be forgotten", crate::stage::SOON, || {
        weir.status().problems.is_empty().then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:#?}", weir.status().problems));
    serves("all that was bad is gone");
}

#[test]
fn a_socket_that_may_not_be_used_is_told_with_what_to_do() {
    let host = Host::new();
    let socket = host.engine.socket();
    let _good = host.run_on(NETWORK, declared("good"));
    // Nobody is there; root is refused by nothing less.
    let aside = socket.with_extension("aside");
    std::fs::rename(&socket, &aside).unwrap();
    let weir = host.weir();
    weir.await_problem(&["docker.sock"]);
    std::fs::rename(&aside, &socket).unwrap();
    weir.await_serving("the socket is there", &["good"]);
}
