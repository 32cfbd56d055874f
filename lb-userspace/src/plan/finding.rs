//! How packets of replies are recognised: what services' flags and backends' endpoints say.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_common::abi::{Backend, Endpoint, EndpointFlags, Forward, ServiceFlags, VipKey};

use super::held::NO_POOL;
use super::leaving::Leaving;
use super::limits;
use super::state::{Entry, listens};
use super::{BackendState, Planner};
use crate::dataplane::Op;
use crate::vip::Vip;

/// What replies are recognised by.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// Where backends listen whose replies come by here, in order, each once.
    pub(super) endpoints: Vec<(VipKey, Endpoint)>,
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
        let mut flags: BTreeMap<Vip, u32> = BTreeMap::new();
        let mut listening: Vec<(VipKey, &Vip, Endpoint)> = Vec::new();
        for (vip, service) in &self.after.services {
            // Everybody who listens where one of these does is known.
            let has = self.part.has(vip);
            for (at, backend) in &service.backends {
                let replies = self.replies(vip, at, backend);
                if replies == 0 || leaving.backends.contains(&(*vip, *at)) {
                    continue;
                }
                if replies & EndpointFlags::SNAT != 0 {
                    *flags.entry(*vip).or_default() |= ServiceFlags::SNAT;
                }
                let listens = listens(vip, at);
                if has || self.part.covers(&listens) {
                    let endpoint = Endpoint { service: service.id, backend: backend.id, flags: replies };
                    listening.push((listens, vip, endpoint));
                }
            }
        }
        for (vip, elsewhere) in &self.part.elsewhere {
            *flags.entry(*vip).or_default() |= elsewhere;
        }
        // Whoever listens at one place stays in the order of services.
        listening.sort_by_key(|(listens, _, _)| *listens);
        let mut endpoints = Vec::with_capacity(listening.len());
        for sharing in listening.chunk_by(|(one, _, _), (other, _, _)| one == other) {
            let [(listens, _, first), others @ ..] = sharing else { continue };
            let held = if others.is_empty() { None } else { self.after.endpoints.get(listens) };
            let all = others.iter().map(|(_, _, endpoint)| endpoint);
            endpoints.push((*listens, all.fold(*first, |known, endpoint| either(known, *endpoint, held))));
            let by_nat = || sharing.iter().filter(|(_, _, endpoint)| endpoint.flags & EndpointFlags::NAT != 0);
            if by_nat().count() > 1 {
                for (_, vip, _) in by_nat() {
                    *flags.entry(**vip).or_default() |= ServiceFlags::REMEMBER_REPLIES;
                }
            }
        }
        Finding { endpoints, flags }
    }

    /// Which replies may come from a backend, before or after its row changes.
    fn replies(&self, vip: &Vip, listens: &SocketAddr, backend: &BackendState) -> u32 {
        replies(&backend.row) | self.changing.get(&(*vip, *listens)).map_or(0, replies)
    }

    /// Gives services the flags that they need; with `more`, those that they do not need any more stay.
    pub(super) fn flags(&mut self, finding: &Finding, more: bool) {
        let wanted = |vip: &Vip, held: u32| {
            // Who may use it, and how much, is no matter of replies: `networks`, `limits`.
            let wanted = finding.flags.get(vip).copied().unwrap_or(0) | held & (ServiceFlags::INSIDE | limits::FLAGS);
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
    /// Whether replies from there are to be recognised.
    pub(super) fn has(&self, listens: &VipKey) -> bool {
        self.endpoints.binary_search_by_key(listens, |(at, _)| *at).is_ok()
    }
}

/// Of two services' backends at one place the one that its endpoint is known for, with the flags of both; `held` is the
/// endpoint as it is.
fn either(known: Endpoint, other: Endpoint, held: Option<&Endpoint>) -> Endpoint {
    let nat = |endpoint: &Endpoint| endpoint.flags & EndpointFlags::NAT != 0;
    let same = |one: &Endpoint, other: &Endpoint| (one.service, one.backend) == (other.service, other.backend);
    let flags = known.flags | other.flags;
    let stays = held.is_some_and(|held| same(held, &other)) && (nat(&other) || !nat(&known));
    let first = nat(&other) && !nat(&known);
    // One that was known for it, and may have replies of nat, is not given up for another.
    let kept = held.is_some_and(|held| same(held, &known)) && nat(&known);
    Endpoint { flags, ..if stays || first && !kept { other } else { known } }
}
