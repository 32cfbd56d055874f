//! Ramps against a data plane that does what it is told: what each step moves, and where it ends.

use std::path::Path;

use lb_common::abi::{Backend, Service};
use proptest::prelude::*;

use super::*;
use crate::config::{Forward, Share};
use crate::controller::capacity;
use crate::desired::{DesiredBackend, Way};
use crate::plan::BackendState;

/// A weight of the registry's as a share.
const fn share(weight: u16) -> u32 {
    weight as u32 * Backend::WEIGHT_ONE
}

fn listens(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(number).unwrap()], 8080))
}

/// A service that ramps, and the books of its data plane.
struct Stage {
    ramps: Ramps,
    config: Config,
    state: State,
    vip: Vip,
    size: u32,
    now: Instant,
    table: Vec<u32>,
}

/// What one call of [`Ramps::hold_back`] did.
#[derive(Debug)]
struct Seen {
    shares: Vec<u32>,
    moved: u32,
}

impl Stage {
    fn new(size: u32, over_s: u64, max_moved: Share) -> Self {
        let text = format!(
            "[weir]\ntable_size = {size}\n[[interface]]\nname = \"eth0\"\n[registry.local]\npath = \"services.d\"\n\
             [[service]]\nname = \"web\"\nvip = \"203.0.113.10\"\nport = 80\nprotocol = \"tcp\"\n\
             slow_start = {{ over = \"{over_s}s\", max_moved = \"{max_moved}\" }}\n"
        );
        let config = Config::parse(&text, Path::new("weir.toml")).unwrap();
        let (state, vip) = (State::new(capacity(&config)), config.services[0].vip);
        Self { ramps: Ramps::default(), config, state, vip, size, now: Instant::now(), table: Vec::new() }
    }

    /// As many slots as a step may move.
    fn budget(&self) -> u32 {
        let slow = self.config.services[0].slow_start.unwrap();
        u32::try_from(u64::from(self.size) * u64::from(slow.max_moved.0) / 1_000_000).unwrap()
    }

    /// The registry lists backends with these weights; the data plane then holds what it may.
    fn hear(&mut self, weights: &[u16]) -> Seen {
        let mut service = DesiredService { name: "web".into(), ..DesiredService::default() };
        for (number, &weight) in weights.iter().enumerate() {
            let backend = DesiredBackend::new(format!("b{number}"), weight, Forward::Nat, Way::STACK);
            service.backends.insert(listens(number), backend);
        }
        let mut desired = Desired::default();
        desired.services.insert(self.vip, service);
        self.ramps.hold_back(&mut desired, &self.config, &self.state, self.size, self.now);
        self.publish(&desired.services[&self.vip])
    }

    fn publish(&mut self, service: &DesiredService) -> Seen {
        let held = self.state.services.entry(self.vip).or_insert_with(|| ServiceState {
            name: "web".into(),
            id: 0,
            head: Service::default(),
            limits: Vec::new(),
            backends: BTreeMap::new(),
            slots: BTreeMap::new(),
            published: true,
        });
        held.backends.clear();
        let mut entries = Vec::new();
        for (id, (listens, backend)) in (0..).zip(&service.backends) {
            let row = Backend { weight: backend.share, ..Backend::default() };
            held.backends.insert(*listens, BackendState { id, name: backend.id.clone(), row });
            entries.push(maglev::Entry { id, listens: (listens.ip(), listens.port()), weight: backend.share });
        }
        let table = maglev::build(&entries, self.size);
        let before = std::mem::replace(&mut self.table, table);
        let moved = before.iter().zip(&self.table).filter(|(before, after)| before != after).count();
        let shares = service.backends.values().map(|backend| backend.share).collect();
        Seen { shares, moved: u32::try_from(moved).unwrap() }
    }

    /// Goes on until no step is left, or `enough`, and returns what each step did.
    fn climb(&mut self, weights: &[u16], mut enough: impl FnMut(&Seen) -> bool) -> Vec<Seen> {
        let mut all = Vec::new();
        while let Some(at) = self.ramps.next_at() {
            assert!(all.len() < 20_000, "it does not end: {:?}", all.last());
            assert!(at > self.now, "a step is due at once, again and again");
            self.now = at;
            all.push(self.hear(weights));
            if enough(&all[all.len() - 1]) {
                break;
            }
        }
        all
    }

    fn slots(&self, id: u32) -> usize {
        self.table.iter().filter(|&&slot| slot == id).count()
    }
}

#[test]
fn the_first_backends_of_a_service_have_their_share_at_once() {
    let mut stage = Stage::new(1021, 30, Share::percent(1));
    assert_eq!(stage.hear(&[100, 300]).shares, [share(100), share(300)]);
    assert_eq!(stage.ramps.next_at(), None);
    // Nor has one that nobody else is there for anything to wait for.
    let mut alone = Stage::new(1021, 30, Share::percent(1));
    alone.hear(&[0]);
    assert_eq!(alone.hear(&[100]).shares, [share(100)]);
    assert_eq!(alone.ramps.next_at(), None);
}

#[test]
fn a_backend_that_joins_comes_to_its_share_in_steps() {
    let weights = [100, 100, 100];
    let mut stage = Stage::new(65_537, 30, Share::percent(1));
    stage.hear(&weights[..2]);
    let (began, budget) = (stage.now, stage.budget());
    let first = stage.hear(&weights);
    assert!(first.shares[2] > 0 && is_ramping(first.shares[2]), "its first step comes at once: {first:?}");
    assert!(first.moved > 0 && first.moved <= budget, "{first:?}");
    let steps = stage.climb(&weights, |_| false);
    assert!(steps.iter().all(|step| step.moved <= budget), "{steps:?}");
    assert!(steps.iter().all(|step| step.shares[..2] == [share(100); 2]), "{steps:?}");
    assert!(steps.windows(2).all(|pair| pair[0].shares[2] <= pair[1].shares[2]), "{steps:?}");
    assert_eq!(steps.last().unwrap().shares, [share(100); 3]);
    assert!(steps[..steps.len() - 1].iter().all(|step| is_ramping(step.shares[2])), "{steps:?}");
    // A third of the table, a hundredth at most at a time.
    assert!(steps.len() >= 33 && stage.slots(2).abs_diff(65_537 / 3) <= 4, "{} {}", steps.len(), stage.slots(2));
    assert!(stage.now - began <= Duration::from_secs(120), "{:?}", stage.now - began);
}

#[test]
fn a_budget_that_is_no_bound_makes_it_take_its_time_and_no_longer() {
    let weights = [100, 100];
    let mut stage = Stage::new(1021, 100, Share::ALL);
    stage.hear(&weights[..1]);
    let began = stage.now;
    stage.hear(&weights);
    let half = began + Duration::from_secs(50);
    stage.climb(&weights, |_| false);
    let took = stage.now - began;
    assert!(took >= Duration::from_secs(96) && took <= Duration::from_secs(100), "{took:?}");
    let mut stage = Stage::new(1021, 100, Share::ALL);
    stage.hear(&weights[..1]);
    let offset = half - began;
    let half = stage.now + offset;
    stage.hear(&weights);
    while stage.now < half {
        stage.now = stage.ramps.next_at().unwrap();
        stage.hear(&weights);
    }
    let share_now = f64::from(stage.state.services[&stage.vip].backends[&listens(1)].row.weight);
    assert!((share_now / f64::from(share(100)) - 0.5).abs() < 0.05, "{share_now}");
}

/// Whatever else happens between two steps: a registry's word, a route, a request.
#[test]
fn between_steps_nothing_rises() {
    let weights = [100, 100];
    let mut stage = Stage::new(1021, 30, Share::percent(2));
    stage.hear(&weights[..1]);
    let first = stage.hear(&weights);
    for _ in 0..50 {
        let again = stage.hear(&weights);
        assert_eq!((again.shares, again.moved), (first.shares.clone(), 0));
    }
}

#[test]
fn an_interrupted_ramp_goes_on_from_where_it_was() {
    let weights = [100, 100, 100];
    let mut stage = Stage::new(8191, 30, Share::percent(1));
    stage.hear(&weights[..2]);
    stage.hear(&weights);
    let third = share(100) / 3;
    let steps = stage.climb(&weights, |seen| seen.shares[2] > third);
    let reached = steps.last().unwrap().shares[2];
    assert!(is_ramping(reached));
    // Another controller: all it knows is in the data plane.
    stage.ramps = Ramps::default();
    let budget = stage.budget();
    let first = stage.hear(&weights);
    assert!(first.shares[2] >= reached && is_ramping(first.shares[2]) && first.moved <= budget, "{first:?}");
    let rest = stage.climb(&weights, |_| false);
    assert!(rest.iter().all(|step| step.moved <= budget), "{rest:?}");
    assert_eq!(rest.last().unwrap().shares, [share(100); 3]);
}

#[test]
fn a_ramp_ends_with_its_backend_or_with_what_it_is_to_reach() {
    let weights = [100, 100];
    let mut stage = Stage::new(1021, 30, Share::percent(5));
    stage.hear(&weights[..1]);
    stage.hear(&weights);
    let steps = stage.climb(&weights, |seen| seen.shares[1] > share(50));
    assert!(is_ramping(steps.last().unwrap().shares[1]));
    // It is to have less than it has already.
    assert_eq!(stage.hear(&[100, 20]).shares, [share(100), share(20)]);
    assert_eq!(stage.ramps.next_at(), None);
    // Gone, and back: it begins anew.
    stage.hear(&weights[..1]);
    let back = stage.hear(&weights);
    assert!(back.shares[1] > 0 && back.shares[1] < share(10), "{back:?}");
    stage.hear(&weights[..1]);
    assert_eq!(stage.ramps.next_at(), None);
    // Drained in the midst of it.
    stage.hear(&weights);
    assert_eq!(stage.hear(&[100, 0]).shares, [share(100), 0]);
    assert_eq!(stage.ramps.next_at(), None);
    // The others are drained in the midst of it: somebody has to serve.
    stage.hear(&weights);
    assert_eq!(stage.hear(&[0, 100]).shares, [0, share(100)]);
    assert_eq!(stage.ramps.next_at(), None);
}

#[test]
fn those_that_join_together_share_the_budget() {
    let weights = [100, 100, 100, 100, 100, 100];
    let mut stage = Stage::new(8191, 10, Share::percent(2));
    stage.hear(&weights[..2]);
    let budget = stage.budget();
    let first = stage.hear(&weights);
    assert!(first.moved <= budget, "{first:?}");
    let steps = stage.climb(&weights, |_| false);
    assert!(steps.iter().all(|step| step.moved <= budget), "{steps:?}");
    assert_eq!(steps.last().unwrap().shares, [share(100); 6]);
}

/// No share can rise by so little that nothing of this table moves but what the budget allows: it has to come up all
/// the same.
#[test]
fn a_budget_below_what_any_step_moves_does_not_hold_a_ramp_up_for_ever() {
    for size in [251, 1021] {
        let weights = [1, 1, 1];
        let mut stage = Stage::new(size, 5, Share(1_000));
        stage.hear(&weights[..2]);
        stage.hear(&weights);
        let steps = stage.climb(&weights, |_| false);
        assert_eq!(stage.slots(2).abs_diff(size as usize / 3), 0, "{steps:?}");
        let most = steps.iter().map(|step| step.moved).max().unwrap();
        assert!(most <= size / 20, "{most}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_ramp_ends_and_each_step_keeps_within_the_budget(
        others in proptest::collection::vec(1_u16..=1_000, 1..6),
        joins in proptest::collection::vec(1_u16..=1_000, 1..4),
        percent in 1_u32..=20,
        over_s in 1_u64..=120,
    ) {
        let all = [others.clone(), joins].concat();
        let mut stage = Stage::new(2039, over_s, Share::percent(percent));
        stage.hear(&others);
        let budget = stage.budget();
        let mut steps = vec![stage.hear(&all)];
        steps.extend(stage.climb(&all, |_| false));
        for pair in steps.windows(2) {
            prop_assert!(pair[0].shares.iter().zip(&pair[1].shares).all(|(before, after)| before <= after));
        }
        for step in &steps {
            prop_assert!(step.moved <= budget, "{} of {}: {:?}", step.moved, budget, step.shares);
            prop_assert_eq!(&step.shares[..others.len()], &others.iter().map(|one| share(*one)).collect::<Vec<_>>()[..]);
        }
        let full: Vec<u32> = all.iter().map(|one| share(*one)).collect();
        prop_assert_eq!(&steps.last().unwrap().shares, &full);
        prop_assert_eq!(stage.ramps.next_at(), None);
    }
}
