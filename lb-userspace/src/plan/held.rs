//! What the data plane holds of services, as the books have it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::abi::{Backend, Limit, Service, Slot};

use crate::config::Forward;

/// A service in the data plane.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceState {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: u32,
    /// Its head.
    pub head: Service,
    /// Its limits, in the order in which packets meet them.
    pub limits: Vec<LimitState>,
    /// Its backends. The weight in a row is the one that the table was built with.
    pub backends: BTreeMap<SocketAddr, BackendState>,
    /// How many slots name each backend, by id.
    pub slots: BTreeMap<u32, SlotCount>,
    /// Whether packets find it.
    pub published: bool,
}

impl ServiceState {
    /// How many of its slots hand over.
    pub fn moving(&self) -> u32 {
        self.slots.values().map(|count| count.old).sum()
    }
}

/// A limit in the data plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitState {
    /// Its id.
    pub id: u32,
    /// What the map holds.
    pub limit: Limit,
}

/// How many slots name a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotCount {
    /// As the one that takes new flows.
    pub current: u32,
    /// As the one that they hand over from.
    pub old: u32,
}

impl SlotCount {
    /// The counts of all backends that slots name.
    pub fn of(slots: &[Slot]) -> BTreeMap<u32, Self> {
        let (mut first, mut last) = (u32::MAX, 0);
        for slot in slots {
            for id in slot.old().into_iter().chain([slot.current()]).filter(|id| *id != Slot::NOBODY) {
                (first, last) = (first.min(id), last.max(id));
            }
        }
        if first > last {
            return BTreeMap::new();
        }
        // Ids that were given out together lie together: a list is counted in far sooner than a map.
        if (last - first) as usize > slots.len() * 4 {
            return Self::of_far_apart(slots);
        }
        let mut counts = vec![Self::default(); (last - first) as usize + 1];
        for slot in slots {
            if slot.current() != Slot::NOBODY {
                counts[(slot.current() - first) as usize].current += 1;
            }
            if let Some(old) = slot.old() {
                counts[(old - first) as usize].old += 1;
            }
        }
        (first..).zip(counts).filter(|(_, count)| *count != Self::default()).collect()
    }

    /// The same, of ids however far apart.
    fn of_far_apart(slots: &[Slot]) -> BTreeMap<u32, Self> {
        let mut counts: BTreeMap<u32, Self> = BTreeMap::new();
        for slot in slots {
            if slot.current() != Slot::NOBODY {
                counts.entry(slot.current()).or_default().current += 1;
            }
            if let Some(old) = slot.old() {
                counts.entry(old).or_default().old += 1;
            }
        }
        counts
    }
}

/// A backend in the data plane.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendState {
    /// Its id.
    pub id: u32,
    /// What the registry calls it.
    pub name: Arc<str>,
    /// What the map holds.
    pub row: Backend,
}

impl BackendState {
    /// How packets reach it.
    pub const fn forward(&self) -> Forward {
        match Forward::of_number(self.row.forward) {
            Some(forward) => forward,
            None => Forward::Nat,
        }
    }

    /// The number of the pool of ports that it was given, which it keeps also when packets reach it otherwise: flows go on.
    pub fn pool(&self) -> Option<u16> {
        (self.row.pool != NO_POOL).then_some(self.row.pool)
    }
}

/// In a row, in place of a pool: it has none.
pub(super) const NO_POOL: u16 = u16::MAX;
