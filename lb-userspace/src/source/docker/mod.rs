//! The `docker` registry: the containers of a Docker engine, followed by its events and repaired by listings.

pub(super) mod claims;
pub(super) mod client;
pub(super) mod container;
mod events;
pub(super) mod following;
pub(super) mod label;
pub(super) mod listing;
pub(super) mod network;
pub(super) mod teller;
mod view;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::{Publisher, Source};
use crate::config::{DockerRegistry, Engine};
use client::Client;
use following::{End, Followed, follow};
use listing::Listing;
use teller::Teller;
use view::View;

/// How many containers are inspected at once. An engine answers none that is just being started.
const MAX_INSPECTED: usize = 32;
/// How long after it was connected the engine is listed again: events before the stream stood are not in it.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// How often it is listed then.
const REPAIR: Duration = Duration::from_secs(30);
/// How long the first listing waits for all containers to be inspected.
const SETTLING: Duration = Duration::from_secs(3);
/// The longest wait between tries to reach an engine: over a network, and on this host.
const MAX_WAITS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(200));

/// The containers of a Docker engine, followed.
#[derive(Debug)]
pub struct DockerSource {
    registry: DockerRegistry,
}

impl DockerSource {
    /// The engine that `registry` describes; nobody is asked yet.
    ///
    /// # Errors
    /// When a certificate or key cannot be read.
    pub fn new(registry: &DockerRegistry) -> anyhow::Result<Self> {
        Client::check(registry)?;
        Ok(Self { registry: registry.clone() })
    }
}

impl Source for DockerSource {
    fn describe(&self) -> String {
        format!("docker {}", self.registry.engine)
    }

    fn follow(self: Box<Self>, publisher: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(follow::<View>(self.registry, publisher))
    }
}

impl Followed for View {
    const TYPE: &'static str = "docker";

    fn longest_wait(registry: &DockerRegistry) -> Duration {
        if matches!(registry.engine, Engine::Socket(_)) { MAX_WAITS.1 } else { MAX_WAITS.0 }
    }

    async fn session(&mut self, registry: &DockerRegistry, teller: &mut Teller, backoff: &mut Backoff) -> End {
        let client = match Client::connect(registry).await {
            Ok(client) => client,
            Err(problem) => return End::Lost(problem),
        };
        self.begin();
        let mut events = client.events();
        let mut inspections = JoinSet::new();
        let mut listings = JoinSet::new();
        let mut networks = JoinSet::new();
        let began = Instant::now();
        let (mut list_at, mut listed, mut told_once) = (began, false, false);
        loop {
            while inspections.len() < MAX_INSPECTED
                && let Some((id, _)) = self.ask()
            {
                let client = client.clone();
                inspections.spawn(async move {
                    let answer = client.inspect(&id).await;
                    (id, answer)
                });
            }
            if listings.is_empty() && list_at <= Instant::now() {
                let (client, asked) = (client.clone(), self.now());
                listings.spawn(async move { (asked, client.list().await) });
                let wait = if began.elapsed() < SECOND_LOOK { SECOND_LOOK } else { REPAIR };
                list_at = Instant::now() + wait;
            }
            if networks.is_empty() && std::mem::take(&mut self.wants_networks) {
                let client = client.clone();
                networks.spawn(async move { client.networks().await });
            }
            // Before all containers have been looked at nobody knows what is not there.
            let may_tell = listed && (self.is_settled() || began.elapsed() >= SETTLING || teller.snapshot.is_some());
            if may_tell && (self.changed || !told_once) {
                (self.changed, told_once) = (false, true);
                let mut listing = Listing::of(&self.containers(), &self.networks, &registry.may_create);
                listing.problems.extend(self.faults());
                if !teller.tell(listing).await {
                    return End::Unheard;
                }
            }
            tokio::select! {
                heard = events.hear(|event| self.hear(event)) => if let Err(problem) = heard {
                    return End::Lost(problem);
                },
                Some(answer) = inspections.join_next() => match answer {
                    Ok((id, answer)) => self.inspected(&id, answer),
                    Err(error) => return End::Lost(format!("an inspection failed: {error}")),
                },
                Some(answer) = listings.join_next() => match answer {
                    Ok((asked, Ok((containers, networks)))) => {
                        self.know(networks);
                        self.list(asked, containers);
                        listed = true;
                        backoff.reset();
                    }
                    Ok((_, Err(problem))) => return End::Lost(problem),
                    Err(error) => return End::Lost(format!("a listing failed: {error}")),
                },
                Some(answer) = networks.join_next() => match answer {
                    Ok(Ok(networks)) => self.know(networks),
                    Ok(Err(problem)) => return End::Lost(problem),
                    Err(error) => return End::Lost(format!("a listing of networks failed: {error}")),
                },
                () = tokio::time::sleep_until(list_at), if listings.is_empty() => {}
                () = tokio::time::sleep_until(began + SETTLING), if began.elapsed() < SETTLING => {}
            }
        }
    }
}
