//! How packets of replies are recognised: what services' flags and backends' endpoints say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use lb_common::abi::{Backend, Endpoint, EndpointFlags, Forward, ServiceFlags, VipKey};

use super::held::NO_POOL;
use super::leaving::Leaving;
use super::state::Entry;
use super::{BackendState, Planner};
use crate::address::key;
use crate::dataplane::Op;
use crate::vip::Vip;

/// What replies are recognised by.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// Where backends listen whose replies come by here.
    pub(super) endpoints: BTreeMap<VipKey, Endpoint>,
    /// `ServiceFlags`, of services that have any.
    flags: BTreeMap<Vip, u32>,
}

/// Which replies may come from where a row's backend listens: [`EndpointFlags`]. Flows of snat go on when their backend is
/// forwarded to otherwise.
pub(super) const fn replies(row: &Backend) -> u32 {
    let nat = if row.forward == Forward::NAT { EndpointFlags::NAT } else { 0 };
    nat | if row.pool == NO_POOL { 0 } else { EndpointFlags::SNAT }
}

impl Planner<'_> {
    /// What replies are recognised by, for the rows as they are and as they will be.
    ///
    /// The endpoint of several services stays with the one it was known for, or else goes to the first of those whose
    /// replies are recognised by the tables (nat). Replies of snat are each remembered, with their service.
    pub(super) fn finding(&self, leaving: &Leaving) -> Finding {
        let mut finding = Finding::default();
        let mut sharing: BTreeMap<VipKey, BTreeSet<Vip>> = BTreeMap::new();
        for (vip, service) in &self.after.services {
            for (at, backend) in &service.backends {
                if leaving.backends.contains(&(*vip, *at)) {
                    continue;
                }
                let flags = self.replies(vip, at, backend);
                if flags & EndpointFlags::SNAT != 0 {
                    *finding.flags.entry(*vip).or_default() |= ServiceFlags::SNAT;
                }
                let listens = key(at.ip(), at.port(), vip.protocol);
                if flags == 0 || !self.part.covers(&listens) {
                    continue;
                }
                let endpoint = Endpoint { service: service.id, backend: backend.id, flags };
                if flags & EndpointFlags::NAT != 0 {
                    sharing.entry(listens).or_default().insert(*vip);
                }
                finding.take(listens, endpoint, self.after.endpoints.get(&listens));
            }
        }
        for (vip, flags) in &self.part.elsewhere {
            *finding.flags.entry(*vip).or_default() |= flags;
        }
        for vip in sharing.into_values().filter(|services| services.len() > 1).flatten() {
            *finding.flags.entry(vip).or_default() |= ServiceFlags::REMEMBER_REPLIES;
        }
        finding
    }

    /// Which replies may come from a backend, before or after its row changes.
    fn replies(&self, vip: &Vip, listens: &SocketAddr, backend: &BackendState) -> u32 {
        replies(&backend.row) | self.changing.get(&(*vip, *listens)).map_or(0, replies)
    }

    /// Gives services the flags that they need; with `more`, those that they do not need any more stay.
    pub(super) fn flags(&mut self, finding: &Finding, more: bool) {
        let wanted = |vip: &Vip, held: u32| {
            let wanted = finding.flags.get(vip).copied().unwrap_or(0);
            if more { wanted | held } else { wanted }
        };
        let services = self.after.services.iter();
        let changed: Vec<(Vip, u32, u32)> = services
            .map(|(vip, service)| (*vip, service.id, wanted(vip, service.head.flags), service.head.flags))
            .filter(|(_, _, wanted, held)| wanted != held)
            .map(|(vip, id, wanted, _)| (vip, id, wanted))
            .collect();
        for (vip, service, flags) in changed {
            self.step(Op::SetFlags { service, flags }, Entry::Flags(vip, flags));
        }
    }
}

impl Finding {
    /// Takes one service's backend into the endpoint where it listens.
    fn take(&mut self, listens: VipKey, endpoint: Endpoint, held: Option<&Endpoint>) {
        let nat = |endpoint: &Endpoint| endpoint.flags & EndpointFlags::NAT != 0;
        let same = |one: &Endpoint, other: &Endpoint| (one.service, one.backend) == (other.service, other.backend);
        let known = self.endpoints.entry(listens).or_insert(endpoint);
        let flags = known.flags | endpoint.flags;
        let stays = held.is_some_and(|held| same(held, &endpoint)) && (nat(&endpoint) || !nat(known));
        let first = nat(&endpoint) && !nat(known);
        // One that was known for it, and may have replies of nat, is not given up for another.
        let kept = held.is_some_and(|held| same(held, known)) && nat(known);
        if stays || first && !kept {
            *known = endpoint;
        }
        known.flags = flags;
    }
}
