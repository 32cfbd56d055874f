//! Events one after another, at a pace.

use std::time::{Duration, Instant};

use anyhow::Result;
use weir_tests::lab::traffic::Keystream;

use super::act::carry_out;
use super::event::Kind;
use super::history::{Happened, History};
use super::stage::Stage;
use crate::mark::milliseconds;
use crate::screen::Screen;

/// From one event to the next; an event that takes longer delays those after it, which then follow at once.
const PACE: Duration = Duration::from_secs(1);
/// Kinds that are tried before an event is given up, because there is nothing to do them to.
const TRIES: usize = 50;

/// What happens, drawn by a seed.
pub(super) struct Churn {
    kinds: Vec<Kind>,
    choices: Keystream,
    pub(super) history: History,
    started: Instant,
    /// How many had broken when the last line was shown.
    broken: usize,
}

impl Churn {
    /// Of these kinds; of all when none is named.
    pub(super) fn new(kinds: &[Kind], seed: u64, started: Instant) -> Self {
        let kinds = if kinds.is_empty() { Kind::ALL.to_vec() } else { kinds.to_vec() };
        Self { kinds, choices: Keystream::new(seed), history: History::default(), started, broken: 0 }
    }

    /// Lets events happen for this long, and shows each.
    pub(super) fn run(&mut self, stage: &mut Stage, time: Duration, screen: &mut Screen) -> Result<()> {
        let (begun, mut number) = (Instant::now(), 0);
        while PACE * number < time && begun.elapsed() < time {
            let due = begun + PACE * number;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.one(stage)?;
            number += 1;
            // Those that broke after the event before this one are among them.
            let broken = stage.ledger.count();
            if let Some(event) = self.history.events().last() {
                screen.line(&self.line(event, broken - self.broken));
            }
            self.broken = broken;
        }
        // The last event has its second too.
        std::thread::sleep((begun + time).saturating_duration_since(Instant::now()));
        Ok(())
    }

    fn one(&mut self, stage: &mut Stage) -> Result<()> {
        for _ in 0..TRIES {
            let kind = Kind::choose(&self.kinds, &mut self.choices);
            let at = Instant::now();
            let (note, error) = match carry_out(stage, kind, &mut self.choices) {
                Ok(None) => continue,
                Ok(Some(note)) => (note, None),
                Err(error) => (String::new(), Some(format!("{error:#}"))),
            };
            self.history.push(Happened { kind, at, took: at.elapsed(), note, error });
            break;
        }
        // Without a controller there is nothing more to be seen: a dead one is started, and that it died is counted.
        if let Some(status) = stage.weir.ended()? {
            let (kind, at) = (Kind::Restart, Instant::now());
            stage.weir.restart(&stage.lab)?;
            let error = Some(format!("weir run had ended by itself: {status}"));
            self.history.push(Happened { kind, at, took: at.elapsed(), note: String::new(), error });
        }
        Ok(())
    }

    fn line(&self, event: &Happened, broken: usize) -> String {
        let at = event.at.saturating_duration_since(self.started).as_secs_f64();
        let took = milliseconds(event.took);
        let broken = if broken == 0 { String::new() } else { format!("  {broken} BROKE") };
        let outcome = event.error.as_ref().map(|error| format!("  FAILED: {error}")).unwrap_or_default();
        format!("{at:>6.1} s  {:<18} {took:>5.0} ms  {}{broken}{outcome}", event.kind, event.note)
    }
}
