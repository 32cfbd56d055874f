//! What a service's table shall be.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::abi::Slot;

use super::leaving::Leaving;
use super::{ServiceState, retarget};
use crate::desired::{DesiredBackend, DesiredService};
use crate::maglev;
use crate::vip::{Protocol, Vip};

/// What a table is to be built for.
pub(super) struct Aim {
    /// Shares of new flows by backend id, in the order of ids; none is 0.
    shares: Vec<(u32, u32)>,
    entries: Vec<maglev::Entry>,
    /// Backends, by id, whose connections are not kept.
    cut: BTreeSet<u32>,
    /// One of the others.
    heir: Option<u32>,
}

impl Aim {
    pub(super) fn of(vip: &Vip, service: &ServiceState, desired: &DesiredService, leaving: &Leaving) -> Self {
        let leaves = |listens: &SocketAddr| leaving.backends.contains(&(*vip, *listens));
        let entry = |(listens, backend): (&SocketAddr, &DesiredBackend)| {
            let id = service.backends.get(listens)?.id;
            (backend.share > 0).then_some(maglev::Entry {
                id,
                listens: (listens.ip(), listens.port()),
                weight: backend.share,
            })
        };
        let entries: Vec<maglev::Entry> =
            desired.backends.iter().filter(|(listens, _)| !leaves(listens)).filter_map(entry).collect();
        let cut = desired.cut.iter().filter_map(|listens| Some(service.backends.get(listens)?.id));
        // Whoever goes at the end of this very plan inherits nothing.
        let heir = service.backends.iter().find(|(listens, _)| !desired.cut.contains(listens) && !leaves(listens));
        let mut shares: Vec<(u32, u32)> = entries.iter().map(|entry| (entry.id, entry.weight)).collect();
        shares.sort_unstable();
        Self { shares, cut: cut.collect(), heir: heir.map(|(_, backend)| backend.id), entries }
    }

    /// Whether the table was built for just this.
    pub(super) fn is_met(&self, service: &ServiceState) -> bool {
        let built = || service.backends.values().filter(|backend| backend.row.weight > 0);
        built().count() == self.shares.len()
            && built().all(|backend| self.share(backend.id) == backend.row.weight)
            && !self.cut.iter().any(|id| service.slots.contains_key(id))
    }

    /// A backend's share of new flows.
    pub(super) fn share(&self, id: u32) -> u32 {
        self.shares.binary_search_by_key(&id, |(of, _)| *of).map_or(0, |at| self.shares[at].1)
    }

    /// The slots of the table, given those of before, which are none or `size`.
    pub(super) fn slots(&self, vip: &Vip, before: &[Slot], size: u32) -> Arc<[Slot]> {
        let target = maglev::build(&self.entries, size);
        if before.is_empty() {
            return target.into_iter().map(Slot::settled).collect();
        }
        // Without anybody to take new flows the old ones go on.
        let target = target.into_iter().chain(std::iter::repeat(Slot::NOBODY));
        let unmarked = vip.protocol == Protocol::Udp;
        let cut = |id| self.cut.contains(&id);
        before.iter().zip(target).map(|(&slot, target)| retarget(slot, target, unmarked, &cut, self.heir)).collect()
    }
}
