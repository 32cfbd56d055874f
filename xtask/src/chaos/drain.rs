//! Line 5: `weir drain --wait` returns when the last connection has closed, not before.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use weir_tests::lab::traffic::{Fleet, Manners};
use weir_tests::lab::wait_until;

use super::config::{IDLE, vip};
use super::load::seconds;
use super::stage::Stage;
use crate::mark::Mark;
use crate::screen::Screen;

/// Connections to begin with; those with the backend that is drained stay.
const GUESTS: usize = 120;
/// How long the drain may take after the last connection has closed.
const WITHIN: Duration = Duration::from_secs(2);
/// Beyond an idle time-out, how long connections go on after the drain was asked for.
const LONGER: Duration = Duration::from_secs(2);
/// How long the command waits before it gives up, so that it ends whatever happens.
const GIVEN_UP: &str = "60s";
/// How long anything else is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How one drain went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Drained {
    /// Whose.
    pub(crate) service: &'static str,
    /// Connections that the backend had.
    pub(crate) connections: usize,
    /// How long they went on after the drain was asked for, in seconds.
    pub(crate) held_s: f64,
    /// When it returned, after the last one had closed, in seconds; negative when it was before.
    pub(crate) after_s: f64,
    /// Connections that broke.
    pub(crate) broken: usize,
}

/// Drains a backend of both TCP services, one after the other.
pub(super) fn drain(stage: &mut Stage, screen: &mut Screen) -> Result<(Vec<Drained>, Mark)> {
    screen.heading("A drain waits for the last connection");
    let mut all = Vec::new();
    for service in ["web", "web6"] {
        let drained = one(stage, service)?;
        screen.line(&format!(
            "{service}: {} connections, held for {:.1} s; it returned {:+.2} s after the last had closed",
            drained.connections, drained.held_s, drained.after_s
        ));
        all.push(drained);
    }
    let within = WITHIN.as_secs_f64();
    let good = |drained: &Drained| (0.0..=within).contains(&drained.after_s) && drained.broken == 0;
    let words = |drained: &Drained| format!("{:+.2} s ({} connections)", drained.after_s, drained.connections);
    let broken: usize = all.iter().map(|drained| drained.broken).sum();
    let mark = Mark {
        what: "5  drain --wait",
        found: format!(
            "returned {} after the last connection had closed; {broken} broke",
            all.iter().map(words).collect::<Vec<_>>().join(", ")
        ),
        wanted: format!("within {}, not before", seconds(WITHIN)),
        passed: all.iter().all(good),
    };
    screen.mark(&mark);
    Ok((all, mark))
}

fn one(stage: &mut Stage, service: &'static str) -> Result<Drained> {
    let entered = stage.ledger.count();
    let guests = Manners::new(vec![vip(service)], GUESTS, IDLE.mul_f64(0.3));
    let guests = Fleet::tcp(stage.residents(), guests, &stage.ledger);
    wait_until("the guests to come", PATIENCE, || (guests.open() == GUESTS).then_some(()))?;
    let most = guests.by_backend().into_iter().max_by_key(|(_, count)| *count);
    let (backend, connections) = most.context("no backend has guests")?;
    guests.keep_only(&backend);
    wait_until("the other guests to go", PATIENCE, || (guests.open() == connections).then_some(()))?;

    // A command and its return, seen from a thread of its own.
    let (tell, told) = mpsc::channel();
    let began = Instant::now();
    let drained = std::thread::scope(|scope| -> Result<Drained> {
        let stage = &*stage;
        let backend = &backend;
        scope.spawn(move || {
            let said = stage.tell(&["drain", backend, "--service", service, "--wait", "--deadline", GIVEN_UP]);
            // Nobody listens any more when the wait was given up.
            drop(tell.send((Instant::now(), said)));
        });
        let early = told.recv_timeout(IDLE + LONGER).ok();
        let held_s = began.elapsed().as_secs_f64();
        guests.end();
        wait_until("the guests to go", PATIENCE, || guests.ended().then_some(()))?;
        let closed = Instant::now();
        let returned = match early {
            Some(early) => early,
            None => told.recv().context("the thread that drains ended")?,
        };
        let (at, said) = returned;
        said?;
        let after_s = match at.checked_duration_since(closed) {
            Some(after) => after.as_secs_f64(),
            // The kernel saw the last connection's end a moment before this program did.
            None if at > began + Duration::from_secs_f64(held_s) => 0.0,
            None => -closed.duration_since(at).as_secs_f64(),
        };
        let broken = stage.ledger.count() - entered;
        Ok(Drained { service, connections, held_s, after_s, broken })
    })?;
    stage.tell(&["undrain", &backend, "--service", service])?;
    stage.converge()?;
    Ok(drained)
}
