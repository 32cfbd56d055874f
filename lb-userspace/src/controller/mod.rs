//! The controller: hears registries and the kernel, and keeps the data plane in step.

mod addresses;
mod behind;
mod capacity;
mod counting;
mod declaring;
#[cfg(test)]
mod declaring_tests;
mod drains;
mod keeping;
mod limit_changes;
mod limit_orders;
mod limits;
#[cfg(test)]
mod limits_tests;
mod own_limits;
mod previews;
mod readiness;
mod registries;
mod rows;
mod shaping;
#[cfg(test)]
mod snat_tests;
mod snatting;
#[cfg(test)]
mod stage;
mod sweeping;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub use capacity::capacity;
pub use previews::must_keep_within;
pub use registries::Registries;

use crate::config::Config;
use crate::dataplane::{Capacity, DataPlane, Release};
use crate::desired::{Desired, Ground};
use crate::handover::Handover;
use crate::networks::Networks;
use crate::nexthop::MAX_FOLLOWED;
use crate::orders::Orders;
use crate::plan::{Adopted, Preview, State, Step, adopt};
use crate::ramp::Ramps;
use crate::reset::Reset;
use crate::snat::Snats;
use crate::source::Update;
use crate::vip::Vip;
use addresses::Addresses;
use behind::Behind;
use counting::Counting;
use keeping::{AtRest, TURNS};
use limits::ByHand;

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
    snat_sweeps: u64,
    counting: Counting,
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
            snat_sweeps: 0,
            counting: Counting::default(),
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
        [retry, turn, self.sweep_at, self.snat_at, self.counting.at, self.ramps.next_at()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now);
        }
        if self.snat_at.is_some_and(|at| at <= now) {
            self.sweep_snats(now);
        }
        if self.counting.at.is_some_and(|at| at <= now) {
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
                let behind = Behind::after(self.behind.as_ref(), &error, now);
                tracing::error!(error = behind.error, wait = ?behind.wait, "the data plane is behind; trying again");
                self.behind = Some(behind);
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
}
