//! One service followed by blocking queries.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::client::Client;
use super::health::Endpoints;
use crate::source::Wanted;
use crate::source::backoff::Backoff;

/// A pause before asking again when the agent answered without news: old ones do at every change of any service.
const PAUSE_WITHOUT_NEWS: Duration = Duration::from_millis(20);

/// What a stream says: which service, and its endpoints or why they are not known.
pub(super) type Said = (usize, Result<Endpoints, String>);

/// One service being followed.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) number: usize,
    pub(super) wanted: Wanted,
    pub(super) client: Arc<Client>,
    /// How many questions may be open at once.
    pub(super) permits: Arc<Semaphore>,
    /// How long one question may stay open.
    pub(super) wait: Duration,
    pub(super) said: mpsc::Sender<Said>,
}

impl Stream {
    /// Asks until nobody listens.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        let mut index = 0;
        let mut last = None;
        loop {
            let Ok(permit) = self.permits.acquire().await else { return };
            let answer = self.client.instances(&self.wanted, index, self.wait).await;
            drop(permit);
            let (said, pause) = match answer {
                Ok(answer) => {
                    backoff.reset();
                    index = next_index(index, answer.index);
                    (Ok(answer.endpoints), Duration::ZERO)
                }
                Err(problem) => {
                    // A restarted agent counts from the beginning: asked with the old index it would be silent.
                    index = 0;
                    (Err(problem), backoff.next())
                }
            };
            let news = last.as_ref() != Some(&said);
            if news {
                last = Some(said.clone());
                if self.said.send((self.number, said)).await.is_err() {
                    return;
                }
            }
            let pause = if news { pause } else { pause.max(PAUSE_WITHOUT_NEWS) };
            tokio::time::sleep(pause).await;
        }
    }
}

/// The index to ask with: from the beginning when it went backwards (HTTP API, Blocking Queries).
fn next_index(asked: u64, answered: u64) -> u64 {
    if answered < asked { 0 } else { answered }
}
