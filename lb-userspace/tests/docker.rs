//! The `docker` source on a real engine: what containers do, and what is said of it.

mod engine;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use engine::{Host, NETWORK};
use nix::unistd::{Uid, setfsuid};
use weir::config::Registry;
use weir_tests::lab::docker::Options;

fn host() -> Host {
    Host::new(&Options::default(), Registry::Docker, |_| ())
}

/// Runs a container that sleeps.
fn run(host: &Host, name: &str, options: &str) {
    host.docker(&format!("run --detach --name {name} {options} sleeper"));
}

/// Waits until the service `web` has these endpoints, each of either family.
fn wait_web(host: &mut Host, what: &str, expected: &[(&str, u16)]) -> Duration {
    let expected: Vec<(String, u16)> = expected
        .iter()
        .flat_map(|(name, weight)| [((*name).to_owned(), *weight), ((*name).to_owned(), *weight)])
        .collect();
    host.wait(what, |host| host.web() == expected)
}

const WEB: &str = "--network backend --label weir.service=web --label weir.port=80";

#[test]
fn what_containers_do_is_told_soon() {
    let mut host = host();
    host.wait("the first snapshot", |host| host.snapshot.is_some());
    assert_eq!(host.web(), []);

    run(&host, "one", &format!("{WEB} --label weir.vip=192.0.2.10:80/tcp"));
    let took = wait_web(&mut host, "one that was started", &[("one", 100)]);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let service = &host.declared.services[0];
    assert_eq!((service.name.as_str(), service.vip.to_string().as_str()), ("web", "192.0.2.10:80/tcp"));
    let network = host.engine.network(NETWORK).expect("there");
    let port = host.declared.ports.iter().find(|port| port.container == "one").expect("its port");
    assert_eq!((&port.bridge, &port.networks), (&network.bridge, &vec![network.id.clone()]));
    assert!(host.declared.allow["web"].networks.contains(&network.id) && host.declared.allow["web"].outside);

    run(&host, "two", WEB);
    wait_web(&mut host, "another one", &[("one", 100), ("two", 100)]);
    host.docker("pause two");
    wait_web(&mut host, "one that is paused", &[("one", 100), ("two", 0)]);
    host.docker("unpause two");
    wait_web(&mut host, "one that goes on", &[("one", 100), ("two", 100)]);
    host.docker("rename two deux");
    wait_web(&mut host, "one with another name", &[("one", 100), ("deux", 100)]);
    host.docker("network disconnect backend deux");
    wait_web(&mut host, "one off its network", &[("one", 100)]);
    host.wait_problem(&["deux", "network"]);
    host.docker("network connect backend deux");
    wait_web(&mut host, "one on its network again", &[("one", 100), ("deux", 100)]);
    // The first process of a container, which has no handler, does not hear of it: it runs on.
    host.docker("kill --signal TERM deux");
    wait_web(&mut host, "one that was asked to stop", &[("one", 100), ("deux", 0)]);
    host.docker("kill deux");
    let took = wait_web(&mut host, "one that was killed", &[("one", 100)]);
    assert!(took < Duration::from_secs(1), "{took:?}");
    host.docker("start deux");
    wait_web(&mut host, "one that was started again", &[("one", 100), ("deux", 100)]);

    let engine_down = host.engine.kill();
    engine_down.expect("killed");
    host.wait_problem(&["docker unix://", "the last good state stands"]);
    assert_eq!(host.web().len(), 4);
    host.engine.restart(&host.lab).expect("restarted");
    host.wait("the engine's return", |host| host.problem.is_none());
    wait_web(&mut host, "all of them", &[("one", 100), ("deux", 100)]);
    host.docker("rm --force one deux");
    host.wait("the end of both", |host| host.web().is_empty() && host.declared.services.is_empty());
}

#[test]
fn a_container_with_a_health_check_serves_once_it_is_healthy() {
    let mut host = host();
    let check = "--health-interval 1s --health-retries 1 --health-cmd";
    let argument = format!("run --detach --name one {WEB} {check}");
    let words: Vec<&str> = argument.split_whitespace().chain(["test -f /well", "sleeper"]).collect();
    host.engine.cli(&words).expect("run");
    wait_web(&mut host, "one that is not healthy", &[("one", 0)]);
    host.wait_problem(&["service web: no container takes new flows: one "]);
    host.docker("exec one touch /well");
    wait_web(&mut host, "one that is healthy", &[("one", 100)]);
    host.wait("the problem's end", |host| host.problem.is_none());
    host.docker("exec one rm /well");
    wait_web(&mut host, "one that fell ill", &[("one", 0)]);
    host.wait_problem(&["one is unhealthy"]);
}

#[test]
fn bad_containers_are_named_and_the_rest_goes_on() {
    let mut host = host();
    run(&host, "good", WEB);
    wait_web(&mut host, "a good one", &[("good", 100)]);
    for (name, options, problem) in [
        (
            "eighty",
            "--network backend --label weir.service=web --label weir.port=eighty",
            " is left out: weir.port: found \"eighty\", expected an integer",
        ),
        (
            "hostly",
            "--network host --label weir.service=web --label weir.port=80",
            " is left out: found the host's network (network_mode host), expected a network of containers",
        ),
        (
            "lonely",
            "--network none --label weir.service=web --label weir.port=80",
            " is left out: found no network (network_mode none), expected one",
        ),
        (
            "far",
            &format!("{WEB} --label weir.vip=203.0.113.1:80/tcp"),
            ": weir.vip: found 203.0.113.1:80/tcp, expected an address that `may_create` allows: 192.0.2.0/24",
        ),
    ] {
        run(&host, name, options);
        host.wait_problem(&[&format!("container {name}{problem}")]);
        assert!(host.web().contains(&("good".to_owned(), 100)));
        host.docker(&format!("rm --force {name}"));
        host.wait("the problem's end", |host| host.problem.is_none());
    }
    wait_web(&mut host, "the good one", &[("good", 100)]);
}

/// The user that may do nothing.
const NOBODY: u32 = 65_534;

/// Root may use any socket, so the source runs as somebody who may not: as to files, which is all that a Unix socket asks
/// about, and for the threads it runs on alone.
#[test]
fn a_socket_that_may_not_be_used_is_told_with_what_to_do() {
    let open = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("its mode");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(|| {
            setfsuid(Uid::from_raw(NOBODY));
        })
        .build()
        .expect("a runtime");
    let mut host = Host::followed_on(runtime, &Options::default(), Registry::Docker, |engine| {
        // The way there is open to all, so it is the socket itself that refuses.
        let socket = engine.socket();
        socket.ancestors().skip(1).take(2).for_each(|folder| open(folder, 0o755));
        open(&socket, 0o600);
    });
    let socket = host.engine.socket();
    host.wait_problem(&[
        &format!("docker unix://{}", socket.display()),
        "Permission denied",
        "Weir's user may not use the socket: add it to the group that owns it (docker), or run Weir as root",
    ]);
    assert_eq!(host.snapshot, None);
    open(&socket, 0o666);
    host.wait("the first snapshot, once it may", |host| host.snapshot.is_some() && host.problem.is_none());
}
