//! What swarms of all kinds say, as managers (20.10) put it.

use serde_json::{Value, json};

use super::super::client::Answers;
use super::super::pace::Activity;
use super::*;

/// This host's node.
const HERE: &str = "node-here";

fn service(name: &str, labels: &[(&str, &str)], more: Value) -> Value {
    let labels: serde_json::Map<String, Value> =
        labels.iter().map(|(label, value)| (format!("weir.{label}"), (*value).into())).collect();
    let mut service = json!({
        "ID": format!("id-{name}"), "CreatedAt": "2026-11-23T07:46:58.14231924Z",
        "Spec": {
            "Name": name, "Labels": labels,
            "TaskTemplate": { "Networks": [{ "Target": "ov" }], "ForceUpdate": 0 },
            "Mode": { "Replicated": { "Replicas": 1 } }, "EndpointSpec": { "Mode": "dnsrr" }
        }
    });
    merge(&mut service, more);
    service
}

/// A task of the first slot of `web`, on this host, which runs in the container of the same number.
fn task(number: u8, more: Value) -> Value {
    let mut task = json!({
        "ID": format!("task{number:010}and-more"), "CreatedAt": format!("2026-11-23T07:47:{number:02}.1Z"),
        "ServiceID": "id-web", "Slot": number, "NodeID": HERE, "DesiredState": "running",
        "Status": { "State": "running", "ContainerStatus": { "ContainerID": format!("c{number}"), "PID": 7 } }
    });
    merge(&mut task, more);
    task
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn node(id: &str, address: &str, state: &str, availability: &str) -> Value {
    json!({
        "ID": id, "Spec": { "Role": "worker", "Availability": availability }, "Description": { "Hostname": format!("{id}.example") },
        "Status": { "State": state, "Addr": address }
    })
}

fn answers(services: Vec<Value>, tasks: Vec<Value>) -> Answers {
    let read = |values: Vec<Value>| Value::Array(values);
    let network = |id: &str, driver: &str, scope: &str, more: Value| {
        let mut network = json!({ "Id": id, "Name": id, "Driver": driver, "Scope": scope, "Options": {} });
        merge(&mut network, more);
        network
    };
    let bridge = |name: &str| json!({ "Options": { "com.docker.network.bridge.name": name } });
    let networks = vec![
        network("ov", "overlay", "swarm", json!({ "Name": "shop_backend" })),
        network("unused", "overlay", "swarm", json!({})),
        network("inner", "overlay", "swarm", json!({ "Internal": true })),
        network("ingress", "overlay", "swarm", json!({ "Ingress": true })),
        network(
            "gw",
            "bridge",
            "local",
            json!({ "Name": "docker_gwbridge", "Options": bridge("docker_gwbridge")["Options"] }),
        ),
        network("near", "bridge", "local", json!({})),
        network("host", "host", "local", json!({})),
    ];
    // Containers 1 to 4: on the overlay; 5: on an internal one; 6: on a bridge as well.
    let on = |number: u8| match number {
        5 => json!({ "inner": { "NetworkID": "inner", "IPAddress": "10.0.2.5" } }),
        6 => json!({
            "shop_backend": { "NetworkID": "ov", "IPAddress": "10.0.1.6" },
            "near": { "NetworkID": "near", "IPAddress": "10.8.0.6", "MacAddress": "02:42:0a:08:00:06" }
        }),
        _ => json!({
            "shop_backend": { "NetworkID": "ov", "IPAddress": format!("10.0.1.{number}") },
            "ingress": { "NetworkID": "ingress", "IPAddress": format!("10.0.0.{number}") }
        }),
    };
    let container = |number: u8| {
        let state = if number == 4 { "paused" } else { "running" };
        json!({
            "Id": format!("c{number}"), "Names": [format!("/web.{number}.x")], "State": state,
            "NetworkSettings": { "Networks": on(number) }
        })
    };
    let joined = |number: u8| {
        let endpoint = json!({
            "Name": "gateway_x", "MacAddress": format!("02:42:0a:ca:00:0{number}"),
            "IPv4Address": format!("10.202.0.{number}/24"), "IPv6Address": ""
        });
        (format!("c{number}"), endpoint)
    };
    let on_gateway: serde_json::Map<String, Value> = [1, 2, 3, 4, 6].map(joined).into_iter().collect();
    let nodes = vec![
        node(HERE, "0.0.0.0", "ready", "active"),
        node("node-b", "192.0.2.2", "ready", "active"),
        node("node-c", "192.0.2.3", "ready", "drain"),
        node("node-d", "192.0.2.4", "down", "active"),
    ];
    let gateway = json!({ "Id": "gw", "Name": "docker_gwbridge", "Containers": on_gateway });
    Answers {
        nodes: serde_json::from_value(read(nodes)).expect("nodes"),
        services: serde_json::from_value(read(services)).expect("services"),
        tasks: serde_json::from_value(read(tasks)).expect("tasks"),
        networks: serde_json::from_value(read(networks)).expect("networks"),
        containers: serde_json::from_value(read((1..=6).map(container).collect())).expect("containers"),
        gateway: Some(serde_json::from_value(gateway).expect("a network")),
    }
}

fn cluster(services: Vec<Value>, tasks: Vec<Value>) -> Cluster {
    let mut cluster = Cluster::read(answers(services, tasks), Some(&HERE));
    cluster.remember(&Cluster::default());
    cluster
}

fn listing(cluster: &Cluster) -> Listing {
    of(cluster, &["192.0.2.0/24".parse().expect("a prefix")])
}

fn shown(listing: &Listing) -> Vec<String> {
    let shown = |one: &Endpoint| format!("{} {} {} {}", one.id, one.address, one.port, one.weight);
    listing.snapshot.get("web").into_iter().flat_map(|all| all.iter()).map(shown).collect()
}

const WEB: [(&str, &str); 2] = [("service", "web"), ("port", "80")];

fn web(more: Value) -> Value {
    service("web", &WEB, more)
}

/// A task on another node that publishes a port there.
fn away(number: u8, node: &str, protocol: &str, target: u16, port: u16) -> Value {
    let publishes = json!({ "Protocol": protocol, "TargetPort": target, "PublishedPort": port, "PublishMode": "host" });
    // One for every family.
    let ports = json!({ "Ports": [publishes.clone(), publishes] });
    task(number, json!({ "NodeID": node, "Status": { "PortStatus": ports } }))
}

#[test]
fn tasks_here_serve_on_the_gateways_bridge_and_who_may_is_who_is_on_their_overlays() {
    let vip = [WEB[0], WEB[1], ("vip", "192.0.2.10:80/tcp")];
    let cluster = cluster(vec![service("web", &vip, json!({}))], vec![task(2, json!({})), task(1, json!({}))]);
    let listing = listing(&cluster);
    assert_eq!(listing.problems, Vec::<String>::new());
    assert_eq!(shown(&listing), ["web.1.task00000000 10.202.0.1 80 100", "web.2.task00000000 10.202.0.2 80 100"]);
    let service = &listing.declared.services[0];
    assert_eq!((service.name.as_str(), service.claimed_by.as_str()), ("web", "Swarm service web"));
    let allow = &listing.declared.allow["web"];
    assert_eq!((allow.networks.iter().map(String::as_str).collect::<Vec<_>>(), allow.outside), (vec!["ov"], true));
    let networks: Vec<&str> = listing.declared.networks.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(networks, ["gw", "ingress", "inner", "near", "ov"]);
    let port = &listing.declared.ports[0];
    assert_eq!((port.bridge.as_str(), port.mac[5], port.container.as_str()), ("br-near", 6, "web.6.x"));
    let port = &listing.declared.ports[1];
    assert_eq!(
        (port.bridge.as_str(), port.mac[5], port.networks.join(" ")),
        ("docker_gwbridge", 1, "ingress ov gw".into())
    );
    assert_eq!(cluster.activity(), Activity::Quiet);
}

#[test]
fn a_network_is_named_as_the_stack_calls_it_and_bridges_come_before_the_gateways() {
    let stack = json!({ "Spec": { "Labels": { "com.docker.stack.namespace": "shop" } } });
    for (network, address) in [("backend", "10.202.0.6"), ("shop_backend", "10.202.0.6"), ("near", "10.8.0.6")] {
        let labels = [WEB[0], WEB[1], ("network", network)];
        let cluster = cluster(vec![service("web", &labels, stack.clone())], vec![task(6, json!({}))]);
        assert_eq!(shown(&listing(&cluster)), [format!("web.6.task00000000 {address} 80 100")], "{network}");
    }
    let cluster = cluster(vec![web(json!({}))], vec![task(6, json!({}))]);
    assert_eq!(shown(&listing(&cluster)), ["web.6.task00000000 10.8.0.6 80 100"]);
}

#[test]
fn states_of_tasks_and_nodes_say_who_takes_new_flows() {
    let state = |number, state: &str, desired: &str| {
        task(number, json!({ "Status": { "State": state }, "DesiredState": desired }))
    };
    let tasks = vec![
        state(1, "running", "running"),
        state(2, "running", "shutdown"),
        state(3, "running", "remove"),
        task(4, json!({})),
        away(7, "node-c", "tcp", 80, 8080),
        away(8, "node-d", "tcp", 80, 8080),
        state(9, "starting", "running"),
        state(10, "failed", "shutdown"),
        state(11, "shutdown", "shutdown"),
        state(12, "rejected", "shutdown"),
        // Its container has ended, and the manager has not heard of it.
        state(13, "running", "running"),
    ];
    let cluster_of = |tasks| cluster(vec![web(json!({}))], tasks);
    let all = cluster_of(tasks.clone());
    assert_eq!(
        shown(&listing(&all)),
        [
            "web.1.task00000000 10.202.0.1 80 100",
            "web.2.task00000000 10.202.0.2 80 0",
            "web.3.task00000000 10.202.0.3 80 0",
            "web.4.task00000000 10.202.0.4 80 0",
            "web.7.task00000000 192.0.2.3 8080 0",
            "web.8.task00000000 192.0.2.4 8080 0",
        ]
    );
    assert_eq!((listing(&all).problems.len(), all.activity()), (0, Activity::Moving));
    let without = listing(&cluster_of(tasks[1..7].to_vec()));
    assert_eq!(
        without.problems,
        ["service web: no task takes new flows: web.2.task00000000 is stopping, web.3.task00000000 is stopping, \
             web.4.task00000000 is paused, web.7.task00000000 is on node node-c.example, which drains, web.8.task00000000 \
             is on node node-d.example, which is down, and 1 more"]
    );
    let mut failed = state(1, "failed", "shutdown");
    failed["Status"]["Err"] = "task: non-zero exit (1)".into();
    let next = task(1, json!({ "ID": "another", "CreatedAt": "2026-11-23T07:48:00Z", "Status": { "State": "ready" } }));
    let told = listing(&cluster_of(vec![failed, next])).problems;
    assert_eq!(told, ["service web: no task takes new flows: web.1 does not run yet (task: non-zero exit (1))"]);
    // Nobody wants any.
    let none = listing(&cluster_of(vec![]));
    assert_eq!((none.problems.len(), none.snapshot["web"].len()), (0, 0));
}

#[test]
fn tasks_of_other_nodes_serve_where_they_publish() {
    let cluster_of = |tasks| cluster(vec![web(json!({}))], tasks);
    let cluster = cluster_of(vec![away(1, "node-b", "tcp", 80, 32768), task(2, json!({ "NodeID": "node-b" }))]);
    let told = listing(&cluster);
    assert_eq!(
        (shown(&told), cluster.activity()),
        (vec!["web.1.task00000000 192.0.2.2 32768 100".into()], Activity::Elsewhere)
    );
    assert_eq!(
        told.problems,
        [
            "Swarm service web: task web.2.task00000000 is left out: found no port that it publishes with mode=host for its \
             port 80, expected one, as it is on another node: docker service update --publish-add \
             mode=host,target=80,published=80 web"
        ]
    );
    let many = (1..=5).map(|number| away(number, "node-b", "tcp", 81, 81)).collect();
    let told = listing(&cluster_of(many)).problems;
    assert!(
        told[0].contains(": tasks web.1.task00000000, web.2.task00000000, web.3.task00000000 and 2 more are left out")
    );
    let nowhere = listing(&cluster_of(vec![away(1, "node-x", "tcp", 80, 80)])).problems;
    assert!(nowhere[0].ends_with("found no node of the swarm, expected one"), "{nowhere:?}");
    // Of a manager elsewhere all tasks are.
    let answers = answers(vec![web(json!({}))], vec![task(1, json!({})), away(2, "node-b", "tcp", 80, 80)]);
    let told = listing(&Cluster::read(answers, None::<&String>));
    assert_eq!(shown(&told), ["web.2.task00000000 192.0.2.2 80 100"]);
    assert_eq!((told.declared.ports.len(), told.declared.networks.len(), told.problems.len()), (0, 0, 1));
}

#[test]
fn a_service_that_was_removed_drains_for_as_long_as_its_tasks_run() {
    let before = cluster(vec![web(json!({}))], vec![task(1, json!({})), task(2, json!({}))]);
    let removed = |state: &str| task(1, json!({ "DesiredState": "remove", "Status": { "State": state } }));
    let mut now = Cluster::read(answers(vec![], vec![removed("running")]), Some(&HERE));
    now.remember(&before);
    assert_eq!(
        (shown(&listing(&now)), now.activity()),
        (vec!["web.1.task00000000 10.202.0.1 80 0".into()], Activity::Moving)
    );
    let mut after = Cluster::read(answers(vec![], vec![removed("shutdown")]), Some(&HERE));
    after.remember(&now);
    assert!(listing(&after).snapshot.is_empty());
    // Its labels were taken away, and it serves on: nobody drains.
    let unlabelled = service("web", &[], json!({}));
    let mut now = Cluster::read(answers(vec![unlabelled], vec![task(1, json!({}))]), Some(&HERE));
    now.remember(&before);
    assert!(listing(&now).snapshot.is_empty());
}

#[test]
fn bad_services_are_named_and_the_rest_goes_on() {
    let of = |number: u8| task(number, json!({ "ServiceID": "id-odd" }));
    let problem_of = |labels: &[(&str, &str)], tasks: Vec<Value>, more: Value| {
        let tasks = tasks.into_iter().chain([task(1, json!({}))]).collect();
        let listing = listing(&cluster(vec![web(json!({})), service("odd", labels, more)], tasks));
        assert_eq!(shown(&listing).len(), 1, "the rest goes on");
        let [problem] = listing.problems.as_slice() else { panic!("{:?}", listing.problems) };
        problem.clone()
    };
    let odd = [("service", "odd"), ("port", "http")];
    assert!(
        problem_of(&odd, vec![], json!({})).starts_with("Swarm service odd is left out: weir.port: found \"http\"")
    );
    let odd = [("service", "odd"), ("port", "80"), ("vip", "203.0.113.1:80/tcp")];
    let expected = "Swarm service odd: weir.vip: found 203.0.113.1:80/tcp, expected an address that `may_create` allows: \
                    192.0.2.0/24";
    assert_eq!(problem_of(&odd, vec![], json!({})), expected);
    let inner = problem_of(&[("service", "odd"), ("port", "80")], vec![of(5)], json!({}));
    assert!(
        inner.contains("task odd.5.task00000000 is left out: found no address that this host reaches, on inner;"),
        "{inner}"
    );
    let elsewhere = [("service", "odd"), ("port", "80"), ("network", "near")];
    let elsewhere = problem_of(&elsewhere, vec![of(2)], json!({}));
    assert!(elsewhere.contains("weir.network: found \"near\", expected a network that it is on: "), "{elsewhere}");
    let portless = problem_of(&[("service", "odd")], vec![of(2)], json!({}));
    assert!(portless.ends_with("weir.port: found nothing, expected a port: it publishes none"), "{portless}");
    let ports = json!({ "Spec": { "EndpointSpec": { "Ports": [{ "TargetPort": 8080, "PublishedPort": 80, "PublishMode": "host" }] } } });
    let listing = listing(&cluster(vec![service("web", &[("service", "web")], ports)], vec![task(1, json!({}))]));
    assert_eq!(shown(&listing), ["web.1.task00000000 10.202.0.1 8080 100"]);
}
