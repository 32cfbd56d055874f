//! The Consul source against a real agent, from registration to its death and return.

#[path = "consul/agent.rs"]
mod agent;

use std::time::{Duration, Instant};

use agent::{Agent, DEADLINE, MASTER, consul_tls, free_ports};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use weir::config::{ConsulRegistry, Identity, Registry, Secret, Token};
use weir::source::{Endpoint, Publisher, Report, Snapshot, Update, Wanted, open};

struct Followed {
    updates: mpsc::Receiver<Update>,
    last: Snapshot,
}

impl Followed {
    fn new(agent: &Agent, wanted: &[Wanted]) -> Self {
        Self::with(registry(&agent.address), wanted)
    }

    fn with(registry: ConsulRegistry, wanted: &[Wanted]) -> Self {
        let (sender, updates) = mpsc::channel(16);
        let source = open("dc1", &Registry::Consul(registry), wanted).expect("a source");
        tokio::spawn(source.follow(Publisher::new("dc1", sender)));
        Self { updates, last: Snapshot::new() }
    }

    async fn report(&mut self) -> Report {
        tokio::time::timeout(DEADLINE, self.updates.recv()).await.expect("in time").expect("the source goes on").report
    }

    /// Waits for the snapshot in which the service `key` has these ids and weights. Every service is asked for by
    /// itself, so that another may be behind.
    async fn service(&mut self, key: &str, expected: &[(&str, u16)]) -> Snapshot {
        let begun = Instant::now();
        while ids(self.last.get(key).map(AsRef::as_ref)) != expected {
            if let Report::Snapshot(snapshot) = self.report().await {
                self.last = snapshot;
            }
            assert!(begun.elapsed() < DEADLINE, "expected {expected:?}, last was {:?}", self.last);
        }
        self.last.clone()
    }

    async fn web(&mut self, expected: &[(&str, u16)]) -> Snapshot {
        self.service("web", expected).await
    }
}

fn registry(address: &str) -> ConsulRegistry {
    ConsulRegistry { address: address.to_owned(), token: None, ca_file: None, identity: None, datacenter: None }
}

fn ids(endpoints: Option<&[Endpoint]>) -> Vec<(&str, u16)> {
    endpoints.into_iter().flatten().map(|end| (&*end.id, end.weight)).collect()
}

fn wanted(service: &str, tags: &[&str]) -> Wanted {
    Wanted { service: service.into(), tags: tags.iter().map(|tag| (*tag).into()).collect() }
}

#[tokio::test]
async fn a_service_is_followed_through_its_life_and_the_agents() {
    let mut agent = Agent::start().await;
    let wanted = [wanted("web", &[]), wanted("web", &["blue", "fast"]), wanted("dns", &[])];
    let mut followed = Followed::new(&agent, &wanted);
    let Report::Snapshot(first) = followed.report().await else { panic!("a snapshot") };
    assert_eq!(first.keys().map(String::as_str).collect::<Vec<_>>(), ["dns", "web", "web#blue#fast"]);

    agent.register("a", "10.0.0.1", 10, &["blue", "fast"]).await;
    followed.web(&[("a", 10)]).await;
    agent.register("b", "2001:db8::2", 20, &["blue"]).await;
    let both = followed.web(&[("a", 10), ("b", 20)]).await;
    assert_eq!(both["web"][1].address.to_string(), "2001:db8::2");
    assert_eq!(both["web"][1].port, 8080);
    followed.service("web#blue#fast", &[("a", 10)]).await;

    agent.check("a", "warning").await;
    followed.web(&[("a", 3), ("b", 20)]).await;
    agent.check("a", "critical").await;
    followed.web(&[("b", 20)]).await;
    agent.check("a", "passing").await;
    followed.web(&[("a", 10), ("b", 20)]).await;
    agent.put("service/maintenance/b?enable=true", &Value::Null).await;
    followed.web(&[("a", 10)]).await;
    agent.put("service/maintenance/b?enable=false", &Value::Null).await;
    followed.web(&[("a", 10), ("b", 20)]).await;
    agent.put("service/deregister/b", &Value::Null).await;
    followed.web(&[("a", 10)]).await;

    agent.kill().await;
    let problem = loop {
        if let Report::Problem(problem) = followed.report().await {
            break problem;
        }
    };
    assert!(problem.contains(&format!("{}/v1/health/service/", agent.address)), "{problem}");
    // An agent in development mode forgets everything, and counts from the beginning.
    agent.restart().await;
    agent.register("c", "10.0.0.3", 30, &[]).await;
    followed.web(&[("c", 30)]).await;
    agent.register("c", "10.0.0.3", 31, &[]).await;
    followed.web(&[("c", 31)]).await;
}

#[tokio::test]
async fn a_change_is_published_within_milliseconds_of_consuls_answer() {
    const CHANGES: u16 = 51;
    let agent = Agent::start().await;
    agent.register("a", "10.0.0.1", 1000, &[]).await;
    let mut followed = Followed::new(&agent, &[wanted("web", &[])]);
    followed.web(&[("a", 1000)]).await;
    let (mut from_request, mut from_answer) = (Vec::new(), Vec::new());
    for weight in 1..=CHANGES {
        let requested = Instant::now();
        agent.register("a", "10.0.0.1", weight, &[]).await;
        let answered = Instant::now();
        followed.web(&[("a", weight)]).await;
        from_request.push(requested.elapsed());
        from_answer.push(answered.elapsed());
    }
    let figures = |mut taken: Vec<Duration>| {
        taken.sort_unstable();
        (taken[taken.len() / 2], taken[taken.len() - 1])
    };
    let (request, answer) = (figures(from_request), figures(from_answer));
    println!("from a registration's request to the snapshot: median {:?}, worst {:?}", request.0, request.1);
    println!("from the agent's answer to it to the snapshot: median {:?}, worst {:?}", answer.0, answer.1);
    assert!(answer.0 < Duration::from_millis(100), "median {:?}", answer.0);
}

#[tokio::test]
async fn tls_and_tokens_are_asked_for_and_shown() {
    let data = tempfile::tempdir().expect("a directory");
    consul_tls(&data, &["ca", "create"]).await;
    consul_tls(&data, &["cert", "create", "-server"]).await;
    consul_tls(&data, &["cert", "create", "-client"]).await;
    let [https, ports @ ..] = free_ports::<6>();
    let config = json!({
        "ports": { "https": https },
        "ca_file": "consul-agent-ca.pem",
        "cert_file": "dc1-server-consul-0.pem",
        "key_file": "dc1-server-consul-0-key.pem",
        "verify_incoming_https": true,
        "acl": { "enabled": true, "default_policy": "deny", "tokens": { "master": MASTER, "agent": MASTER } },
    });
    std::fs::write(data.path().join("agent.json"), config.to_string()).expect("written");
    let agent = Agent::start_in(ports, data).await;
    agent.register("a", "10.0.0.1", 10, &[]).await;

    let file = |name: &str| agent.data.path().join(name);
    let good = ConsulRegistry {
        token: Some(Token::Inline(Secret::new(MASTER))),
        ca_file: Some(file("consul-agent-ca.pem")),
        identity: Some(Identity {
            cert_file: file("dc1-client-consul-0.pem"),
            key_file: file("dc1-client-consul-0-key.pem"),
        }),
        ..registry(&format!("https://localhost:{https}"))
    };
    let wanted = [wanted("web", &[])];
    Followed::with(good.clone(), &wanted).web(&[("a", 10)]).await;

    let stranger = Token::Inline(Secret::new("5ec7e7f0-0000-4000-8000-000000000002"));
    let rows = [
        (
            ConsulRegistry { token: Some(stranger), ..good.clone() },
            "found 403 Forbidden (ACL not found), expected a token",
        ),
        (
            ConsulRegistry { identity: None, ..good.clone() },
            "received fatal alert: BadCertificate: the agent may want another cert_file",
        ),
        (
            ConsulRegistry { ca_file: Some(file("dc1-client-consul-0.pem")), ..good },
            "UnknownIssuer: name who signed the agent's certificate in ca_file",
        ),
    ];
    for (registry, expected) in rows {
        match Followed::with(registry, &wanted).report().await {
            Report::Problem(problem) => {
                assert!(problem.contains(expected), "{problem}");
                println!("{problem}");
            }
            other => panic!("expected {expected}, found {other:?}"),
        }
    }
}
