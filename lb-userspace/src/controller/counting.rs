//! Connections that are counted: those of which nothing comes any more are given back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lb_common::abi::{BucketKey, Connection, ConnectionFlags, FlowKey, LimitScope, LimitUnit, ServiceFlags};

use super::Controller;
use crate::dataplane::{DataPlane, Gauge, Left};
use crate::plan::ServiceState;

/// How often they are read while any are counted.
const EVERY: Duration = Duration::from_secs(1);

/// Reading them takes at most one part in so many of the time, as far as the longest pause allows.
const SHARE: u32 = 5;
const PAUSE: Duration = Duration::from_secs(10);

/// What is to know from one reading to the next.
#[derive(Debug, Default)]
pub(super) struct Counting {
    /// When they are read.
    pub(super) at: Option<Instant>,
    /// Gauges that showed another number of connections than there were: how many there were, and what they showed.
    miscounted: BTreeMap<Gauge, (u64, u64)>,
}

impl<P: DataPlane> Controller<P> {
    /// Sees to it that connections are read when any are counted.
    pub(super) fn schedule_counting(&mut self, now: Instant) {
        let due = self.state.services.values().any(counts);
        self.counting.at = due.then(|| self.counting.at.unwrap_or(now + EVERY));
    }

    /// Gives back those of which nothing came for too long, and forgets those that have ended.
    pub(super) fn sweep_connections(&mut self, now: Instant) {
        let began = Instant::now();
        if let Err(error) = self.give_back_connections() {
            tracing::error!(error = format!("{error:#}"), "connections could not be given back; trying again");
        }
        self.counting.at = Some(now + (began.elapsed() * SHARE).clamp(EVERY, PAUSE));
    }

    fn give_back_connections(&mut self) -> anyhow::Result<()> {
        let now_s = self.plane.now_s();
        // What a service had that counts none any more, or is gone, is nobody's.
        let counted = self.state.services.iter().filter(|(_, service)| counts(service));
        let counted: BTreeMap<u32, (&ServiceState, u32)> =
            counted.map(|(vip, service)| (service.id, (service, self.idle_s(vip)))).collect();
        let (mut left, mut living) = (Vec::new(), BTreeMap::<Gauge, u64>::new());
        for (flow, connection) in self.plane.connections()? {
            let of = counted.get(&flow.service);
            let gauges = of.map_or_else(Vec::new, |(service, _)| gauges(service, &flow, &connection));
            if of.is_some_and(|(_, idle_s)| connection.is_living(now_s, *idle_s)) {
                gauges.into_iter().for_each(|gauge| *living.entry(gauge).or_default() += 1);
            } else {
                left.push(Left { flow, connection, gauges });
            }
        }
        let limits = counted.values().flat_map(|(service, _)| &service.limits);
        let limits: Vec<u32> =
            limits.filter(|known| known.limit.unit == LimitUnit::CONNECTIONS).map(|known| known.id).collect();
        self.plane.forget_connections(&left)?;
        if left.is_empty() {
            self.recount(&living, &limits)?;
        }
        Ok(())
    }

    /// Corrects what is counted otherwise than it is, if it was so the last time, too: in between connections come and go.
    fn recount(&mut self, living: &BTreeMap<Gauge, u64>, limits: &[u32]) -> anyhow::Result<()> {
        let shown: BTreeMap<Gauge, u64> = self.plane.gauges(limits)?.into_iter().collect();
        let mut off = BTreeMap::new();
        for gauge in living.keys().chain(shown.keys()) {
            let [is, shows] = [living, &shown].map(|counts| counts.get(gauge).copied().unwrap_or(0));
            if is != shows {
                off.insert(*gauge, (is, shows));
            }
        }
        for (gauge, (is, shows)) in
            off.iter().filter(|(gauge, counts)| self.counting.miscounted.get(gauge) == Some(counts))
        {
            self.plane.correct_gauge(gauge, *shows, *is)?;
        }
        self.counting.miscounted = off;
        Ok(())
    }
}

/// Whether a service's connections are counted.
const fn counts(service: &ServiceState) -> bool {
    service.head.flags & ServiceFlags::COUNTED != 0
}

/// Where a connection counts, if it does.
fn gauges(service: &ServiceState, flow: &FlowKey, connection: &Connection) -> Vec<Gauge> {
    if connection.flags & ConnectionFlags::ENDED != 0 {
        return Vec::new();
    }
    let counting = service.limits.iter().filter(|known| known.limit.unit == LimitUnit::CONNECTIONS);
    let gauge = |id: u32, limit: &lb_common::abi::Limit| match limit.scope {
        LimitScope::SERVICE => Gauge::Service(id),
        LimitScope::BACKEND => Gauge::Own(BucketKey::of_backend(connection.backend, id)),
        _ => Gauge::Own(BucketKey { who: flow.client.prefix(limit.source_bits(flow.client.is_v4())), limit: id }),
    };
    counting.map(|known| gauge(known.id, &known.limit)).collect()
}
