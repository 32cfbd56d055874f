//! Following an engine for as long as somebody listens: when it is lost it is tried again.

use std::future::Future;
use std::time::Duration;

use super::teller::Teller;
use crate::config::DockerRegistry;
use crate::source::Publisher;
use crate::source::backoff::Backoff;

/// Why an engine is not followed any more.
pub(in crate::source) enum End {
    /// Nobody listens.
    Unheard,
    /// It cannot be read; the reason.
    Lost(String),
}

/// What is known of an engine, from one session to the next.
pub(in crate::source) trait Followed: Default + Send {
    /// The type of the registry, as messages name it.
    const TYPE: &'static str;

    /// The longest wait between tries to reach the engine.
    fn longest_wait(registry: &DockerRegistry) -> Duration;

    /// Follows the engine until it is lost, and tells all that is news. What worked ends the waits.
    fn session(
        &mut self,
        registry: &DockerRegistry,
        teller: &mut Teller,
        backoff: &mut Backoff,
    ) -> impl Future<Output = End> + Send;
}

/// Follows the engine until nobody listens.
pub(in crate::source) async fn follow<F: Followed>(registry: DockerRegistry, publisher: Publisher) {
    let mut teller = Teller::new(publisher);
    let (mut followed, mut backoff) = (F::default(), Backoff::default());
    let listeners = teller.publisher.clone();
    loop {
        let ended = tokio::select! {
            ended = followed.session(&registry, &mut teller, &mut backoff) => ended,
            () = listeners.closed() => return,
        };
        let End::Lost(problem) = ended else { return };
        let stands = if teller.snapshot.is_some() { "; the last good state stands" } else { "" };
        if !teller.fail(format!("{} {}: {problem}{stands}", F::TYPE, registry.engine)).await {
            return;
        }
        tokio::time::sleep(backoff.next().min(F::longest_wait(&registry))).await;
    }
}
