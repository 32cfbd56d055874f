//! Drains, removals and other weights, as a person orders them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lb_common::abi::{Flow, FlowKey, Order, OrderFlags};

use super::Controller;
use crate::api::types::{BackendRow, DrainOrder, DrainRow, DrainsOf, Then, WeightOrder, Which};
use crate::config::Forward;
use crate::dataplane::{DataPlane, Op};
use crate::orders::{Orders, Whose};
use crate::reset::Reset;
use crate::vip::Vip;

impl<P: DataPlane> Controller<P> {
    /// Has a backend take no new flows.
    ///
    /// # Errors
    /// When no backend, or not just one, is meant, or the order cannot be kept; then nothing was ordered.
    pub fn drain(&mut self, order: &DrainOrder, now: Instant) -> Result<Vec<DrainRow>> {
        let then = match order.then {
            None => 0,
            Some(Then::Remove) => OrderFlags::THEN_REMOVE,
            Some(Then::Reset) => OrderFlags::THEN_RESET,
        };
        let now_s = self.plane.now_s();
        let deadline_s = match (order.deadline_s, order.then) {
            (Some(_), None) => bail!("a deadline needs an end: say what comes then, `remove` or `reset`"),
            // 0 is none.
            (Some(left), Some(_)) => now_s.saturating_add(u32::try_from(left).unwrap_or(u32::MAX)).max(1),
            (None, _) => 0,
        };
        let whose = self.which(&order.which)?;
        self.order(&whose, now, |order| {
            const ENDS: u32 = OrderFlags::THEN_REMOVE | OrderFlags::THEN_RESET;
            let flags = order.flags & !ENDS | OrderFlags::DRAIN | then;
            Order { flags, deadline_s, ..order }
        })?;
        Ok(whose.iter().map(|whose| self.drain_row(whose)).collect())
    }

    /// Ends a drain, or a removal.
    ///
    /// # Errors
    /// As [`Self::drain`].
    pub fn undrain(&mut self, which: &Which, now: Instant) -> Result<Vec<DrainRow>> {
        let whose = self.which(which)?;
        self.order(&whose, now, |order| Order {
            flags: order.flags & OrderFlags::WEIGHT,
            weight: order.weight,
            ..Order::default()
        })?;
        Ok(whose.iter().map(|whose| self.drain_row(whose)).collect())
    }

    /// Gives a backend another weight than its registry does, or the registry's again.
    ///
    /// # Errors
    /// As [`Self::drain`].
    pub fn weigh(&mut self, order: &WeightOrder, now: Instant) -> Result<Vec<BackendRow>> {
        let whose = self.which(&order.which)?;
        self.order(&whose, now, |kept| match order.weight {
            Some(weight) => Order { flags: kept.flags | OrderFlags::WEIGHT, weight: weight.into(), ..kept },
            None => Order { flags: kept.flags & !OrderFlags::WEIGHT, weight: 0, ..kept },
        })?;
        let rows = self.backends(None)?;
        let meant = |row: &BackendRow| {
            let listens = row.address.parse().map(|address: IpAddr| SocketAddr::new(address, row.port));
            whose.iter().any(|(vip, at)| listens == Ok(*at) && self.name(vip) == row.service)
        };
        Ok(rows.into_iter().filter(meant).collect())
    }

    /// The backends that are ordered to drain, all or those that are asked for.
    ///
    /// # Errors
    /// When those are asked for who are not there.
    pub fn drains(&self, of: &DrainsOf) -> Result<Vec<DrainRow>> {
        let drains = |order: &Order| order.flags & (OrderFlags::DRAIN | OrderFlags::REMOVED) != 0;
        let ordered = || self.orders.iter().filter(|(_, order)| drains(order)).map(|(whose, _)| *whose);
        let whose: Vec<Whose> = match (&of.backend, &of.service) {
            (None, None) => ordered().collect(),
            (None, Some(service)) => ordered().filter(|(vip, _)| self.name(vip) == *service).collect(),
            (Some(backend), service) => self.which(&Which { backend: backend.clone(), service: service.clone() })?,
        };
        Ok(whose.iter().map(|whose| self.drain_row(whose)).collect())
    }

    /// Packets to send so that both ends of connections that were cut off know it.
    pub fn take_resets(&mut self) -> Vec<Reset> {
        std::mem::take(&mut self.resets)
    }

    /// Notes that a connection is cut off, when it is to be reset.
    pub(super) fn reset(&mut self, vip: &Vip, key: &FlowKey, flow: &Flow) {
        let Some(service) = self.state.services.get(vip) else { return };
        let Some((listens, backend)) = service.backends.iter().find(|(_, backend)| backend.id == flow.backend) else {
            return;
        };
        if self.orders.get(&(*vip, *listens)).flags & OrderFlags::THEN_RESET != 0 {
            let forward = backend.forward();
            // Only a backend of nat knows the connection as the client does, at its own address.
            let known = |reset: &Reset| forward == Forward::Nat || IpAddr::from(key.client) == reset.to.ip();
            self.resets.extend(Reset::of(vip, *listens, key, flow).into_iter().filter(known));
        }
    }

    /// Whether an order waits for its drain's end.
    pub(super) fn orders_wait(&self) -> bool {
        self.orders.iter().any(|(_, order)| waits(order))
    }

    /// When the next drain ends though flows are left; `None` also when it should have ended already.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let now_s = self.plane.now_s();
        let deadlines = self.orders.iter().filter(|(_, order)| waits(order)).map(|(_, order)| order.deadline_s);
        let next = deadlines.filter(|deadline_s| *deadline_s > now_s).min()?;
        Some(now + Duration::from_secs(u64::from(next - now_s)))
    }

    /// Takes those out whose drain is over, and says whether there were such.
    pub(super) fn end_drains(&mut self) -> bool {
        let now_s = self.plane.now_s();
        let late = |order: &Order| order.deadline_s != 0 && now_s >= order.deadline_s;
        let over: Vec<Whose> = self
            .orders
            .iter()
            .filter(|(whose, order)| waits(order) && (late(order) || !self.is_needed(whose)))
            .map(|(whose, _)| *whose)
            .collect();
        let mut ended = false;
        for whose in over {
            let order = self.orders.get(&whose);
            let removed = Order { flags: order.flags | OrderFlags::REMOVED, ..order };
            // Failing to keep it is failing to do it: the next sweep tries again.
            match self.keep(&[(whose, removed)]) {
                Ok(()) => {
                    ended = true;
                    tracing::info!(backend = %whose.1, service = %whose.0, "drained: taken out, as ordered");
                }
                Err(error) => tracing::error!(backend = %whose.1, error = format!("{error:#}"), "cannot take out"),
            }
        }
        ended
    }

    /// Drops orders whose backend nobody lists any more and nothing is left of.
    pub(super) fn void_orders(&mut self) {
        let is_void = |(vip, listens): &Whose| {
            let service = self.config.services.iter().find(|service| service.vip == *vip);
            let listed = service.is_some_and(|service| {
                self.registries.rosters.get(&service.name).is_none_or(|roster| {
                    // One that was taken out has left no row to remember.
                    roster.remembered
                        || roster.endpoints.iter().any(|one| SocketAddr::new(one.address, one.port) == *listens)
                })
            });
            let held = self.state.services.get(vip).is_some_and(|service| service.backends.contains_key(listens));
            !listed && !held
        };
        let void: Vec<(Whose, Order)> = self
            .orders
            .iter()
            .filter(|(whose, _)| is_void(whose))
            .map(|(whose, _)| (*whose, Order::default()))
            .collect();
        if let Err(error) = self.keep(&void) {
            tracing::error!(error = format!("{error:#}"), "an order for a backend that is gone stays");
        }
    }

    /// Whether a slot names it, or a remembered flow goes to it.
    pub(super) fn is_needed(&self, (vip, listens): &Whose) -> bool {
        let Some(service) = self.state.services.get(vip) else { return false };
        service.backends.get(listens).is_some_and(|backend| self.state.is_needed(service, backend.id))
    }

    /// `active`, `ramping`, `draining`, `drained` or `removed`.
    pub(super) fn backend_state(&self, whose: &Whose) -> &'static str {
        let flags = self.orders.get(whose).flags;
        let share = self.share(whose);
        let gone = self.desired.services.get(&whose.0).is_some_and(|service| service.cut.contains(&whose.1));
        if gone || flags & OrderFlags::REMOVED != 0 {
            "removed"
        } else if share == 0 {
            if self.is_needed(whose) { "draining" } else { "drained" }
        } else if crate::ramp::is_ramping(share) {
            "ramping"
        } else {
            "active"
        }
    }

    /// A backend's share of new flows as it shall be at this moment.
    fn share(&self, (vip, listens): &Whose) -> u32 {
        let Some(wanted) = self.desired.services.get(vip) else { return 0 };
        if wanted.rests {
            let held = self.state.services.get(vip).and_then(|held| held.backends.get(listens));
            return held.map_or(0, |held| held.row.weight);
        }
        wanted.backends.get(listens).map_or(0, |backend| backend.share)
    }

    fn drain_row(&self, whose: &Whose) -> DrainRow {
        let (vip, listens) = whose;
        let order = self.orders.get(whose);
        let service = self.state.services.get(vip);
        let backend = service.and_then(|service| service.backends.get(listens));
        let count = service.zip(backend).and_then(|(service, backend)| service.slots.get(&backend.id));
        let left = backend.and_then(|backend| self.handover.left.get(&backend.id)).copied().unwrap_or_default();
        let slots = count.map_or(0, |count| count.old);
        let then = if order.flags & OrderFlags::THEN_RESET != 0 {
            Some(Then::Reset)
        } else {
            (order.flags & OrderFlags::THEN_REMOVE != 0).then_some(Then::Remove)
        };
        let deadline = (order.deadline_s != 0).then(|| order.deadline_s.saturating_sub(self.plane.now_s()).into());
        let (id, service) = self.names(whose);
        DrainRow {
            service,
            id,
            address: listens.ip().to_string(),
            port: listens.port(),
            state: self.backend_state(whose).to_owned(),
            slots,
            flows: left.flows + backend.and_then(|backend| self.snats.living.get(&backend.id)).copied().unwrap_or(0),
            // Before the first sweep after a change nobody has looked.
            unseen: left.unseen || slots > 0 && left.slots == 0,
            deadline_s: deadline,
            then: then.map(|then| then.name().to_owned()),
        }
    }

    /// Changes the orders for backends, all or none, and acts on them.
    fn order(&mut self, whose: &[Whose], now: Instant, change: impl Fn(Order) -> Order) -> Result<()> {
        let new: Vec<(Whose, Order)> = whose.iter().map(|whose| (*whose, change(self.orders.get(whose)))).collect();
        self.keep(&new)?;
        self.reconcile(now);
        Ok(())
    }

    /// Has the data plane keep orders: all, or none.
    fn keep(&mut self, orders: &[(Whose, Order)]) -> Result<()> {
        let op = |whose: &Whose, order: Order| match order.flags {
            0 => Op::RemoveOrder { key: Orders::key(whose) },
            _ => Op::PutOrder { key: Orders::key(whose), order },
        };
        let before: Vec<(Whose, Order)> = orders.iter().map(|(whose, _)| (*whose, self.orders.get(whose))).collect();
        for (done, (whose, order)) in orders.iter().enumerate() {
            if let Err(error) = self.plane.apply(&op(whose, *order)) {
                for (whose, order) in &before[..done] {
                    if let Err(error) = self.plane.apply(&op(whose, *order)) {
                        tracing::error!(error = format!("{error:#}"), "an order that was not to be is kept");
                    }
                }
                return Err(error.context("the order cannot be kept, and nothing was ordered"));
            }
        }
        for (whose, order) in orders {
            self.at_rest.remove(&whose.0);
            self.orders.set(*whose, *order);
        }
        Ok(())
    }

    /// The backends that are meant, of all services or of one.
    fn which(&self, which: &Which) -> Result<Vec<Whose>> {
        let Which { backend: asked, service } = which;
        if let Some(service) = service {
            self.must_know(service)?;
        }
        let mut all: Vec<Whose> = Vec::new();
        for (vip, desired) in &self.desired.services {
            let held = self.state.services.get(vip).filter(|_| desired.rests);
            let held = held.iter().flat_map(|held| held.backends.keys());
            all.extend(desired.backends.keys().chain(&desired.cut).chain(held).map(|listens| (*vip, *listens)));
        }
        let of_service = |(vip, _): &Whose| service.as_ref().is_none_or(|name| self.name(vip) == *name);
        all.retain(of_service);
        let meant = |whose: &Whose| {
            let (_, listens) = whose;
            let by_address = asked.parse::<IpAddr>().is_ok_and(|address| address == listens.ip());
            let by_socket = asked.parse::<SocketAddr>().is_ok_and(|socket| socket == *listens);
            by_address || by_socket || self.names(whose).0 == *asked
        };
        let found: Vec<Whose> = all.iter().filter(|whose| meant(whose)).copied().collect();
        if found.is_empty() {
            let mut known: Vec<String> = all.iter().map(|whose| self.names(whose).0).collect();
            known.sort_unstable();
            known.dedup();
            let known = match known.len() {
                0 => "there are none".to_owned(),
                1..=20 => format!("there are {}", known.join(", ")),
                more => format!("there are {more}; `weir backends` lists them"),
            };
            let of = service.as_ref().map(|service| format!(" of service {service:?}")).unwrap_or_default();
            bail!("there is no backend {asked:?}{of}, expected an id, ADDRESS or ADDRESS:PORT: {known}");
        }
        for (vip, _) in &found {
            let mine: Vec<&Whose> = found.iter().filter(|(of, _)| of == vip).collect();
            if mine.len() > 1 {
                let each: Vec<String> =
                    mine.iter().map(|whose| format!("{} at {}", self.names(whose).0, whose.1)).collect();
                bail!(
                    "found that {asked:?} may be {} backends of service {:?}, expected one: {}; say which by its id \
                     or ADDRESS:PORT",
                    mine.len(),
                    self.name(vip),
                    each.join(", ")
                );
            }
        }
        Ok(found)
    }

    /// Refuses a service that is not there.
    pub(super) fn must_know(&self, name: &str) -> Result<()> {
        if self.desired.services.values().any(|service| service.name == *name)
            || self.config.services.iter().any(|service| service.name == *name)
        {
            return Ok(());
        }
        let known: Vec<&str> = self.config.services.iter().map(|service| service.name.as_str()).collect();
        bail!("there is no service {name:?}; there are {}", known.join(", "))
    }

    /// What a service is called.
    pub(super) fn name(&self, vip: &Vip) -> String {
        let configured = self.config.services.iter().find(|service| service.vip == *vip);
        let held = self.state.services.get(vip).map(|held| &held.name);
        configured.map(|service| &service.name).or(held).cloned().unwrap_or_else(|| vip.to_string())
    }

    /// What a backend and its service are called.
    pub(super) fn names(&self, (vip, listens): &Whose) -> (String, String) {
        let desired = self.desired.services.get(vip).and_then(|service| service.backends.get(listens));
        let held = self.state.services.get(vip).and_then(|service| service.backends.get(listens));
        let service = self.config.services.iter().find(|service| service.vip == *vip);
        let roster = service.and_then(|service| self.registries.rosters.get(&service.name));
        let listed = roster
            .and_then(|roster| roster.endpoints.iter().find(|one| SocketAddr::new(one.address, one.port) == *listens));
        let id = desired.map(|backend| &backend.id).or(held.map(|backend| &backend.name)).or(listed.map(|one| &one.id));
        (id.map_or_else(|| listens.to_string(), |id| id.to_string()), self.name(vip))
    }
}

/// Whether a drain's end is still to come.
const fn waits(order: &Order) -> bool {
    const ENDS: u32 = OrderFlags::THEN_REMOVE | OrderFlags::THEN_RESET;
    order.flags & OrderFlags::DRAIN != 0 && order.flags & ENDS != 0 && order.flags & OrderFlags::REMOVED == 0
}
