//! The source against an agent that answers oddly.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::config::{Secret, Token};
use crate::source::{Report, Update};

const DEADLINE: Duration = Duration::from_secs(10);

/// What the agent does with the next question.
#[derive(Debug, Clone)]
enum Behaviour {
    /// Answers with this index and one instance of this weight, at once unless it was asked with the same index.
    Answers { index: u64, weight: u16 },
    /// Answers so whatever it is asked.
    Says { status: u16, index: Option<&'static str>, body: String },
}

/// One question: the service, what was asked of it, and the token shown.
type Asked = (String, HashMap<String, String>, Option<String>);

#[derive(Clone)]
struct Agent {
    behaviour: watch::Sender<HashMap<String, Behaviour>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

struct Fixture {
    agent: Agent,
    updates: mpsc::Receiver<Update>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn answer(
    State(agent): State<Agent>,
    Path(service): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let token = headers.get("X-Consul-Token").and_then(|token| token.to_str().ok()).map(str::to_owned);
    let asked: u64 = query.get("index").and_then(|index| index.parse().ok()).unwrap_or(0);
    agent.asked.lock().expect("not poisoned").push((service.clone(), query, token));
    let mut behaviour = agent.behaviour.subscribe();
    let waits = |behaviour: &Behaviour| matches!(behaviour, Behaviour::Answers { index, .. } if *index == asked);
    let behaviour = behaviour.wait_for(|all| all.get(&service).is_some_and(|one| !waits(one))).await;
    match behaviour.expect("the agent lives")[&service].clone() {
        Behaviour::Answers { index, weight } => {
            let instance = json!([{
                "Node": { "Node": "n", "Address": "10.0.0.1" },
                "Service": { "ID": "a", "Address": "", "Port": 80, "Weights": { "Passing": weight, "Warning": 1 } },
                "Checks": [],
            }]);
            ([("X-Consul-Index", index.to_string())], instance.to_string()).into_response()
        }
        Behaviour::Says { status, index, body } => {
            let mut response = (StatusCode::from_u16(status).expect("a status"), body).into_response();
            if let Some(index) = index {
                response.headers_mut().insert("X-Consul-Index", index.parse().expect("a value"));
            }
            response
        }
    }
}

fn wanted(names: &[&str]) -> Vec<Wanted> {
    names.iter().map(|name| Wanted { service: (*name).to_owned(), tags: Vec::new() }).collect()
}

fn registry(address: String) -> ConsulRegistry {
    ConsulRegistry { address, token: None, ca_file: None, identity: None, datacenter: None }
}

impl Fixture {
    async fn new(begin: &[(&str, Behaviour)]) -> Self {
        let names: Vec<&str> = begin.iter().map(|(name, _)| *name).collect();
        Self::with(begin, &wanted(&names), registry).await
    }

    async fn with(
        begin: &[(&str, Behaviour)],
        wanted: &[Wanted],
        registry: impl FnOnce(String) -> ConsulRegistry,
    ) -> Self {
        let begin = begin.iter().map(|(name, behaviour)| ((*name).to_owned(), behaviour.clone())).collect();
        let agent = Agent { behaviour: watch::Sender::new(begin), asked: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let app = Router::new().route("/v1/health/service/{name}", get(answer)).with_state(agent.clone());
        let serve = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        let (sender, updates) = mpsc::channel(64);
        let source = Box::new(ConsulSource::new(&registry(address), wanted).expect("a source"));
        let follow = tokio::spawn(source.follow(Publisher::new("dc1", sender)));
        Self { agent, updates, tasks: vec![serve, follow] }
    }

    fn now(&self, service: &str, behaviour: Behaviour) {
        self.agent.behaviour.send_modify(|all| {
            all.insert(service.to_owned(), behaviour);
        });
    }

    fn answers(&self, service: &str, index: u64, weight: u16) {
        self.now(service, Behaviour::Answers { index, weight });
    }

    async fn next(&mut self) -> Report {
        let update = tokio::time::timeout(DEADLINE, self.updates.recv()).await.expect("a report in time");
        update.expect("the source goes on").report
    }

    async fn weight(&mut self, service: &str) -> u16 {
        match self.next().await {
            Report::Snapshot(snapshot) => snapshot[service][0].weight,
            Report::Problem(problem) => panic!("{problem}"),
        }
    }

    async fn problem(&mut self) -> String {
        match self.next().await {
            Report::Problem(problem) => problem,
            Report::Snapshot(snapshot) => panic!("{snapshot:?}"),
        }
    }

    fn asked(&self) -> Vec<Asked> {
        self.agent.asked.lock().expect("not poisoned").clone()
    }

    /// Waits until what was asked is as `condition` wants it.
    async fn until(&self, condition: impl Fn(&[Asked]) -> bool) {
        let begun = tokio::time::Instant::now();
        while !condition(&self.asked()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(begun.elapsed() < DEADLINE, "{:?}", self.asked());
        }
    }
}

const GOOD: Behaviour = Behaviour::Answers { index: 5, weight: 1 };

#[tokio::test]
async fn changes_are_followed_and_an_index_that_goes_backwards_starts_again() {
    let mut fixture = Fixture::new(&[("web", GOOD)]).await;
    assert_eq!(fixture.weight("web").await, 1);
    fixture.answers("web", 9, 2);
    assert_eq!(fixture.weight("web").await, 2);
    fixture.answers("web", 3, 3);
    assert_eq!(fixture.weight("web").await, 3);
    fixture.until(|asked| asked.len() == 5).await;
    let indices: Vec<_> = fixture.asked().into_iter().map(|(_, query, _)| query.get("index").cloned()).collect();
    assert_eq!(indices, [None, Some("5"), Some("9"), None, Some("3")].map(|index| index.map(str::to_owned)));
    fixture.answers("web", 4, 4);
    assert_eq!(fixture.weight("web").await, 4);
}

#[tokio::test]
async fn an_index_of_zero_does_not_make_a_busy_loop() {
    let body = "[]".to_owned();
    let mut fixture = Fixture::new(&[("web", Behaviour::Says { status: 200, index: Some("0"), body })]).await;
    assert_eq!(fixture.next().await, Report::Snapshot(Snapshot::from([("web".to_owned(), Vec::new())])));
    // This agent never blocks: the pause between answers without news is what keeps the number small.
    let begun = tokio::time::Instant::now();
    fixture.until(|asked| asked.len() >= 10).await;
    assert!(begun.elapsed() >= Duration::from_millis(100), "ten questions in {:?}", begun.elapsed());
    let later = fixture.asked().into_iter().skip(1);
    assert!(later.map(|(_, query, _)| query.get("index").cloned()).all(|index| index.as_deref() == Some("1")));
}

#[tokio::test]
async fn every_odd_answer_is_a_problem_with_what_to_do_and_ends_with_a_good_one() {
    let rows = [
        (
            403,
            Some("1"),
            "Permission denied",
            "found 403 Forbidden (Permission denied), expected a token with node:read and service:read on \"web\"",
        ),
        (
            500,
            Some("1"),
            "No cluster leader",
            "found 500 Internal Server Error (No cluster leader), expected 200: the agent's log says more",
        ),
        (
            429,
            None,
            "",
            "found 429 Too Many Requests, expected 200: raise the agent's limits.http_max_conns_per_client",
        ),
        (404, None, "", "found 404 Not Found, expected 200: is this a Consul agent?"),
        (301, None, "", "found 301 Moved Permanently, expected 200: name the agent itself, redirects are not followed"),
        (200, None, "[]", "found an answer without X-Consul-Index, expected Consul's: is this a Consul agent?"),
        (
            200,
            Some("7"),
            "[{]",
            "found an answer that is not a list of Consul's service instances: key must be a string at line 1 column 3",
        ),
    ];
    for (status, index, body, expected) in rows {
        let odd = Behaviour::Says { status, index, body: body.to_owned() };
        let mut fixture = Fixture::new(&[("web", odd)]).await;
        let problem = fixture.problem().await;
        assert!(problem.starts_with("service web: http://127.0.0.1:"), "{problem}");
        assert!(problem.ends_with(&format!("/v1/health/service/web: {expected}")), "{problem}");
        fixture.now("web", GOOD);
        assert_eq!(fixture.weight("web").await, 1, "{expected}");
    }
}

#[tokio::test]
async fn a_huge_answer_is_refused() {
    let body = "x".repeat(33 << 20);
    let mut fixture = Fixture::new(&[("web", Behaviour::Says { status: 200, index: Some("1"), body })]).await;
    let problem = fixture.problem().await;
    assert!(problem.ends_with("larger than 33554432 bytes"), "{problem}");
}

#[tokio::test]
async fn a_service_that_fails_keeps_its_last_good_part_and_the_others_go_on() {
    let mut fixture = Fixture::new(&[("a", GOOD), ("b", GOOD)]).await;
    assert_eq!((fixture.weight("a").await), 1);
    fixture.now("a", Behaviour::Says { status: 500, index: None, body: String::new() });
    // The open question is only answered when there is news for it.
    assert!(fixture.problem().await.contains("service a: "));
    fixture.answers("b", 6, 2);
    let Report::Snapshot(snapshot) = fixture.next().await else { panic!("a snapshot of the others") };
    assert_eq!((snapshot["a"][0].weight, snapshot["b"][0].weight), (1, 2));
    assert!(fixture.problem().await.contains("service a: "), "said again, as the snapshot ended it");
    fixture.answers("a", 5, 1);
    assert_eq!(fixture.weight("a").await, 1, "published though it is the same: it ends the problem");
}

#[tokio::test]
async fn nothing_is_published_before_every_service_is_known() {
    let mut fixture = Fixture::with(&[("a", GOOD)], &wanted(&["a", "b"]), registry).await;
    fixture.until(|asked| asked.iter().any(|(_, query, _)| query.contains_key("index"))).await;
    assert!(fixture.updates.try_recv().is_err());
    fixture.answers("b", 1, 7);
    let Report::Snapshot(snapshot) = fixture.next().await else { panic!("both") };
    assert_eq!((snapshot["a"][0].weight, snapshot["b"][0].weight), (1, 7));
}

#[tokio::test]
async fn tags_datacenter_and_token_are_sent_and_the_token_file_is_read_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "first\n").expect("written");
    let wanted = [Wanted { service: "a b/c".into(), tags: vec!["x&y".into()] }];
    let registry = |address| ConsulRegistry {
        token: Some(Token::File(file.clone())),
        datacenter: Some("east".into()),
        ..registry(address)
    };
    let mut fixture = Fixture::with(&[("a b/c", GOOD)], &wanted, registry).await;
    assert_eq!(fixture.weight("a b/c#x&y").await, 1);
    std::fs::write(&file, "second\n").expect("written");
    // The second question may have been asked before that; the third was not.
    for index in 6..8 {
        fixture.answers("a b/c", index, 2 + index as u16);
        fixture.weight("a b/c#x&y").await;
    }
    fixture.until(|asked| asked.len() >= 4).await;
    let asked = fixture.asked();
    let (service, query, token) = &asked[0];
    assert_eq!((service.as_str(), query["tag"].as_str(), query["dc"].as_str()), ("a b/c", "x&y", "east"));
    assert_eq!((token.as_deref(), asked[3].2.as_deref()), (Some("first"), Some("second")));
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_a_problem_without_the_token() {
    // Bound and not listening: nobody else gets the port, and whoever connects is refused.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let address = format!("http://{}", socket.local_addr().expect("an address"));
    let registry = ConsulRegistry { token: Some(Token::Inline(Secret::new("s3cr3t"))), ..registry(address.clone()) };
    let source = Box::new(ConsulSource::new(&registry, &wanted(&["web"])).expect("a source"));
    assert_eq!(source.describe(), format!("consul {address}"));
    assert!(!format!("{source:?}").contains("s3cr3t"));
    let (sender, mut updates) = mpsc::channel(1);
    let task = tokio::spawn(source.follow(Publisher::new("dc1", sender)));
    let update = tokio::time::timeout(DEADLINE, updates.recv()).await.expect("in time").expect("a report");
    let expected = format!(
        "service web: {address}/v1/health/service/web: Connection refused (os error 111): is the agent running, and is \
         this its address?"
    );
    assert_eq!(update.report, Report::Problem(expected));
    drop(updates);
    tokio::time::timeout(DEADLINE, task).await.expect("ends when nobody listens").expect("no panic");
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let empty = directory.path().join("ca.pem");
    std::fs::write(&empty, "nothing").expect("written");
    for (path, expected) in [
        (empty, "found no certificate, expected some in PEM"),
        (directory.path().join("none"), "cannot be read: No such file or directory (os error 2), expected a PEM file"),
    ] {
        let expected = format!("ca_file: {}: {expected}", path.display());
        let registry = ConsulRegistry { ca_file: Some(path), ..registry("https://127.0.0.1:1".into()) };
        assert_eq!(format!("{:#}", ConsulSource::new(&registry, &[]).expect_err("refused")), expected);
    }
}
