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
        let (mut next, mut heard) = (Some(self.0.next().await), 0);
        while let Some(event) = next {
            match event {
                Some(Ok(event)) => take(event),
                Some(Err(error)) => return Err(told(&error)),
                None => {
                    return Err("found the end of its events, expected them to go on: did the engine stop?".to_owned());
                }
            }
            heard += 1;
            // Only what is taken in is asked for: else one would be lost.
            next = if heard < MAX_HEARD { self.0.next().now_or_never() } else { None };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn events_beyond_what_is_taken_in_at_once_come_the_next_time() {
        let many = stream::iter(std::iter::repeat_with(|| Ok(EventMessage::default())).take(MAX_HEARD + 2));
        let mut events = Events::of(many.chain(stream::pending()).boxed());
        let mut heard = 0;
        assert_eq!(events.hear(|_| heard += 1).await, Ok(()));
        assert_eq!(heard, MAX_HEARD);
        assert_eq!(events.hear(|_| heard += 1).await, Ok(()));
        assert_eq!(heard, MAX_HEARD + 2);
    }

    #[tokio::test]
    async fn what_came_before_the_end_is_taken_in() {
        let mut events = Events::of(stream::iter([Ok(EventMessage::default())]).boxed());
        let mut heard = 0;
        assert!(events.hear(|_| heard += 1).await.is_err());
        assert_eq!(heard, 1);
    }
}
