//! Slow start: a backend that joins a service takes its share of new flows step by step.
//!
//! A share on its way up is told from one that is meant by its lowest bit, which no whole weight has set: so a
//! controller that starts anew sees in the data plane how far a ramp had come, and goes on from there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::{Config, SlowStart};
use crate::desired::{Desired, DesiredService};
use crate::maglev;
use crate::plan::{ServiceState, State};
use crate::vip::Vip;

/// How many steps a ramp is made of, unless the budget asks for more.
const STEPS: u32 = 50;

/// The least time between two steps.
const PAUSE: Duration = Duration::from_secs(1);

/// A step is so many parts of the way to what its time allows: fine enough for the largest table.
const PARTS: u32 = 1 << 20;

/// The ramps under way.
#[derive(Debug, Clone, Default)]
pub struct Ramps {
    ramps: BTreeMap<(Vip, SocketAddr), Ramp>,
    /// When services may take their next step.
    next: BTreeMap<Vip, Instant>,
}

/// One backend's way up.
#[derive(Debug, Clone, Copy)]
struct Ramp {
    began: Instant,
    /// What it has.
    share: u32,
}

/// Whether a share is one on its way up.
pub const fn is_ramping(share: u32) -> bool {
    share & 1 == 1
}

impl Ramps {
    /// Lowers the shares of backends that are on their way up to what they may have now.
    pub fn hold_back(&mut self, desired: &mut Desired, config: &Config, state: &State, size: u32, now: Instant) {
        let slow = |vip: &Vip| config.services.iter().any(|one| one.vip == *vip && one.slow_start.is_some());
        self.ramps.retain(|(vip, listens), _| {
            slow(vip) && desired.services.get(vip).is_some_and(|service| service.backends.contains_key(listens))
        });
        self.next.retain(|vip, _| slow(vip) && state.services.contains_key(vip));
        for service in &config.services {
            let (Some(slow), Some(held)) = (&service.slow_start, state.services.get(&service.vip)) else { continue };
            if let Some(wanted) = desired.services.get_mut(&service.vip) {
                self.service(&service.vip, slow, wanted, held, size, now);
            }
        }
    }

    /// Whether some backend of a service is on its way up.
    pub fn has(&self, vip: &Vip) -> bool {
        let first = SocketAddr::from(([0; 4], 0));
        self.ramps.range((*vip, first)..).next().is_some_and(|((of, _), _)| of == vip)
    }

    /// When to call [`Self::hold_back`] again.
    pub fn next_at(&self) -> Option<Instant> {
        self.next.values().min().copied()
    }

    fn service(
        &mut self,
        vip: &Vip,
        slow: &SlowStart,
        wanted: &mut DesiredService,
        held: &ServiceState,
        size: u32,
        now: Instant,
    ) {
        // Somebody else must be there to take what it does not.
        let serves = |listens: &SocketAddr| {
            held.backends.get(listens).is_some_and(|backend| backend.row.weight > 0 && !is_ramping(backend.row.weight))
        };
        let others = wanted.backends.iter().any(|(listens, backend)| backend.share > 0 && serves(listens));
        let full: BTreeMap<SocketAddr, u32> = wanted.backends.iter().map(|(at, one)| (*at, one.share)).collect();
        for (listens, &full) in &full {
            let key = (*vip, *listens);
            let has = held.backends.get(listens).map_or(0, |backend| backend.row.weight);
            if full == 0 || !others {
                self.ramps.remove(&key);
            } else if has == 0 {
                self.ramps.entry(key).or_insert(Ramp { began: now, share: 0 });
            } else if is_ramping(has) && !self.ramps.contains_key(&key) {
                // Begun by a controller before this one.
                let passed = slow.over.mul_f64((f64::from(has) / f64::from(full)).min(1.0));
                let began = now.checked_sub(passed).unwrap_or(now);
                self.ramps.insert(key, Ramp { began, share: has });
            }
        }
        let mine: Vec<SocketAddr> =
            self.ramps.keys().filter(|(of, _)| of == vip).map(|(_, listens)| *listens).collect();
        if mine.is_empty() {
            self.next.remove(vip);
            return;
        }
        let pause = (slow.over / STEPS).max(PAUSE);
        let due = self.next.get(vip).is_none_or(|at| *at <= now);
        if due {
            self.step(vip, slow, &mine, wanted, &full, size, pause, now);
            self.next.insert(*vip, now + pause);
        }
        for listens in &mine {
            let key = (*vip, *listens);
            let Some(ramp) = self.ramps.get(&key).copied() else { continue };
            if ramp.share >= full[listens] {
                self.ramps.remove(&key);
            } else if let Some(backend) = wanted.backends.get_mut(listens) {
                backend.share = ramp.share;
            }
        }
        if !self.ramps.keys().any(|(of, _)| of == vip) {
            self.next.remove(vip);
        }
    }

    /// Raises every ramp of a service towards what its time allows, by the largest part of it that keeps within the
    /// budget.
    #[expect(clippy::too_many_arguments, reason = "all of one step, asked once")]
    fn step(
        &mut self,
        vip: &Vip,
        slow: &SlowStart,
        mine: &[SocketAddr],
        wanted: &DesiredService,
        full: &BTreeMap<SocketAddr, u32>,
        size: u32,
        pause: Duration,
        now: Instant,
    ) {
        let budget = u64::from(size) * u64::from(slow.max_moved.0) / 1_000_000;
        let shares = |ramped: &BTreeMap<SocketAddr, u32>| {
            let entries: Vec<maglev::Entry> = (0..)
                .zip(&wanted.backends)
                .map(|(id, (listens, backend))| maglev::Entry {
                    id,
                    listens: (listens.ip(), listens.port()),
                    weight: ramped.get(listens).copied().unwrap_or(backend.share),
                })
                .collect();
            maglev::build(&entries, size)
        };
        let ramp = |listens: &SocketAddr| self.ramps.get(&(*vip, *listens)).copied();
        let has: BTreeMap<SocketAddr, u32> =
            mine.iter().filter_map(|listens| Some((*listens, ramp(listens)?.share))).collect();
        let goal = |listens: &SocketAddr| {
            let passed = ramp(listens).map_or(now, |ramp| ramp.began);
            // Its first step comes at once.
            let passed = now.saturating_duration_since(passed) + pause;
            share_at(full[listens], passed, slow.over)
        };
        let before = shares(&has);
        let at = |part: u32| -> BTreeMap<SocketAddr, u32> {
            has.iter().map(|(listens, &has)| (*listens, part_way(has, goal(listens), part, full[listens]))).collect()
        };
        let moved = |next: &BTreeMap<SocketAddr, u32>| {
            let after = shares(next);
            // A table of nobody moves nothing that could be kept.
            before.iter().zip(&after).filter(|(before, after)| before != after).count() as u64
        };
        for (listens, share) in largest_step(budget, at, moved) {
            if let Some(ramp) = self.ramps.get_mut(&(*vip, listens)) {
                ramp.share = share;
            }
        }
    }
}

/// Of the steps that go so many [`PARTS`] of the way, a large one that moves no more slots than the budget; where
/// even the smallest one that moves any moves more, that one, since a ramp must end.
fn largest_step<S: PartialEq>(budget: u64, at: impl Fn(u32) -> S, moved: impl Fn(&S) -> u64) -> S {
    let whole = at(PARTS);
    if whole == at(0) || moved(&whole) <= budget {
        return whole;
    }
    let (mut low, mut high) = ((0, at(0), 0), (PARTS, whole));
    while high.0 - low.0 > 1 {
        let part = low.0.midpoint(high.0);
        let step = at(part);
        if step == low.1 {
            low.0 = part;
        } else if step == high.1 {
            high.0 = part;
        } else {
            match moved(&step) {
                // Good enough: building tables takes time too.
                moved if moved > 0 && moved <= budget && moved * 4 >= budget * 3 => return step,
                moved if moved <= budget => low = (part, step, moved),
                _ => high = (part, step),
            }
        }
    }
    if low.2 > 0 { low.1 } else { high.1 }
}

/// A share after `passed` of `over`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and `full`")]
fn share_at(full: u32, passed: Duration, over: Duration) -> u32 {
    if passed >= over { full } else { (f64::from(full) * passed.div_duration_f64(over)) as u32 }
}

/// So many [`PARTS`] of the way from `has` to `goal`; marked as ramping below `full`.
#[expect(clippy::cast_possible_truncation, reason = "no more than the whole way")]
fn part_way(has: u32, goal: u32, part: u32, full: u32) -> u32 {
    let way = u64::from(goal.saturating_sub(has));
    let share = has + (way * u64::from(part) / u64::from(PARTS)) as u32;
    if share >= full {
        full
    } else if share <= has {
        has
    } else {
        share | 1
    }
}

/// So that nobody reads a share on its way up for a whole one.
const _: () = assert!(lb_common::abi::Backend::WEIGHT_ONE.is_multiple_of(2));

#[cfg(test)]
#[path = "ramp_tests.rs"]
mod tests;
