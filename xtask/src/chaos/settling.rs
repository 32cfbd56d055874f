//! Line 3: after the churn every slot settles, and the flow table is left alone.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use weir_tests::lab::traffic::ShortLoad;
use weir_tests::lab::wait_until;

use super::config::IDLE;
use super::crowd::Fleets;
use super::load::seconds;
use super::stage::{Moving, Stage};
use crate::mark::Mark;
use crate::screen::Screen;

/// How much longer than an idle time-out settling may take.
const SLACK: Duration = Duration::from_secs(5);
/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the flow table has to be left alone.
const STILL: Duration = Duration::from_secs(3);

/// How it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Settled {
    /// From the end of the last connection until no slot moved, in seconds, if it came to that.
    pub(crate) took_s: Option<f64>,
    /// Slots that still moved when it was given up.
    pub(crate) left: u64,
    /// Times that the flow table was consulted while nothing moved and traffic went on.
    pub(crate) lookups: u64,
    /// Short connections that were answered meanwhile.
    pub(crate) answered: u64,
    /// Flows that were not remembered, during the whole run, because too many were.
    pub(crate) inserts_refused: u64,
}

/// Ends the connections that were there under churn, since a slot rightly moves as long as one of them lives elsewhere
/// than where the slot's new flows go; waits until all slots are settled; then looks at the counter while short
/// connections and new long ones go on.
pub(super) fn settle(
    stage: &Stage,
    fleets: Fleets,
    short: &ShortLoad,
    reopen: impl FnOnce(&Stage) -> Result<Fleets>,
    screen: &mut Screen,
) -> Result<(Settled, [Mark; 2], Fleets)> {
    screen.heading("After the churn: slots settle");
    let moving = stage.moving()?;
    screen.line(&format!("{} slots hand over; the long-lived connections end", moving.slots));
    let ended = fleets.close()?;
    let mut last = Ok(moving);
    let settled = wait_until("all slots to settle", PATIENCE, || {
        last = stage.moving();
        last.as_ref().is_ok_and(|moving| moving.slots == 0).then(Instant::now)
    });
    let left = last?.slots;
    let took = settled.ok().map(|at| at.saturating_duration_since(ended));

    let fleets = reopen(stage)?;
    drop(short.take());
    let before = stage.moving()?;
    std::thread::sleep(STILL);
    let (after, report): (Moving, _) = (stage.moving()?, short.take());
    let settled = Settled {
        took_s: took.map(|took| took.as_secs_f64()),
        left,
        lookups: after.flow_lookups - before.flow_lookups,
        answered: report.latency.count(),
        inserts_refused: after.inserts_refused,
    };
    let within = IDLE + SLACK;
    let marks = [
        Mark {
            what: "3  every slot settles",
            found: match took {
                Some(took) => format!("{} after the last connection of the churn had ended", seconds(took)),
                None => format!("{left} slots still moved after {}", seconds(PATIENCE)),
            },
            wanted: format!("within {}: an idle time-out and {}", seconds(within), seconds(SLACK)),
            passed: took.is_some_and(|took| took <= within),
        },
        Mark {
            what: "3  the flow table is left alone",
            found: format!(
                "consulted {} times in {} with {} short connections and {} long ones",
                settled.lookups,
                seconds(STILL),
                settled.answered,
                fleets.tcp.open() + fleets.udp.open()
            ),
            wanted: "not at all".to_owned(),
            passed: settled.lookups == 0 && settled.answered > 0,
        },
    ];
    marks.iter().for_each(|mark| screen.mark(mark));
    Ok((settled, marks, fleets))
}
