//! The `swarm` source on a real manager: what services, tasks and nodes do, and what is said of it.

mod engine;

use std::net::IpAddr;
use std::time::Duration;

use engine::Host;
use weir::config::Registry;
use weir_tests::lab::docker::{Engine, Options};

/// Makes a manager of an engine, with an overlay.
fn become_manager(engine: &Engine) {
    let cli = |words: &str| engine.cli(&words.split(' ').collect::<Vec<_>>()).expect(words);
    engine.make_swarm().expect("a swarm");
    cli("network create --driver overlay over");
}

/// A manager, followed.
fn manager() -> Host {
    Host::new(&Options { swarm: true, ..Options::default() }, Registry::Swarm, become_manager)
}

/// What there is to create a service of sleepers that stop within four seconds.
const CREATE: &str = "service create --quiet --detach --endpoint-mode dnsrr --no-resolve-image --stop-grace-period 4s \
                      --label weir.service=web --label weir.port=80";

/// The weights of the tasks of `web`, by slot: `1:100 2:0`.
fn slots(host: &Host) -> String {
    let slot = |id: &str| id.split('.').nth(1).unwrap_or_default().to_owned();
    let mut slots: Vec<String> = host.web().iter().map(|(id, weight)| format!("{}:{weight}", slot(id))).collect();
    slots.sort();
    slots.join(" ")
}

fn wait_slots(host: &mut Host, what: &str, expected: &str) -> Duration {
    host.wait(what, |host| slots(host) == expected)
}

fn addresses(host: &Host) -> Vec<IpAddr> {
    host.snapshot
        .as_ref()
        .and_then(|all| all.get("web"))
        .into_iter()
        .flat_map(|all| all.iter())
        .map(|one| one.address)
        .collect()
}

#[test]
fn what_tasks_do_is_told_soon() {
    let mut host = manager();
    host.wait("the first snapshot", |host| host.snapshot.is_some());
    host.docker(&format!("{CREATE} --network over --name web --label weir.vip=192.0.2.10:80/tcp sleeper"));
    wait_slots(&mut host, "one that was created", "1:100");
    let service = &host.declared.services[0];
    assert_eq!((service.name.as_str(), service.claimed_by.as_str()), ("web", "Swarm service web"));
    let over = host.engine.network("over").expect("there").id;
    let allow = &host.declared.allow["web"];
    assert_eq!((allow.networks.iter().collect::<Vec<_>>(), allow.outside), (vec![&over], true));
    // The host reaches it where it is said to be, and the port there is its own.
    let task = host.web()[0].0.clone();
    let port = host.declared.ports.iter().find(|port| port.container.starts_with(&task)).expect("its port");
    assert!(port.bridge == "docker_gwbridge" && port.networks.contains(&over), "{port:?}");
    let address = addresses(&host)[0];
    host.lab.weir.command("ping", &["-c", "1", "-W", "2", &address.to_string()]).expect("an answer");
    let neighbours = host.lab.weir.command("ip", &["neigh", "show", "dev", "docker_gwbridge"]).expect("neighbours");
    let mac = port.mac.map(|byte| format!("{byte:02x}")).join(":");
    assert!(neighbours.contains(&mac), "{neighbours}");

    host.docker("service scale --detach web=3");
    wait_slots(&mut host, "two more", "1:100 2:100 3:100");
    host.docker("service scale --detach web=1");
    wait_slots(&mut host, "two that are stopping", "1:100 2:0 3:0");
    let took = wait_slots(&mut host, "one that is left", "1:100");
    assert!(took > Duration::from_secs(1), "they had four seconds: {took:?}");

    // One is started before the other is stopped.
    host.docker("service update --quiet --detach --update-order start-first --env-add A=1 web");
    wait_slots(&mut host, "one and its successor", "1:0 1:100");
    wait_slots(&mut host, "the successor", "1:100");
    assert_ne!(host.web()[0].0, task);

    // Its predecessor may be there yet.
    let container = host.docker(&format!("ps --quiet --filter name={}", host.web()[0].0));
    host.docker(&format!("kill {container}"));
    let took = wait_slots(&mut host, "the death of one that was killed", "");
    assert!(took < Duration::from_secs(2), "{took:?}");
    wait_slots(&mut host, "who was started for it", "1:100");

    let node = host.docker("node ls --quiet");
    host.docker(&format!("node update --availability drain {node}"));
    wait_slots(&mut host, "one on a node that drains", "1:0");
    host.wait_problem(&["service web: no task takes new flows", "is stopping"]);
    host.docker(&format!("node update --availability active {node}"));
    wait_slots(&mut host, "one on a node that drains no more", "1:100");

    host.engine.kill().expect("killed");
    host.wait_problem(&["swarm unix://", "the last good state stands"]);
    assert_eq!(slots(&host), "1:100");
    host.engine.restart(&host.lab).expect("restarted");
    host.wait("the manager's return", |host| host.problem.is_none());
    wait_slots(&mut host, "one on a manager that is back", "1:100");

    host.docker("service rm web");
    wait_slots(&mut host, "one whose service was removed", "1:0");
    assert_eq!(host.declared.services.len(), 1);
    host.wait("its end", |host| host.web().is_empty() && host.declared.services.is_empty());
}

#[test]
fn what_cannot_be_reached_is_named_and_the_rest_goes_on() {
    let mut host = manager();
    host.docker(&format!("{CREATE} --network over --name web sleeper"));
    wait_slots(&mut host, "a good one", "1:100");
    host.docker("network create --driver overlay --internal inner");
    for (name, options, words) in [
        ("locked", "--network inner", &["no address that this host reaches", "inner"][..]),
        ("mispelt", "--network over --label weir.prot=1", &["weir.prot", "weir.port"]),
        ("far", "--network over --label weir.vip=203.0.113.1:80/tcp", &["may_create", "203.0.113.1:80/tcp"]),
    ] {
        host.docker(&format!("{CREATE} {options} --name {name} sleeper"));
        host.wait_problem(&[&["Swarm service", name], words].concat());
        assert!(slots(&host).contains("1:100"));
        host.docker(&format!("service rm {name}"));
        host.wait("the problem's end", |host| host.problem.is_none());
    }
    host.docker("swarm leave --force");
    host.wait_problem(&["in no swarm", "docker swarm init"]);
}

#[test]
fn an_engine_that_is_no_manager_is_named() {
    let mut host = Host::new(&Options::default(), Registry::Swarm, |_| ());
    host.wait_problem(&["swarm unix://", "in no swarm", "docker swarm init"]);
    assert_eq!(host.snapshot, None);
}
