//! The `consul` registry: the health API of a Consul agent, followed by blocking queries, one for each service.

mod client;
mod health;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{Endpoint, Publisher, Snapshot, Source, Wanted, are_same};
use crate::config::ConsulRegistry;
use client::Client;
use health::Endpoints;
use stream::{Said, Stream};

/// How many services of one registry are followed.
pub const MAX_WANTED: usize = 4096;
/// How many questions are open at once: an agent takes 200 connections from one address
/// (`limits.http_max_conns_per_client`), and others live there too.
const MAX_OPEN: usize = 128;
/// How long a question stays open when there is one for every service.
const WAIT: Duration = Duration::from_secs(55);
/// The same when services have to take turns.
const WAIT_IN_TURNS: Duration = Duration::from_secs(1);
/// How many services' problems are told at once.
const MAX_TOLD: usize = 5;

/// Services of a Consul agent, followed.
#[derive(Debug)]
pub struct ConsulSource {
    client: Client,
    wanted: Vec<Wanted>,
}

impl ConsulSource {
    /// The services `wanted` of the agent that `registry` describes; nobody is asked yet.
    ///
    /// Fails if a certificate or key cannot be read, or if too many services are wanted.
    pub fn new(registry: &ConsulRegistry, wanted: &[Wanted]) -> anyhow::Result<Self> {
        let wanted: BTreeSet<Wanted> = wanted.iter().cloned().collect();
        if wanted.len() > MAX_WANTED {
            bail!("found {} services, expected at most {MAX_WANTED} of one Consul registry", wanted.len());
        }
        Ok(Self { client: Client::new(registry)?, wanted: wanted.into_iter().collect() })
    }
}

impl Source for ConsulSource {
    fn describe(&self) -> String {
        format!("consul {}", self.client.address())
    }

    fn follow(self: Box<Self>, publisher: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(follow(*self, publisher))
    }
}

async fn follow(source: ConsulSource, publisher: Publisher) {
    let client = Arc::new(source.client);
    let permits = Arc::new(Semaphore::new(MAX_OPEN));
    let wait = if source.wanted.len() <= MAX_OPEN { WAIT } else { WAIT_IN_TURNS };
    let (said, mut hear) = mpsc::channel(64);
    // Dropped with this future, and with it every stream.
    let mut streams = JoinSet::new();
    for (number, wanted) in source.wanted.iter().cloned().enumerate() {
        let (client, permits, said) = (Arc::clone(&client), Arc::clone(&permits), said.clone());
        streams.spawn(Stream { number, wanted, client, permits, wait, said }.run());
    }
    let mut services = Services::new(&source.wanted);
    let mut last = (None, None);
    loop {
        if services.all_heard() {
            let news = (services.snapshot(), services.problem());
            if !publish(&publisher, &last, &news).await {
                return;
            }
            last = news;
        }
        tokio::select! {
            said = hear.recv() => match said {
                Some(said) => services.hear(said),
                None => return,
            },
            () = publisher.closed() => return,
        }
        // What has been said meanwhile goes into the same snapshot.
        while let Ok(said) = hear.try_recv() {
            services.hear(said);
        }
    }
}

/// Publishes what is new. A snapshot ends every problem, so that one that persists is said again after it.
async fn publish(
    publisher: &Publisher,
    last: &(Option<Snapshot>, Option<String>),
    news: &(Option<Snapshot>, Option<String>),
) -> bool {
    let mended = last.1.is_some() && news.1.is_none();
    let same = last.0.as_ref().zip(news.0.as_ref()).is_some_and(|(last, new)| are_same(last, new));
    if let (Some(snapshot), true) = (&news.0, !same || mended)
        && !publisher.snapshot(snapshot.clone()).await
    {
        return false;
    }
    match &news.1 {
        Some(problem) if last != news => publisher.problem(problem.clone()).await,
        _ => true,
    }
}

/// What is known of every service that is wanted.
#[derive(Debug)]
struct Services(Vec<Service>);

#[derive(Debug)]
struct Service {
    key: String,
    heard: bool,
    /// The last good answer.
    endpoints: Option<Arc<[Endpoint]>>,
    problem: Option<String>,
}

impl Services {
    fn new(wanted: &[Wanted]) -> Self {
        let service = |wanted: &Wanted| Service { key: wanted.key(), heard: false, endpoints: None, problem: None };
        Self(wanted.iter().map(service).collect())
    }

    fn hear(&mut self, (number, said): Said) {
        let Some(service) = self.0.get_mut(number) else { return };
        service.heard = true;
        match said {
            Ok(Endpoints { endpoints, problem }) => {
                service.endpoints = Some(endpoints.into());
                service.problem = problem;
            }
            Err(problem) => service.problem = Some(problem),
        }
    }

    /// Whether every service has been answered for, or has failed, at least once.
    fn all_heard(&self) -> bool {
        self.0.iter().all(|service| service.heard)
    }

    /// The last good answer of every service that has one; `None` while there is none at all. A service that never had
    /// one is absent: nothing is known of it.
    fn snapshot(&self) -> Option<Snapshot> {
        let answered = self.0.iter().filter_map(|service| Some((service.key.clone(), service.endpoints.clone()?)));
        let snapshot: Snapshot = answered.collect();
        (!snapshot.is_empty() || self.0.is_empty()).then_some(snapshot)
    }

    fn problem(&self) -> Option<String> {
        let named = |service: &Service| Some(format!("service {}: {}", service.key, service.problem.as_ref()?));
        let problems: Vec<String> = self.0.iter().filter_map(named).collect();
        let told = problems.get(..MAX_TOLD).unwrap_or(&problems).join("\n");
        match problems.len() {
            0 => None,
            count if count > MAX_TOLD => Some(format!("{told}\nand {} more services", count - MAX_TOLD)),
            _ => Some(told),
        }
    }
}
