//! When the kernel is asked to find a neighbour, to confirm it, or to begin its search anew.

use std::time::{Duration, Instant};

use super::Mac;
use crate::netlink::link::Link;
use crate::netlink::neighbour::{Key, Neighbour};

/// How often the kernel is asked again to resolve or confirm the same neighbour.
pub(super) const USE_INTERVAL: Duration = Duration::from_secs(5);

/// The same where what it has sent may be lost; twice as long each time, or whoever has carrier come and go would have this host
/// ask for everybody.
pub(super) const ANEW_INTERVAL: Duration = Duration::from_millis(100);

/// A neighbour that some followed address is reached by.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// What the kernel has; `None` for no entry.
    pub(super) neighbour: Option<Neighbour>,
    /// Whether the kernel was asked at all.
    pub(super) asked: bool,
    /// When it was last asked to resolve or confirm it.
    pub(super) used: Option<Instant>,
    /// What the kernel has sent to find it may be lost: it is to begin anew.
    pub(super) anew: bool,
    /// How often it did so since it was last found, or left alone for [`USE_INTERVAL`].
    anews: u32,
}

impl Entry {
    pub(super) fn usable(&self) -> Option<Mac> {
        self.neighbour?.usable()
    }

    /// What the kernel says of it. Returns whether that is new.
    pub(super) fn set(&mut self, neighbour: Option<Neighbour>) -> bool {
        self.asked = true;
        let changed = std::mem::replace(&mut self.neighbour, neighbour) != neighbour;
        if self.usable().is_some() {
            (self.anew, self.anews) = (false, 0);
        }
        changed
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        let anew = ANEW_INTERVAL.saturating_mul(1_u32.checked_shl(self.anews).unwrap_or(u32::MAX));
        let interval = if self.anew { anew.min(USE_INTERVAL) } else { USE_INTERVAL };
        self.asked
            && (self.anew || self.neighbour.is_none_or(|neighbour| neighbour.wants_use()))
            && self.was_left_alone(now, interval)
    }

    fn was_left_alone(&self, now: Instant, interval: Duration) -> bool {
        self.used.is_none_or(|used| now.saturating_duration_since(used) >= interval)
    }

    /// It was not asked about after all.
    pub(super) const fn not_asked(&mut self, anew: bool) {
        (self.used, self.anew) = (None, anew);
    }

    /// It is asked about now; whether anew.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        self.anews = if self.was_left_alone(now, USE_INTERVAL) { 0 } else { self.anews.saturating_add(1) };
        self.used = Some(now);
        std::mem::take(&mut self.anew)
    }
}

/// A neighbour that the kernel should be asked to resolve or confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) key: Key,
    /// A search that may be under way is in vain.
    pub(super) anew: bool,
}

/// How a device got carrier, if it did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Came {
    pub(super) up: bool,
    /// The device of which it is a port now that has carrier.
    pub(super) below: Option<u32>,
}

impl Came {
    pub(super) fn of(before: Option<&Link>, now: &Link) -> Self {
        let had_carrier = before.is_some_and(Link::has_carrier);
        let was_its_port = before.is_some_and(|before| before.controller == now.controller);
        let below = now.controller.filter(|_| now.has_carrier() && !(had_carrier && was_its_port));
        Self { up: now.has_carrier() && !had_carrier, below }
    }
}
