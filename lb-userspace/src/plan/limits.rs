//! The limits of services.

use anyhow::{Context as _, Result};
use lb_common::abi::{Limit, LimitFlags, LimitScope, LimitUnit, MAX_LIMITS, Service, ServiceFlags};

use super::Planner;
use super::held::LimitState;
use super::state::Entry;
use crate::dataplane::Op;
use crate::desired::DesiredService;
use crate::limiter;
use crate::vip::Vip;

/// What a service's flags say of its limits.
pub(super) const FLAGS: u32 =
    ServiceFlags::BACKEND_LIMITS | ServiceFlags::OUT_LIMITS | ServiceFlags::COUNTED | ServiceFlags::CLOSE_LIMITS;

/// What a service's flags say of these.
pub(super) fn flags(limits: &[Limit]) -> u32 {
    let flags_of = |limit: &Limit| {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        flag(limit.scope == LimitScope::BACKEND, ServiceFlags::BACKEND_LIMITS)
            | flag(limit.flags & LimitFlags::OUT != 0, ServiceFlags::OUT_LIMITS)
            | flag(limit.unit == LimitUnit::CONNECTIONS, ServiceFlags::COUNTED)
            | flag(limit.flags & LimitFlags::PLAIN == 0, ServiceFlags::CLOSE_LIMITS)
    };
    limits.iter().map(flags_of).fold(0, |all, one| all | one)
}

impl Planner<'_> {
    /// The limits of a service that is there, when they are others than they were. Packets are asked for what either wants as
    /// long as it does.
    pub(super) fn limits(&mut self, vip: &Vip, desired: &DesiredService) -> Result<()> {
        let Some(service) = self.after.services.get(vip) else { return Ok(()) };
        let (id, known, head) = (service.id, service.limits.clone(), service.head);
        let wanted = head.flags & !FLAGS | flags(&desired.limits);
        let same = known.iter().map(|known| known.limit).eq(desired.limits.iter().copied());
        if same && wanted == head.flags {
            return Ok(());
        }
        if wanted & !head.flags != 0 {
            let flags = wanted | head.flags;
            self.step(Op::SetFlags { service: id, flags }, Entry::Flags(*vip, flags));
        }
        let (limits, changed) = self.make_limits(Some(vip), desired, &known, head)?;
        if changed.limits != head.limits {
            let op = Op::SetLimits { service: id, limits: changed.limits };
            self.step(op, Entry::Limits(*vip, changed.limits, limits));
        }
        if head.flags & !wanted != 0 {
            self.step(Op::SetFlags { service: id, flags: wanted }, Entry::Flags(*vip, wanted));
        }
        Ok(())
    }

    /// Makes the limits that are desired. One of `known` that limits the same thing becomes it, and keeps its buckets: those that
    /// are the same at all come first.
    pub(super) fn make_limits(
        &mut self,
        vip: Option<&Vip>,
        desired: &DesiredService,
        known: &[LimitState],
        mut head: Service,
    ) -> Result<(Vec<LimitState>, Service)> {
        debug_assert!(desired.limits.len() <= MAX_LIMITS);
        let mut known = known.to_vec();
        let mut heirs = vec![None; desired.limits.len()];
        for alike in [|one: &Limit, other: &Limit| one == other, limiter::is_same] {
            for (limit, heir) in desired.limits.iter().zip(&mut heirs).filter(|(_, heir)| heir.is_none()) {
                let at = known.iter().position(|known| alike(&known.limit, limit));
                *heir = at.map(|at| known.remove(at));
            }
        }
        let mut limits = Vec::new();
        head.limits = [0; MAX_LIMITS];
        for ((&limit, heir), place) in desired.limits.iter().zip(heirs).zip(&mut head.limits) {
            let id = match (heir, vip) {
                (Some(LimitState { id, limit: held }), Some(vip)) => {
                    if held != limit {
                        self.step(Op::ChangeLimit { id, limit }, Entry::Limit(*vip, LimitState { id, limit }));
                    }
                    id
                }
                _ => {
                    let id = self.after.limit_ids.take().context(
                        "the map of limits is full: lower the number of limits, or raise `max_services` under [weir] and start \
                         anew; there are 65,533 of all services at most",
                    )?;
                    self.step(Op::PutLimit { id, limit }, Entry::Nothing);
                    id
                }
            };
            *place = u16::try_from(id + 1).context("more limits than a service can name")?;
            limits.push(LimitState { id, limit });
        }
        Ok((limits, head))
    }
}
