//! Limits: what they said, and those that are set by hand.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, anyhow, bail, ensure};

use super::Controller;
use super::limit_orders::{changed, which};
use crate::api::top::Reading;
use crate::api::types::{LimitOrder, LimitRow};
use crate::config::{Config, Limit, Service, Wrong, check_together};
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
    /// The limits of all services or of one.
    ///
    /// # Errors
    /// When there is no such service, or a counter cannot be read.
    pub fn limits(&self, service: Option<&str>) -> Result<Vec<LimitRow>> {
        if let Some(name) = service {
            self.must_know(name)?;
        }
        let mut rows = Vec::new();
        let is_meant = |known: &&Service| service.is_none_or(|name| known.name == *name);
        for service in self.config.services.iter().filter(is_meant) {
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
        let (prefix_v4, prefix_v6) = limit.per.prefixes();
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
