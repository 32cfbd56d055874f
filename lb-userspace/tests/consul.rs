//! The Consul source against a real agent, from registration to its death and return.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use weir::config::{ConsulRegistry, Registry};
use weir::source::{Endpoint, Publisher, Report, Snapshot, Update, Wanted, open};

/// For an agent on a busy machine to come up, and for a source to notice.
const DEADLINE: Duration = Duration::from_secs(60);

/// The binary: `WEIR_CONSUL`, or where `cargo xtask setup` puts it, or on the `PATH`.
fn consul() -> PathBuf {
    if let Some(path) = std::env::var_os("WEIR_CONSUL") {
        return path.into();
    }
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| manifest.join("../target"), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = [target.join("weir/consul/usr/bin/consul"), manifest.join("../target/weir/consul/usr/bin/consul")];
    let found = candidates.into_iter().chain(std::env::split_paths(&path).map(|at| at.join("consul")));
    found.into_iter().find(|path| path.is_file()).expect("a consul binary: run cargo xtask setup, or set WEIR_CONSUL")
}

/// Ports nobody has at this moment. All are held until all are chosen.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}

struct Agent {
    http: reqwest::Client,
    address: String,
    ports: [u16; 5],
    data: TempDir,
    child: Child,
}

impl Agent {
    async fn start() -> Self {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            rustls::crypto::ring::default_provider().install_default().expect("nobody else installs it");
        }
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        let (ports, data) = (free_ports(), tempfile::tempdir().expect("a directory"));
        let child = Self::spawn(ports, &data);
        let agent = Self { http, address: format!("http://127.0.0.1:{}", ports[0]), ports, data, child };
        agent.ready().await;
        agent
    }

    fn spawn([http, serf_lan, serf_wan, server, dns]: [u16; 5], data: &TempDir) -> Child {
        let log = std::fs::File::create(data.path().join("log")).expect("a log");
        Command::new(consul())
            .args(["agent", "-dev", "-client", "127.0.0.1", "-bind", "127.0.0.1", "-node", "test", "-grpc-port", "-1"])
            .arg(format!("-http-port={http}"))
            .arg(format!("-serf-lan-port={serf_lan}"))
            .arg(format!("-serf-wan-port={serf_wan}"))
            .arg(format!("-server-port={server}"))
            .arg(format!("-dns-port={dns}"))
            .env_clear()
            .current_dir(data.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("consul starts")
    }

    /// Waits until there is a leader, and the agent has registered itself: before, writes fail.
    async fn ready(&self) {
        let begun = Instant::now();
        loop {
            let url = format!("{}/v1/catalog/service/consul", self.address);
            if let Ok(response) = self.http.get(url).send().await
                && response.status() == StatusCode::OK
                && response.json::<Vec<Value>>().await.is_ok_and(|nodes| !nodes.is_empty())
            {
                return;
            }
            let log = || std::fs::read_to_string(self.data.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < DEADLINE, "the agent is not ready:\n{}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn kill(&mut self) {
        self.child.kill().await.expect("killed");
    }

    async fn restart(&mut self) {
        self.child = Self::spawn(self.ports, &self.data);
        self.ready().await;
    }

    async fn put(&self, path: &str, body: &Value) {
        let url = format!("{}/v1/agent/{path}", self.address);
        let response = self.http.put(url).body(body.to_string()).send().await.expect("the agent answers");
        let status = response.status();
        assert_eq!(status, StatusCode::OK, "{path}: {}", response.text().await.unwrap_or_default());
    }

    async fn register(&self, id: &str, address: &str, weight: u16, tags: &[&str]) {
        let service = json!({
            "ID": id, "Name": "web", "Address": address, "Port": 8080, "Tags": tags,
            "Weights": { "Passing": weight, "Warning": 3 },
            "Check": { "CheckID": format!("check-{id}"), "TTL": "1h", "Status": "passing" },
        });
        self.put("service/register", &service).await;
    }

    async fn check(&self, id: &str, status: &str) {
        self.put(&format!("check/update/check-{id}"), &json!({ "Status": status })).await;
    }
}

struct Followed(mpsc::Receiver<Update>);

impl Followed {
    fn new(agent: &Agent, wanted: &[Wanted]) -> Self {
        let registry = Registry::Consul(ConsulRegistry {
            address: agent.address.clone(),
            token: None,
            ca_file: None,
            identity: None,
            datacenter: None,
        });
        let (sender, updates) = mpsc::channel(16);
        let source = open("dc1", &registry, wanted).expect("a source");
        tokio::spawn(source.follow(Publisher::new("dc1", sender)));
        Self(updates)
    }

    async fn report(&mut self) -> Report {
        tokio::time::timeout(DEADLINE, self.0.recv()).await.expect("in time").expect("the source goes on").report
    }

    /// Waits for the snapshot in which `web` has these ids and weights.
    async fn web(&mut self, expected: &[(&str, u16)]) -> Snapshot {
        let mut last = None;
        let wait = async {
            loop {
                if let Report::Snapshot(snapshot) = self.report().await {
                    if ids(snapshot.get("web")) == expected {
                        return snapshot;
                    }
                    last = Some(snapshot);
                }
            }
        };
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(snapshot) => snapshot,
            Err(_) => panic!("expected {expected:?}, last was {last:?}"),
        }
    }
}

fn ids(endpoints: Option<&Vec<Endpoint>>) -> Vec<(&str, u16)> {
    endpoints.into_iter().flatten().map(|end| (end.id.as_str(), end.weight)).collect()
}

fn wanted(service: &str, tags: &[&str]) -> Wanted {
    Wanted { service: service.into(), tags: tags.iter().map(|tag| (*tag).into()).collect() }
}

#[tokio::test]
async fn a_service_is_followed_through_its_life_and_the_agents() {
    let mut agent = Agent::start().await;
    let wanted = [wanted("web", &[]), wanted("web", &["blue", "fast"]), wanted("dns", &[])];
    let mut followed = Followed::new(&agent, &wanted);
    let first = followed.web(&[]).await;
    assert_eq!(first.keys().map(String::as_str).collect::<Vec<_>>(), ["dns", "web", "web#blue#fast"]);

    agent.register("a", "10.0.0.1", 10, &["blue", "fast"]).await;
    followed.web(&[("a", 10)]).await;
    agent.register("b", "2001:db8::2", 20, &["blue"]).await;
    let both = followed.web(&[("a", 10), ("b", 20)]).await;
    assert_eq!(both["web"][1].address.to_string(), "2001:db8::2");
    assert_eq!((both["web"][1].port, ids(both.get("web#blue#fast"))), (8080, vec![("a", 10)]));

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
