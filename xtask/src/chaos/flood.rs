//! Line 4: a flood of SYNs while slots move.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use weir_tests::lab::traffic::{Keystream, SynFlood, Traffic};

use super::act::carry_out;
use super::config::vip;
use super::crowd::Fleets;
use super::event::Kind;
use super::stage::Stage;
use crate::mark::Mark;
use crate::screen::Screen;

/// SYNs a second.
const RATE: u32 = 25_000;
/// From one change to the next.
const CHANGE_EVERY: Duration = Duration::from_secs(2);
/// How long after the flood a connection that it broke is seen: an answer's patience and a pause.
const AFTERMATH: Duration = Duration::from_secs(7);

/// How it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Flooded {
    /// SYNs sent.
    pub(crate) sent: u64,
    /// A second.
    pub(crate) rate_per_s: f64,
    /// Connections that stood when it began.
    pub(crate) established: usize,
    /// How many of them broke.
    pub(crate) broken: usize,
    /// Connections, short ones included, that were begun meanwhile and failed.
    pub(crate) others: usize,
    /// Changes that were made meanwhile.
    pub(crate) changes: usize,
    /// Slots that handed over, most at once.
    pub(crate) moving: u64,
    /// Flows that were not remembered because the table or the rate was full.
    pub(crate) inserts_refused: u64,
}

/// Floods, and changes weights meanwhile.
pub(super) fn flood(
    stage: &mut Stage,
    fleets: &Fleets,
    count: u64,
    seed: u64,
    screen: &mut Screen,
) -> Result<(Flooded, Mark)> {
    screen.heading(&format!("A flood of {count} SYNs from random sources while slots move"));
    let established = fleets.tcp.open() + fleets.udp.open();
    let (before, entered, began) = (stage.moving()?, stage.ledger.count(), Instant::now());
    let load = SynFlood { targets: vec![vip("web"), vip("web6")], count, rate_per_s: RATE, seed };
    let (progress, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let (netns, crowd) = (stage.lab.weir.clone(), stage.crowd().clone());
    let (mut changes, mut moving) = (0, 0);
    let mut choices = Keystream::new(seed);
    let report = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let report = load.run(&crowd, &netns, |sent| progress.store(sent, Ordering::Relaxed));
            done.store(true, Ordering::Relaxed);
            report
        });
        while !done.load(Ordering::Relaxed) {
            carry_out(stage, Kind::Reweight, &mut choices)?.context("there is nothing to weigh")?;
            changes += 1;
            let next = Instant::now() + CHANGE_EVERY;
            moving = moving.max(stage.moving()?.slots);
            screen.line(&format!("{:>7} sent, {moving} slots hand over", progress.load(Ordering::Relaxed)));
            while Instant::now() < next && !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        flooding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    std::thread::sleep(AFTERMATH);

    let breaks = stage.ledger.breaks().split_off(entered);
    let stood = |broken: &&weir_tests::lab::traffic::Break| {
        broken.traffic != Traffic::ShortTcp && broken.opened <= began && broken.backend.is_some()
    };
    let broken = breaks.iter().filter(stood).count();
    let flooded = Flooded {
        sent: report.sent,
        rate_per_s: report.sent as f64 / report.took.as_secs_f64(),
        established,
        broken,
        others: breaks.len() - broken,
        changes,
        moving,
        inserts_refused: stage.moving()?.inserts_refused - before.inserts_refused,
    };
    let mark = Mark {
        what: "4  a SYN flood",
        found: format!(
            "{} SYNs, {:.0}/s, {changes} changes, up to {moving} slots moving, {} inserts refused: {broken} of \
             {established} established connections broke; {} of those begun meanwhile failed",
            flooded.sent, flooded.rate_per_s, flooded.inserts_refused, flooded.others
        ),
        wanted: "none of the established broke".to_owned(),
        passed: broken == 0 && established > 0 && flooded.sent == count && moving > 0,
    };
    screen.mark(&mark);
    Ok((flooded, mark))
}
