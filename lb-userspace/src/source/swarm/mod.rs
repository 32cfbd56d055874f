//! The `swarm` registry: the tasks of a Docker swarm, as a manager lists them. Events say when to list; states of tasks are
//! in no event, so what is changing is listed until it has settled.

mod client;
mod cluster;
mod listing;
mod pace;
mod place;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::docker::client::{Client, told};
use super::docker::teller::Teller;
use super::{Publisher, Source};
use crate::config::{DockerRegistry, Engine};
use cluster::Cluster;
use pace::Pace;

/// How many events are taken in at once.
const MAX_HEARD: usize = 256;
/// The longest wait between tries to reach a manager.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The tasks of a swarm, followed.
#[derive(Debug)]
pub struct SwarmSource {
    registry: DockerRegistry,
}

impl SwarmSource {
    /// The manager that `registry` describes; nobody is asked yet.
    ///
    /// # Errors
    /// When a certificate or key cannot be read.
    pub fn new(registry: &DockerRegistry) -> anyhow::Result<Self> {
        Client::check(registry)?;
        Ok(Self { registry: registry.clone() })
    }
}

impl Source for SwarmSource {
    fn describe(&self) -> String {
        format!("swarm {}", self.registry.engine)
    }

    fn follow(self: Box<Self>, publisher: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(follow(*self, publisher))
    }
}

/// Why a manager is not followed any more.
enum End {
    /// Nobody listens.
    Unheard,
    /// It cannot be read; the reason.
    Lost(String),
}

async fn follow(source: SwarmSource, publisher: Publisher) {
    let SwarmSource { registry } = source;
    let mut teller = Teller::new(publisher);
    let (mut cluster, mut backoff) = (Cluster::default(), Backoff::default());
    let listeners = teller.publisher.clone();
    loop {
        let ended = tokio::select! {
            ended = session(&registry, &mut cluster, &mut teller, &mut backoff) => ended,
            () = listeners.closed() => return,
        };
        let End::Lost(problem) = ended else { return };
        let stands = if teller.snapshot.is_some() { "; the last good state stands" } else { "" };
        if !teller.fail(format!("swarm {}: {problem}{stands}", registry.engine)).await {
            return;
        }
        tokio::time::sleep(backoff.next().min(MAX_WAIT)).await;
    }
}

/// Follows a manager until it is lost.
async fn session(registry: &DockerRegistry, cluster: &mut Cluster, teller: &mut Teller, backoff: &mut Backoff) -> End {
    let client = match Client::connect(registry).await {
        Ok(client) => client,
        Err(problem) => return End::Lost(problem),
    };
    let node: Arc<str> = match client::manager(&client).await {
        Ok(node) => node.into(),
        Err(problem) => return End::Lost(problem),
    };
    let is_here = is_here(&registry.engine);
    let mut events = client.events_of(&client::TYPES, &client::ACTIONS);
    let mut listings = JoinSet::new();
    let mut pace = Pace::new(Instant::now());
    loop {
        if listings.is_empty() && pace.due() <= Instant::now() {
            let (client, node) = (client.clone(), Arc::clone(&node));
            pace.asked(Instant::now());
            listings.spawn(async move { client::list(&client, &node).await });
        }
        tokio::select! {
            event = events.next() => {
                let mut event = event;
                for _ in 0..MAX_HEARD {
                    match event {
                        Some(Ok(_)) => pace.heard(Instant::now()),
                        Some(Err(error)) => return End::Lost(told(&error)),
                        None => return End::Lost("found the end of its events, expected them to go on: did the engine stop?".to_owned()),
                    }
                    match events.next().now_or_never() {
                        Some(next) => event = next,
                        None => break,
                    }
                }
            }
            Some(answer) = listings.join_next() => match answer {
                Ok(Ok(answers)) => {
                    let mut now = Cluster::read(answers, is_here.then_some(&node));
                    now.remember(cluster);
                    *cluster = now;
                    pace.listed(Instant::now(), cluster.activity());
                    if !teller.tell(listing::of(cluster, &registry.may_create)).await {
                        return End::Unheard;
                    }
                    backoff.reset();
                }
                Ok(Err(problem)) => return End::Lost(problem),
                Err(error) => return End::Lost(format!("a listing failed: {error}")),
            },
            () = tokio::time::sleep_until(pace.due()), if listings.is_empty() => {}
        }
    }
}

/// Whether an engine's containers are on this host, and so its bridges.
fn is_here(engine: &Engine) -> bool {
    match engine {
        Engine::Socket(_) => true,
        Engine::Tcp { host, .. } => {
            let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
            let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_here_when_its_address_leads_nowhere_else() {
        let tcp = |host: &str| is_here(&Engine::Tcp { host: host.to_owned(), tls: None });
        assert!(is_here(&Engine::Socket("/run/docker.sock".into())));
        assert!(tcp("127.0.0.1:2375") && tcp("[::1]:2375") && tcp("localhost:2376"));
        assert!(!tcp("192.0.2.1:2375") && !tcp("[2001:db8::1]:2375") && !tcp("manager.example:2376"));
    }
}
