//! The controller: hears registries and the kernel, and keeps the data plane in step.

mod addresses;
mod counting;
mod declaring;
#[cfg(test)]
mod declaring_tests;
mod drains;
mod keeping;
mod limits;
#[cfg(test)]
mod limits_tests;
mod previews;
mod registries;
mod rows;
mod shaping;
#[cfg(test)]
mod snat_tests;
mod snatting;
mod sweeping;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub use previews::must_keep_within;
pub use registries::Registries;

use lb_common::abi::{self, MAX_LIMIT_IDS, MAX_LIMITS};
use lb_common::{bucket_table, flow_table};

use crate::config::{Config, Limit, Per, Unit};
use crate::dataplane::{Capacity, DataPlane, Gauge, Release, bucket_room};
use crate::desired::{Desired, Ground};
use crate::handover::Handover;
use crate::limiter;
use crate::networks::Networks;
use crate::nexthop::{Hop, MAX_FOLLOWED, StackReason};
use crate::orders::Orders;
use crate::plan::{Adopted, Preview, State, Step, adopt};
use crate::ramp::Ramps;
use crate::reset::Reset;
use crate::snat::Snats;
use crate::source::Update;
use crate::vip::Vip;
use addresses::Addresses;
use keeping::{AtRest, TURNS};
use limits::ByHand;

/// How long to wait after a failed write: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long readiness waits for neighbours to answer.
const NEIGHBOURS: Duration = Duration::from_secs(1);

/// Room for more tables than there are services: the one that is being written, and those that rest after they were
/// replaced, while a program may still be reading them. Writing one takes longer than any program runs.
const SPARE_TABLES: u32 = 8;

/// Flows whose replies are remembered because the tables do not explain them.
const REPLIES: u32 = 65_536;

/// Network devices: more than a host of containers has. The map's elements are made as they are needed.
const DEVICES: u32 = 65_536;

/// Addresses of Weir's own, those that were before, and some more: elements are made as they are needed.
const OWN_ADDRESSES: u32 = 256;

/// How large the maps have to be for a configuration.
pub fn capacity(config: &Config) -> Capacity {
    let services = config.weir.max_services;
    let limits = u32::try_from(MAX_LIMITS).unwrap_or(u32::MAX);
    Capacity {
        services,
        // Twice as many as may be desired: those that drain are there beside those that serve.
        backends: config.weir.max_backends.saturating_mul(2),
        table_size: config.weir.table_size,
        tables: services.saturating_add(SPARE_TABLES),
        // And those that new flows and ICMP errors are held to; no more than services can name.
        limits: services.saturating_mul(limits).saturating_add(2).min(MAX_LIMIT_IDS - 1),
        // As many as its groups have room for, and so for flows: so it is known again when it is found.
        sources: bucket_room(bucket_table::groups(config.weir.max_sources)),
        flows: flow_table::room(flow_table::groups(config.weir.max_flows)),
        replies: REPLIES,
        devices: DEVICES,
        addresses: services.saturating_add(OWN_ADDRESSES),
        snat_flows: config.weir.max_snat_flows,
        snat_pools: config.weir.max_snat_backends,
        snat_stride: config.weir.snat_stride(),
        fragments: config.weir.max_fragments,
        quic_servers: config.weir.max_backends.saturating_mul(2),
        paths: config.weir.max_backends.saturating_mul(2),
    }
}

/// What new entries of the flow table are held to: of connections that are never more than opened, a flood of SYNs that
/// is, there are then never more than three quarters of the table. A quarter may come at once.
fn flow_limit(max_flows: u32) -> abi::Limit {
    let rate = (max_flows / 2 / abi::Flow::HALF_OPEN_S).max(1);
    let burst = (max_flows / 4).max(1);
    limiter::compile(&of_all(rate.into(), burst.into()))
}

/// What ICMP errors of Weir's own are held to, for all clients together: ten times what Linux sends
/// for one host (net.ipv4.icmp_msgs_per_sec; RFC 1812 §4.3.2.8, RFC 4443 §2.4 f).
fn error_limit() -> abi::Limit {
    limiter::compile(&of_all(10_000, 1_000))
}

/// A limit of packets of all clients together.
const fn of_all(rate: u64, burst: u64) -> Limit {
    Limit::strict(Per::Service, rate, Unit::Packets).with_burst(burst)
}

/// The controller's state and its data plane. Does no I/O but the data plane's.
#[derive(Debug)]
pub struct Controller<P> {
    /// What is in force: what a person wrote, and what registries declare.
    config: Config,
    /// What a person wrote, where that may be something else.
    written: Option<Config>,
    plane: P,
    /// How large the maps are.
    capacity: Capacity,
    /// Whether the data plane was filled by a controller before this one.
    adopted: bool,
    state: State,
    desired: Desired,
    ground: Ground,
    registries: Registries,
    orders: Orders,
    handover: Handover,
    ramps: Ramps,
    networks: Networks,
    /// Services that were configured before: their connections go on.
    retired: BTreeMap<Vip, Former>,
    /// What has to be sent for connections that were cut off.
    resets: Vec<Reset>,
    /// When the flow table is to be read again.
    sweep_at: Option<Instant>,
    snats: Snats,
    /// What flows of snat that have ended had, to be given back bit by bit.
    releases: Vec<Release>,
    /// When the flows of snat are to be read again, and how often they were.
    snat_at: Option<Instant>,
    /// When connections that are counted are read.
    counting_at: Option<Instant>,
    /// Gauges that showed another number of connections than there were: how many there were, and what they showed.
    miscounted: BTreeMap<Gauge, (u64, u64)>,
    snat_sweeps: u64,
    /// Flows that were forgotten because they had ended.
    expired: u64,
    /// Services that need not be looked at, by VIP.
    at_rest: BTreeMap<Vip, AtRest>,
    /// Those of them that are reached in another way than when they came to rest, and wait for their turn.
    waiting: BTreeSet<Vip>,
    /// Services of which so much was written that memory is to be put in order.
    untidy: BTreeSet<Vip>,
    /// Whether the next plan is for everything: nobody knows how far the data plane is in step.
    whole: bool,
    addresses: Addresses,
    /// Limits that a person has set, by VIP.
    by_hand: BTreeMap<Vip, ByHand>,
    /// What the last change of tables did, and when.
    last_change: Option<(Instant, Preview)>,
    problems: BTreeMap<String, Vec<String>>,
    generation: u64,
    started: Instant,
    /// When all registries had spoken.
    spoke: Option<Instant>,
    /// Why the data plane is not in step, and when to try again.
    behind: Option<Behind>,
}

/// What is still to know of a service that is not configured any more.
#[derive(Debug, Clone)]
struct Former {
    /// How long a silent flow of it is believed.
    idle: Duration,
    /// The registry that knew its backends.
    registry: String,
}

#[derive(Debug)]
struct Behind {
    error: String,
    retry_at: Instant,
    wait: Duration,
}

impl<P: DataPlane> Controller<P> {
    /// A controller for an empty data plane that was made with [`capacity`].
    pub fn new(config: Config, plane: P, registries: Registries, now: Instant) -> Self {
        Self {
            state: State::new(capacity(&config)),
            capacity: capacity(&config),
            adopted: false,
            written: declaring::may_differ(&config).then(|| config.clone()),
            config,
            plane,
            desired: Desired::default(),
            ground: Ground::default(),
            orders: Orders::default(),
            handover: Handover::default(),
            ramps: Ramps::default(),
            networks: Networks::default(),
            retired: BTreeMap::new(),
            resets: Vec::new(),
            sweep_at: None,
            snats: Snats::default(),
            releases: Vec::new(),
            snat_at: None,
            counting_at: None,
            miscounted: BTreeMap::new(),
            snat_sweeps: 0,
            expired: 0,
            at_rest: BTreeMap::new(),
            waiting: BTreeSet::new(),
            untidy: BTreeSet::new(),
            whole: false,
            addresses: Addresses::default(),
            by_hand: BTreeMap::new(),
            last_change: None,
            problems: BTreeMap::new(),
            generation: 0,
            started: now,
            // Where there is no registry to wait for, this is the moment.
            spoke: registries.all_spoke().then_some(now),
            registries,
            behind: None,
        }
    }

    /// A controller for a data plane that another one has filled, with maps of this size. What stands there stands until
    /// registries say otherwise.
    ///
    /// # Errors
    /// When Weir cannot have filled it, or it cannot be read or repaired.
    pub fn adopt(
        config: Config,
        mut plane: P,
        capacity: Capacity,
        mut registries: Registries,
        now: Instant,
    ) -> anyhow::Result<Self> {
        let dump = plane.dump()?;
        let Adopted { state, repairs } = adopt(capacity, &dump, &|table| plane.slots(table))?;
        for repair in &repairs {
            tracing::warn!(%repair, "a write was not finished");
            plane.apply(repair)?;
        }
        registries.remember(&config, &state);
        let orders = Orders::read(dump.orders);
        let networks = Networks::of(&state.devices);
        Ok(Self {
            state,
            capacity,
            adopted: true,
            whole: true,
            orders,
            networks,
            ..Self::new(config, plane, registries, now)
        })
    }

    /// What registries said, for whoever follows them.
    pub const fn registries(&mut self) -> &mut Registries {
        &mut self.registries
    }

    /// Takes in what sources say, and acts on the outcome.
    pub fn hear(&mut self, updates: impl IntoIterator<Item = Update>, now: Instant) {
        for update in updates {
            if self.registries.takes_effect(&update) {
                self.declare();
            }
            self.registries.hear(&self.config, update, now);
        }
        self.know_networks();
        if self.spoke.is_none() && self.registries.all_spoke() {
            self.spoke = Some(now);
        }
        // What was just said comes before what waits for its turn.
        self.reconcile_some(now, 0);
    }

    /// Takes in what the kernel says, and acts on it.
    pub fn stand_on(&mut self, ground: Ground, now: Instant) {
        self.stand(ground);
        self.reconcile(now);
    }

    /// The addresses whose next hops matter, as many as can be followed.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses.all().take(MAX_FOLLOWED).collect()
    }

    /// Another number whenever [`Self::addresses`] are others.
    pub const fn addresses_version(&self) -> u64 {
        self.addresses.version()
    }

    /// When to call [`Self::tick`] though nothing was heard.
    pub fn tick_at(&self) -> Option<Instant> {
        let retry = self.behind.as_ref().map(|behind| behind.retry_at);
        // At once, after whoever else has something to say.
        let turn = (!self.waiting.is_empty()).then_some(self.started);
        [retry, turn, self.sweep_at, self.snat_at, self.counting_at, self.ramps.next_at()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now);
        }
        if self.snat_at.is_some_and(|at| at <= now) {
            self.sweep_snats(now);
        }
        if self.counting_at.is_some_and(|at| at <= now) {
            self.sweep_connections(now);
        }
        self.reconcile(now);
    }

    /// Brings the data plane in step, as far as it lets itself.
    pub fn reconcile(&mut self, now: Instant) {
        self.reconcile_some(now, TURNS);
    }

    /// The same, for no more than so many of the services that wait for their turn.
    fn reconcile_some(&mut self, now: Instant, turns: usize) {
        match self.keep_in_step(now, turns) {
            Ok(0) => self.behind = None,
            Ok(steps) => {
                self.generation += 1;
                self.behind = None;
                tracing::info!(generation = self.generation, steps, "the data plane is in step");
            }
            Err(error) => {
                let wait = self.behind.as_ref().map_or(RETRY.0, |behind| (behind.wait * 2).min(RETRY.1));
                tracing::error!(error = format!("{error:#}"), ?wait, "the data plane is behind; trying again");
                self.behind = Some(Behind { error: format!("{error:#}"), retry_at: now + wait, wait });
            }
        }
        self.void_orders();
        self.retired.retain(|vip, _| self.state.services.contains_key(vip));
        self.schedule_sweep(now);
        self.schedule_snats(now);
        self.schedule_counting(now);
    }

    fn carry_out(&mut self, steps: impl IntoIterator<Item = Step>) -> anyhow::Result<()> {
        for step in steps {
            tracing::debug!(op = %step.op);
            self.plane.apply(&step.op).map_err(|error| error.context(step.op.to_string()))?;
            step.done(&mut self.state);
        }
        Ok(())
    }

    /// Whether every registry has spoken, the data plane holds what they said, and neighbours had time to answer.
    pub fn is_ready(&self, now: Instant) -> bool {
        let Some(spoke) = self.spoke else { return false };
        let settled =
            self.addresses.all().take(MAX_FOLLOWED).all(|address| {
                !matches!(self.ground.hops.hop(&address), None | Some(Hop::Stack(StackReason::Unresolved)))
            });
        self.behind.is_none()
            && self.waiting.is_empty()
            && (settled || now.saturating_duration_since(spoke) >= NEIGHBOURS)
    }
}
