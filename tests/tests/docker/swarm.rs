//! Tasks of a swarm behind a VIP: this node's, on an overlay alone, which publish nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use weir::api::types::BackendRow;
use weir_tests::lab::docker::{Container, IMAGE, Options};
use weir_tests::lab::{HTTP_PORT, SteadyLoad, wait_until};

use crate::stage::{Host, Weir, requests, web};

/// How long the engine may take to start a task or to end one: it waits some seconds between what it does.
const CONVERGED: Duration = Duration::from_secs(60);
/// Requests a second while tasks come and go.
const RATE: u32 = 200;
/// The bridge of tasks on overlays, as the engine makes it, but of both families.
const GATEWAY: &str = "network create --ipv6 --subnet fd00:99::/64 \
                       --opt com.docker.network.bridge.name=docker_gwbridge \
                       --opt com.docker.network.bridge.enable_icc=false \
                       --opt com.docker.network.bridge.enable_ip_masquerade=true docker_gwbridge";

fn docker(host: &Host, words: &str) -> String {
    host.engine.cli(&words.split_whitespace().collect::<Vec<_>>()).unwrap()
}

/// Waits until so many tasks take new flows and all others are gone; and their hosts' names, of which requests are answered.
fn await_tasks(weir: &Weir<'_>, count: usize) {
    let mut last: Vec<BackendRow> = vec![];
    let there = wait_until(&format!("{count} tasks to serve"), CONVERGED, || {
        last = weir.backends("web")?;
        let serving = last.iter().filter(|row| row.slots > 0 && row.weight > 0).count();
        (serving == count && last.iter().all(|row| row.weight > 0)).then_some(())
    });
    there.unwrap_or_else(|error| panic!("{error}: {last:#?}\n{:#?}\n{}", weir.status(), weir.process.log()));
    let expected: BTreeSet<String> = (1..=count).map(|slot| format!("web-{slot}")).collect();
    for target in web() {
        let report = requests(weir.host.client(), target, 40 * count);
        assert_eq!((report.failed(), report.answers.into_keys().collect()), (0, expected.clone()), "{target}");
    }
}

/// The container of a service's only task.
fn only<'h>(host: &'h Host, service: &str) -> Container<'h> {
    let found = wait_until(&format!("a task of {service}"), CONVERGED, || {
        let id = docker(host, &format!("ps --quiet --filter label=com.docker.swarm.service.name={service}"));
        Some(id).filter(|id| !id.is_empty())
    });
    host.engine.container(&found.unwrap()).unwrap()
}

fn answered(container: &Container<'_>, vip: SocketAddr) -> bool {
    let words = ["lab-server", "get", &format!("http://{vip}/"), "--count", "5", "--timeout-ms", "1200"];
    container.exec_output(&words).unwrap().status.success()
}

#[test]
fn tasks_of_this_node_serve_outside_the_host_and_who_shares_an_overlay() {
    let host = Host::with(&Options { swarm: true, ..Options::default() });
    docker(&host, GATEWAY);
    host.engine.make_swarm().unwrap();
    docker(&host, "network create --driver overlay shop");
    docker(&host, "network create --driver overlay other");
    let weir = host.weir_of(&host.config_of("swarm", ""));
    let create = "service create --quiet --detach --endpoint-mode dnsrr --no-resolve-image --stop-grace-period 5s";
    let [v4, v6] = web();
    docker(
        &host,
        &format!(
            "{create} --network shop --name web --hostname web-{{{{.Task.Slot}}}} --label weir.service=web \
             --label weir.port={HTTP_PORT} --label weir.vip={v4}/tcp,{v6}/tcp {IMAGE}"
        ),
    );
    docker(&host, &format!("{create} --network shop --name friend {IMAGE}"));
    docker(&host, &format!("{create} --network other --name stranger {IMAGE}"));
    await_tasks(&weir, 1);
    let (friend, stranger) = (only(&host, "friend"), only(&host, "stranger"));
    for vip in web() {
        assert_eq!(requests(&host.lab.weir, vip, 20).failed(), 0, "the host, {vip}");
        // On this bridge no container may speak to another: with IPv6 the engine's firewall drops even the question where one
        // is, so whom Weir chose cannot answer.
        if vip.is_ipv4() {
            assert!(answered(&friend, vip), "of the same overlay, {vip}");
        }
        assert!(!answered(&stranger, vip), "of another overlay, {vip}");
    }

    let steady = SteadyLoad::start(host.client(), web().to_vec(), RATE);
    docker(&host, "service scale --detach web=3");
    await_tasks(&weir, 3);
    docker(&host, "service scale --detach web=1");
    await_tasks(&weir, 1);
    docker(&host, "service update --quiet --detach --update-order start-first --env-add A=1 web");
    let rolled =
        || (docker(&host, "service inspect --format {{.UpdateStatus.State}} web") == "completed").then_some(());
    wait_until("the update to be done", CONVERGED, rolled).unwrap();
    await_tasks(&weir, 1);
    let report = steady.finish();
    println!("{} answered, {} of them slow, {} failed", report.answered(), report.slow, report.failed.len());
    assert!(report.failed.is_empty() && report.answers.len() == 3, "{report:#?}");

    docker(&host, "service rm web");
    let gone = || weir.backends("web").is_none().then_some(());
    wait_until("the service to go", CONVERGED, gone).unwrap_or_else(|error| {
        panic!("{error}: {:#?}\n{:#?}\n{}", weir.backends("web"), weir.status(), weir.process.log())
    });
}
