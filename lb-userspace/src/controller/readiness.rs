//! When traffic can come.

use std::time::{Duration, Instant};

use super::Controller;
use crate::dataplane::DataPlane;
use crate::nexthop::{Hop, MAX_FOLLOWED, StackReason};

/// How long readiness waits for neighbours to answer.
pub(super) const NEIGHBOURS: Duration = Duration::from_secs(1);

impl<P: DataPlane> Controller<P> {
    /// Whether every registry has spoken, the data plane holds what they said, and neighbours had time to answer.
    pub fn is_ready(&self, now: Instant) -> bool {
        let Some(spoke) = self.spoke else { return false };
        let settled =
            self.addresses.all().take(MAX_FOLLOWED).all(|address| {
                !matches!(self.ground.hops.hop(&address), None | Some(Hop::Stack(StackReason::Unresolved)))
            });
        self.behind.is_none()
            && self.waiting.is_empty()
            && (settled || now.saturating_duration_since(spoke) >= NEIGHBOURS)
    }
}
