//! What can be removed.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::part::Part;
use super::{BackendState, State};
use crate::desired::Desired;
use crate::vip::Vip;

/// What nobody wants and nothing needs any more.
pub(super) struct Leaving {
    pub(super) backends: BTreeSet<(Vip, SocketAddr)>,
    pub(super) services: BTreeSet<Vip>,
}

impl Leaving {
    pub(super) fn of(desired: &Desired, state: &State, part: &Part) -> Self {
        let mut leaving = Self { backends: BTreeSet::new(), services: BTreeSet::new() };
        for (vip, service) in state.services.iter().filter(|(vip, _)| part.has(vip)) {
            let wanted = desired.services.get(vip);
            let goes = |(listens, backend): &(&SocketAddr, &BackendState)| {
                let listed = wanted.and_then(|wanted| wanted.backends.get(*listens));
                listed.is_none_or(|listed| listed.lingers) && !state.is_needed(service, backend.id)
            };
            let gone: Vec<SocketAddr> = service.backends.iter().filter(goes).map(|(listens, _)| *listens).collect();
            if wanted.is_none_or(|wanted| wanted.retires) && gone.len() == service.backends.len() {
                leaving.services.insert(*vip);
            }
            leaving.backends.extend(gone.into_iter().map(|listens| (*vip, listens)));
        }
        leaving
    }
}
