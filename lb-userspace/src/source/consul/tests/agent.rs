//! An agent that does what a test tells it, and a source that follows it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::ConsulRegistry;
use crate::source::consul::ConsulSource;
use crate::source::{Publisher, Report, Source as _, Update, Wanted};

pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// What the agent does with the next question.
#[derive(Debug, Clone)]
pub(super) enum Behaviour {
    /// Answers with this index and one instance of this weight, at once unless it was asked with the same index.
    Answers { index: u64, weight: u16 },
    /// Answers so whatever it is asked.
    Says { status: u16, index: Option<&'static str>, body: String },
}

/// One question: the service, what was asked of it, and the token shown.
pub(super) type Asked = (String, HashMap<String, String>, Option<String>);

#[derive(Clone)]
struct Agent {
    behaviour: watch::Sender<HashMap<String, Behaviour>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

pub(super) struct Fixture {
    agent: Agent,
    pub(super) updates: mpsc::Receiver<Update>,
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

pub(super) fn wanted(names: &[&str]) -> Vec<Wanted> {
    names.iter().map(|name| Wanted { service: (*name).to_owned(), tags: Vec::new() }).collect()
}

pub(super) fn registry(address: String) -> ConsulRegistry {
    ConsulRegistry { address, token: None, ca_file: None, identity: None, datacenter: None }
}

impl Fixture {
    pub(super) async fn new(begin: &[(&str, Behaviour)]) -> Self {
        let names: Vec<&str> = begin.iter().map(|(name, _)| *name).collect();
        Self::with(begin, &wanted(&names), registry).await
    }

    pub(super) async fn with(
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

    pub(super) fn now(&self, service: &str, behaviour: Behaviour) {
        self.agent.behaviour.send_modify(|all| {
            all.insert(service.to_owned(), behaviour);
        });
    }

    pub(super) fn answers(&self, service: &str, index: u64, weight: u16) {
        self.now(service, Behaviour::Answers { index, weight });
    }

    pub(super) async fn next(&mut self) -> Report {
        let update = tokio::time::timeout(DEADLINE, self.updates.recv()).await.expect("a report in time");
        update.expect("the source goes on").report
    }

    pub(super) async fn weight(&mut self, service: &str) -> u16 {
        match self.next().await {
            Report::Snapshot(snapshot) => snapshot[service][0].weight,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn problem(&mut self) -> String {
        match self.next().await {
            Report::Problem(problem) => problem,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.agent.asked.lock().expect("not poisoned").clone()
    }

    /// Waits until what was asked is as `condition` wants it.
    pub(super) async fn until(&self, condition: impl Fn(&[Asked]) -> bool) {
        let begun = tokio::time::Instant::now();
        while !condition(&self.asked()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(begun.elapsed() < DEADLINE, "{:?}", self.asked());
        }
    }
}
