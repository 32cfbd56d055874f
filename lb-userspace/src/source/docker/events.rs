//! What an engine says happens.

use bollard::errors::Error;
use bollard::models::EventMessage;
use futures_util::FutureExt as _;
use futures_util::stream::{BoxStream, StreamExt as _};

use super::client::told;

/// How many events are taken in at once, before what they changed is looked at.
const MAX_HEARD: usize = 256;

/// What happens, from the moment on at which it was asked for.
pub(in crate::source) struct Events(BoxStream<'static, Result<EventMessage, Error>>);

impl Events {
    /// What comes of this stream.
    pub(super) const fn of(stream: BoxStream<'static, Result<EventMessage, Error>>) -> Self {
        Self(stream)
    }

    /// Waits until something happens, and takes in what has: a bounded part of it at once. May be given up at any time, and
    /// nothing is lost. The error says why nothing more comes.
    pub(in crate::source) async fn hear(&mut self, mut take: impl FnMut(EventMessage)) -> Result<(), String> {
        let mut event = self.0.next().await;
        for _ in 0..MAX_HEARD {
            match event {
                Some(Ok(heard)) => take(heard),
                Some(Err(error)) => return Err(told(&error)),
                None => {
                    return Err("found the end of its events, expected them to go on: did the engine stop?".to_owned());
                }
            }
            match self.0.next().now_or_never() {
                Some(next) => event = next,
                None => break,
            }
        }
        Ok(())
    }
}
