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

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::docker::client::Client;
use super::docker::following::{End, Followed, follow};
use super::docker::teller::Teller;
use super::{Publisher, Source};
use crate::config::{DockerRegistry, Engine};
use cluster::Cluster;
use pace::Pace;

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
        Box::pin(follow::<Cluster>(self.registry, publisher))
    }
}

impl Followed for Cluster {
    const TYPE: &'static str = "swarm";

    fn longest_wait(_: &DockerRegistry) -> Duration {
        MAX_WAIT
    }

    async fn session(&mut self, registry: &DockerRegistry, teller: &mut Teller, backoff: &mut Backoff) -> End {
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
            let due = pace.due();
            tokio::select! {
                heard = events.hear(|_| pace.heard(Instant::now())) => if let Err(problem) = heard {
                    return End::Lost(problem);
                },
                Some(answer) = listings.join_next() => match answer {
                    Ok(Ok(answers)) => {
                        let mut now = Cluster::read(answers, is_here.then_some(&node));
                        now.remember(self);
                        *self = now;
                        pace.listed(Instant::now(), self.activity());
                        if !teller.tell(listing::of(self, &registry.may_create)).await {
                            return End::Unheard;
                        }
                        backoff.reset();
                    }
                    Ok(Err(problem)) => return End::Lost(problem),
                    Err(error) => return End::Lost(format!("a listing failed: {error}")),
                },
                () = tokio::time::sleep_until(due), if listings.is_empty() => {}
            }
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
