//! When a swarm is listed: at once when something was heard, a few times shortly after that, and then the less often the
//! less happens.

use std::time::Duration;

use tokio::time::Instant;

/// After what was heard: a manager learns a moment later what a node has done.
const SHORTLY: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(500)];
/// While tasks start or stop.
const MOVING: Duration = Duration::from_secs(1);
/// While there are tasks on other nodes, whose ends no event tells.
const ELSEWHERE: Duration = Duration::from_secs(2);
/// When nothing happens.
const REPAIR: Duration = Duration::from_secs(10);
/// Listing takes at most this part of the time, as 1 in so many.
const SHARE: u32 = 5;

/// What a swarm does, as far as it matters to how soon it is listed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// Tasks start or stop.
    Moving,
    /// None does, but some are on other nodes.
    Elsewhere,
    /// All that matter are here, and stay.
    Quiet,
}

/// When a swarm is listed.
#[derive(Debug)]
pub(super) struct Pace {
    due: Instant,
    /// Not before: what was heard waits so long.
    open: Instant,
    asked: Instant,
    /// Whether something was heard since the last listing was asked for.
    heard: bool,
    /// How many listings there were since something was heard.
    after: usize,
}

impl Pace {
    /// Before the first listing, which is due now.
    pub(super) const fn new(now: Instant) -> Self {
        Self { due: now, open: now, asked: now, heard: false, after: 0 }
    }

    /// When the next listing is due, once none is under way.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// Takes in that a listing was asked for.
    pub(super) fn asked(&mut self, now: Instant) {
        (self.asked, self.heard) = (now, false);
    }

    /// Takes in that something has happened.
    pub(super) fn heard(&mut self, now: Instant) {
        (self.heard, self.after) = (true, 0);
        self.due = self.due.min(now.max(self.open));
    }

    /// Takes in that a listing has ended.
    pub(super) fn listed(&mut self, now: Instant, activity: Activity) {
        self.open = now + now.duration_since(self.asked) * SHARE;
        let rest = match (self.heard, SHORTLY.get(self.after), activity) {
            (true, ..) => Duration::ZERO,
            (false, Some(rest), _) => *rest,
            (false, None, Activity::Moving) => MOVING,
            (false, None, Activity::Elsewhere) => ELSEWHERE,
            (false, None, Activity::Quiet) => REPAIR,
        };
        self.after = self.after.saturating_add(1);
        self.due = self.open.max(now + rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Lists when it is due, and says how long after the end of the last one that was.
    fn list(pace: &mut Pace, now: &mut Instant, took: Duration, activity: Activity) -> Duration {
        let waited = pace.due().saturating_duration_since(*now);
        *now += waited;
        pace.asked(*now);
        *now += took;
        pace.listed(*now, activity);
        waited
    }

    #[test]
    fn a_quiet_swarm_is_listed_ever_less_often_until_something_is_heard() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let waits = |pace: &mut Pace, now: &mut Instant, activity| {
            (0..5).map(|_| list(pace, now, 2 * MS, activity).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(waits(&mut pace, &mut now, Activity::Quiet), [0, 100, 200, 500, 10_000]);
        now += 1_000 * MS;
        pace.heard(now);
        assert_eq!(waits(&mut pace, &mut now, Activity::Moving), [0, 100, 200, 500, 1_000]);
        assert_eq!(waits(&mut pace, &mut now, Activity::Elsewhere)[1..], [2_000; 4]);
    }

    #[test]
    fn what_is_heard_while_a_listing_is_under_way_is_in_the_next_one() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        pace.asked(now);
        pace.heard(now + MS);
        now += 2 * MS;
        pace.listed(now, Activity::Quiet);
        assert_eq!(pace.due() - now, 10 * MS);
    }

    #[test]
    fn a_manager_that_takes_long_is_asked_less_often() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        list(&mut pace, &mut now, 1_000 * MS, Activity::Moving);
        pace.heard(now);
        assert_eq!(list(&mut pace, &mut now, 1_000 * MS, Activity::Moving), 5_000 * MS);
    }
}
