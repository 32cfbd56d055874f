//! Limits: what they said, and those that are set by hand.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, anyhow, bail, ensure};

use super::Controller;
use crate::api::top::Reading;
use crate::api::types::{LimitOrder, LimitRow};
use crate::config::{Config, Limit, Over, Per, Rate, Service, Unit, Wrong, check_together, limit_unit};
use crate::dataplane::DataPlane;
use crate::limiter;
use crate::plan::LimitState;

/// Limits that a person has set for a service.
#[derive(Debug, Clone)]
pub(super) struct ByHand {
    /// The limits as they were configured: when those are others, these here are no more.
    written: Vec<Limit>,
    /// The limits in force, in the same order.
    limits: Vec<Limit>,
}

impl<P: DataPlane> Controller<P> {
    /// The limits of all services.
    ///
    /// # Errors
    /// When a counter cannot be read.
    pub fn limits(&self) -> Result<Vec<LimitRow>> {
        let mut rows = Vec::new();
        for service in &self.config.services {
            rows.extend(self.limit_rows(service)?);
        }
        Ok(rows)
    }

    fn limit_rows(&self, service: &Service) -> Result<Vec<LimitRow>> {
        self.compiled(service).iter().map(|(limit, state)| self.limit_row(service, limit, *state)).collect()
    }

    /// What is in the buckets that sources have of a service.
    ///
    /// # Errors
    /// When there is no such service, or no source has a bucket of it.
    pub fn pressure(&self, name: &str, now: Instant) -> Result<Reading> {
        let service = self.configured(name)?;
        ensure!(
            service.limits.iter().any(|limit| limit.per.is_source()),
            "found no limit per source of service {name:?}, expected one: its sources are not told apart. Give it one with \
             per = \"source\" and over = \"count\", which drops nothing"
        );
        let of_sources = self.compiled(service).into_iter().filter(|(limit, _)| limit.per.is_source());
        let limits: BTreeMap<u32, Limit> = of_sources.filter_map(|(limit, state)| Some((state?.id, limit))).collect();
        let ids: Vec<u32> = limits.keys().copied().collect();
        Ok(Reading { limits, buckets: self.plane.buckets(&ids)?, at: now })
    }

    /// Gives one limit of a service another rate, burst or outcome, until its limits change in the configuration.
    ///
    /// # Errors
    /// When no limit, or not just one, is meant, or it cannot be; then nothing has changed.
    pub fn set_limit(&mut self, order: &LimitOrder, now: Instant) -> Result<Vec<LimitRow>> {
        let service = self.configured(&order.service)?;
        let at = which(service, order)?;
        let limit = changed(&service.limits[at], order)?;
        let checked = limit.check().and_then(|()| limit.check_for(service.forward, &service.vip));
        checked.map_err(|Wrong { key, text }| anyhow!("{key}: {text}"))?;
        let (vip, written) = (service.vip, service.limits.clone());
        let mut limits = written.clone();
        limits[at] = limit;
        check_together(&limits).map_err(|Wrong { key, text }| anyhow!("{key}: {text}"))?;
        let by_hand = self.by_hand.entry(vip).or_insert_with(|| ByHand { written, limits: Vec::new() });
        by_hand.limits.clone_from(&limits);
        self.put_limits(&order.service, limits, now)
    }

    /// Has a service's limits as they are configured.
    ///
    /// # Errors
    /// When there is no such service, or nobody has set them.
    pub fn unset_limits(&mut self, name: &str, now: Instant) -> Result<Vec<LimitRow>> {
        let vip = self.configured(name)?.vip;
        let Some(by_hand) = self.by_hand.remove(&vip) else {
            bail!("found the limits of service {name:?} as they are configured, expected some that were set by hand");
        };
        self.put_limits(name, by_hand.written, now)
    }

    fn put_limits(&mut self, name: &str, limits: Vec<Limit>, now: Instant) -> Result<Vec<LimitRow>> {
        if let Some(service) = self.config.services.iter_mut().find(|service| service.name == *name) {
            service.limits = limits;
            self.at_rest.remove(&service.vip);
        }
        self.reconcile(now);
        if let Some(behind) = &self.behind {
            bail!("the limit is not in force yet, Weir goes on trying: {}", behind.error);
        }
        self.limit_rows(self.configured(name)?)
    }

    /// Puts limits that a person has set where they were configured as they were then.
    pub(super) fn limit_by_hand(&self, config: &mut Config) {
        for service in &mut config.services {
            if let Some(by_hand) = self.by_hand.get(&service.vip).filter(|by_hand| by_hand.written == service.limits) {
                service.limits.clone_from(&by_hand.limits);
            }
        }
    }

    /// Forgets what a person has set where it is not in force any more.
    pub(super) fn forget_by_hand(&mut self) {
        let services = &self.config.services;
        self.by_hand.retain(|vip, by_hand| {
            services.iter().any(|service| service.vip == *vip && service.limits == by_hand.limits)
        });
    }

    fn is_by_hand(&self, service: &Service, limit: &Limit) -> bool {
        self.by_hand.get(&service.vip).is_some_and(|by_hand| !by_hand.written.contains(limit))
    }

    fn configured(&self, name: &str) -> Result<&Service> {
        self.must_know(name)?;
        let found = self.config.services.iter().find(|service| service.name == *name);
        found.ok_or_else(|| anyhow!("the service {name:?} is not in the configuration any more"))
    }

    /// A service's limits in the order in which packets meet them, with what the data plane has of each.
    fn compiled(&self, service: &Service) -> Vec<(Limit, Option<LimitState>)> {
        let held = self.state.services.get(&service.vip).map(|state| state.limits.as_slice()).unwrap_or_default();
        let limits = limiter::in_order(&service.limits).into_iter().enumerate();
        limits.map(|(index, limit)| (limit, held.get(index).copied())).collect()
    }

    fn limit_row(&self, service: &Service, limit: &Limit, state: Option<LimitState>) -> Result<LimitRow> {
        let count = state.map(|state| self.plane.limit_count(state.id)).transpose()?.unwrap_or_default();
        let (prefix_v4, prefix_v6) = match limit.per {
            Per::SourcePrefix { v4, v6 } => (v4, v6),
            Per::Service | Per::Source | Per::Backend => (None, None),
        };
        Ok(LimitRow {
            service: service.name.clone(),
            per: limit.per.name().to_owned(),
            prefix_v4,
            prefix_v6,
            direction: limit.direction.name().to_owned(),
            rate: limit.rate,
            unit: limit.unit.name().to_owned(),
            burst: limit.burst,
            action: limit.over.name().to_owned(),
            share: if limit.fair { "fair".to_owned() } else { "first".to_owned() },
            by_hand: self.is_by_hand(service, limit),
            admitted: count.admitted,
            over: count.over,
            marked: count.marked,
            would_drop: count.would_drop,
            delayed: count.delayed,
            evicted_idle: count.evicted_idle,
            evicted_busy: count.evicted_busy,
        })
    }
}

/// Which limit of a service is meant.
fn which(service: &Service, order: &LimitOrder) -> Result<usize> {
    let unit = match (&order.unit, order.rate.as_deref().map(str::parse::<Rate>)) {
        (Some(word), _) => {
            let unit = limit_unit(word);
            Some(
                unit.ok_or_else(|| {
                    anyhow!("unit: found {word:?}, expected one as in the configuration, such as packets/s")
                })?
                .0,
            )
        }
        // A rate that says of what it is says also which limit is meant.
        (None, Some(Ok(rate))) => Some(rate.unit),
        (None, _) => None,
    };
    let is_meant = |limit: &Limit| {
        order.per.as_deref().is_none_or(|per| per == limit.per.name())
            && order.direction.as_deref().is_none_or(|direction| direction == limit.direction.name())
            && unit.is_none_or(|unit| unit == limit.unit || unit.is_bytes() && limit.unit.is_bytes())
    };
    let meant: Vec<usize> = (0..service.limits.len()).filter(|at| is_meant(&service.limits[*at])).collect();
    if let [only] = meant.as_slice() {
        return Ok(*only);
    }
    let all: Vec<String> = service.limits.iter().map(ToString::to_string).collect();
    let known = if all.is_empty() { "it has none".to_owned() } else { format!("it has: {}", all.join("; ")) };
    bail!(
        "found {} limits of service {:?} that are meant, expected one; {known}. Say which by --per, --unit and --direction",
        meant.len(),
        service.name
    )
}

/// The limit as it is ordered to be.
fn changed(limit: &Limit, order: &LimitOrder) -> Result<Limit> {
    let mut limit = *limit;
    if order.rate.is_none() && order.burst.is_none() && !order.strict && order.over.is_none() {
        bail!("found nothing to change, expected a rate, a burst, strict, or what becomes of packets over the limit");
    }
    if let Some(text) = &order.rate {
        let rate = match (text.parse::<u64>(), order.unit.as_deref()) {
            (Ok(number), Some(word)) => format!("{number} {word}"),
            // Whoever wrote 80 Mbit/s does not mean 70 bits a second by 70.
            (Ok(number), None) if limit.unit == Unit::Bits => {
                bail!("rate: found {number} without a unit, expected one, such as {number} Mbit/s")
            }
            (Ok(number), None) => format!("{number} {}", limit.unit.name()),
            (Err(_), _) => text.clone(),
        };
        let rate: Rate = rate.parse().map_err(|error| anyhow!("rate: found {text:?}, {error}"))?;
        (limit.rate, limit.unit) = (rate.value, rate.unit);
    }
    if order.strict {
        ensure!(order.burst.is_none(), "burst: found both a burst and strict, expected one of them");
        limit.burst = None;
    }
    limit.burst = order.burst.or(limit.burst);
    if let Some(word) = &order.over {
        let over = Over::named(word);
        let over = over.ok_or_else(|| anyhow!("over: found {word:?}, expected drop, mark, count or delay"))?;
        // How many wait is chosen for it; no more than one at a time is another limit than anybody had.
        ensure!(
            limit.over != Over::Delay || over == Over::Delay || limit.burst.is_some() || order.strict,
            "burst: found none with {}, expected one, or --strict: the limit was delay, of which Weir chose how much may wait; \
             without a burst it would be strict",
            over.name()
        );
        limit.over = over;
    }
    Ok(limit)
}
