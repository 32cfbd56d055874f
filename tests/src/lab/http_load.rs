//! Many HTTP requests, each on a new TCP connection, so many at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Serialize;

use super::http_client::ask;
use super::netns::Netns;

/// What to send. Every request is `GET /` on a TCP connection of its own, or `POST /` with a body that has to come back.
#[derive(Debug, Clone)]
pub struct HttpLoad {
    /// Where to connect; request *i* goes to target *i* modulo their number. Not empty.
    pub targets: Vec<SocketAddr>,
    /// How many requests.
    pub requests: usize,
    /// How many at once.
    pub concurrency: usize,
    /// The port that each request comes from, as many as `requests`, in order; empty lets the kernel choose. The same
    /// port means the same flow, when two loads are compared. Those from 1024 to 16383 the kernel never chooses in a
    /// client's namespace.
    pub source_ports: Vec<u16>,
    /// How many bytes each request sends up and gets back; 0 for `GET /`. Each one's are others.
    pub body: usize,
    /// How long one request may take.
    pub timeout: Duration,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HttpReport {
    /// How many answers each backend gave, by its name.
    pub answers: BTreeMap<String, u64>,
    /// How many requests failed, by why.
    pub errors: BTreeMap<String, u64>,
    /// Who answered each request that was answered, by the request's number.
    #[serde(skip)]
    pub by_request: BTreeMap<usize, String>,
    /// How long each answered request took, connecting and closing included, in the order they ended.
    #[serde(skip)]
    pub latencies: Vec<Duration>,
    /// From the first request's start to the last one's end.
    pub elapsed: Duration,
}

impl HttpLoad {
    /// So many requests to one target, 32 at once, 5 seconds for each.
    pub fn new(target: SocketAddr, requests: usize) -> Self {
        Self {
            targets: vec![target],
            requests,
            concurrency: 32,
            source_ports: vec![],
            body: 0,
            timeout: Duration::from_secs(5),
        }
    }

    /// Sends all of it from a namespace.
    pub fn run(&self, netns: &Netns) -> HttpReport {
        self.run_with(netns, |_| ())
    }

    /// Sends all of it, and shows the report as it grows, after every request.
    pub fn run_with(&self, netns: &Netns, progress: impl FnMut(&HttpReport) + Send) -> HttpReport {
        netns.block_on(|| self.send(progress))
    }

    async fn send(&self, progress: impl FnMut(&HttpReport)) -> HttpReport {
        let bodies = bodies(self.body);
        let report = RefCell::new(HttpReport::default());
        let progress = RefCell::new(progress);
        let next = Cell::new(0);
        let started = Instant::now();
        let worker = || async {
            loop {
                let number = next.get();
                if number >= self.requests {
                    return;
                }
                next.set(number + 1);
                let begun = Instant::now();
                let answer = self.one(number, &bodies).await;
                let mut report = report.borrow_mut();
                match answer {
                    Ok(backend) => {
                        *report.answers.entry(backend.clone()).or_default() += 1;
                        report.by_request.insert(number, backend);
                        report.latencies.push(begun.elapsed());
                    }
                    Err(error) => *report.errors.entry(error).or_default() += 1,
                }
                report.elapsed = started.elapsed();
                progress.borrow_mut()(&report);
            }
        };
        let mut workers: FuturesUnordered<_> = (0..self.concurrency.max(1)).map(|_| worker()).collect();
        while workers.next().await.is_some() {}
        drop(workers);
        report.into_inner()
    }

    async fn one(&self, number: usize, bodies: &Bytes) -> Result<String, String> {
        let target = self.targets[number % self.targets.len()];
        let port = self.source_ports.get(number).copied();
        let begins = number % (bodies.len() - self.body + 1);
        let body = bodies.slice(begins..begins + self.body);
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        match tokio::time::timeout(self.timeout, ask(method, target, "/", body.clone(), port)).await {
            Ok(Ok(answer)) if answer.status == StatusCode::OK && self.body == 0 => Ok(answer.text()),
            Ok(Ok(answer)) if answer.status == StatusCode::OK && answer.body == body => Ok(answer.backend),
            Ok(Ok(answer)) if answer.status == StatusCode::OK => Err("other bytes came back than were sent".to_owned()),
            Ok(Ok(answer)) => Err(format!("status {}", answer.status)),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err(format!("no answer within {} s", self.timeout.as_secs_f64())),
        }
    }
}

/// Bytes without a pattern that a mistake could keep, of which each request sends others.
fn bodies(length: usize) -> Bytes {
    let many = if length == 0 { 0 } else { length + 4096 };
    (0..many as u64).map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]).collect()
}

impl HttpReport {
    /// How many requests were answered.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// How many requests failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Why most of those failed that did.
    pub fn commonest_error(&self) -> Option<&str> {
        self.errors.iter().max_by_key(|(_, count)| **count).map(|(error, _)| error.as_str())
    }

    /// The part of the answers that a backend gave, 0 to 1.
    pub fn share(&self, backend: &str) -> f64 {
        let answered = self.answered();
        if answered == 0 {
            return 0.0;
        }
        self.answers.get(backend).copied().unwrap_or_default() as f64 / answered as f64
    }

    /// The latency that this part (0 to 1) of the answered requests did not exceed.
    pub fn latency(&self, part: f64) -> Option<Duration> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the indices there are")]
        let index = (part.clamp(0.0, 1.0) * last as f64).round() as usize;
        Some(sorted[index])
    }
}
