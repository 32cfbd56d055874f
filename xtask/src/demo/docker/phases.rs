//! The four phases of the demonstration with containers.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use weir_tests::lab::docker::NETWORK;
use weir_tests::lab::{HttpLoad, SteadyLoad, SteadyReport};

use super::figures::{Load, Start};
use super::stage::{SERVICE, SOON, Stage, container};
use crate::demo::figures::Spread;
use crate::demo::stage::{http_v4, http_v6};
use crate::mark::{Mark, median, milliseconds};
use crate::screen::{Bar, Screen};

/// What half of the containers have to serve within.
const SERVES_WITHIN: Duration = Duration::from_millis(200);

const SPREAD_REQUESTS: usize = 8_000;
/// Points that a share of 8,000 requests may be off: the statistical spread is 0.6, of which this is more than three.
const SPREAD_POINTS: f64 = 2.0;

/// Requests a second while containers come and go.
const RATE: u32 = 500;
/// Requests before and after what happens: a second of them.
const MARGIN: u32 = RATE;
/// How long a container may take to leave: its server goes on for a second after it was asked to.
const GRACE_S: u32 = 10;
/// Requests that may be in flight on the container that is killed: one takes a millisecond or two.
const IN_FLIGHT: usize = 10;

/// (1) Containers are started, and serve.
pub(super) fn start(stage: &Stage, screen: &mut Screen) -> Result<Start> {
    screen.heading("1  docker run -l weir.service=web …, four times");
    let mut took = Vec::new();
    for (number, (name, weight)) in (0..).zip(stage.members()) {
        let target = if number % 2 == 0 { http_v4() } else { http_v6() };
        let served = std::thread::scope(|scope| {
            let answer = scope.spawn(|| first_answer(stage, target, &name));
            let run = stage.engine().run(&container(&name, weight).network(NETWORK));
            let answered = answer.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
            let took = answered.duration_since(run?.started_at()?);
            took.with_context(|| format!("{name} answered before the engine had started it"))
        })?;
        screen.line(&format!("{name} served {:.1} ms after its start", milliseconds(served)));
        took.push(served);
    }
    let middle = median(&took);
    let mark = Mark {
        what: "a container that starts serves",
        found: format!("median {:.1} ms of {} containers", milliseconds(middle), took.len()),
        wanted: format!("less than {} ms", SERVES_WITHIN.as_millis()),
        passed: middle < SERVES_WITHIN,
    };
    screen.mark(&mark);
    stage.await_serving(&stage.members())?;
    Ok(Start { serves_ms: took.into_iter().map(milliseconds).collect(), mark })
}

/// Asks until this one answers: when that was.
fn first_answer(stage: &Stage, target: std::net::SocketAddr, name: &str) -> Result<SystemTime> {
    let load = HttpLoad { concurrency: 1, timeout: Duration::from_millis(20), ..HttpLoad::new(target, 4) };
    let asked = Instant::now();
    while asked.elapsed() < SOON {
        if load.run(stage.client()).answers.contains_key(name) {
            return Ok(SystemTime::now());
        }
    }
    anyhow::bail!("{name} does not answer at {target} within {} s", SOON.as_secs())
}

/// (2) Requests are spread by the weights of the labels.
pub(super) fn spread(stage: &Stage, screen: &mut Screen) -> Result<Spread> {
    screen.heading(&format!(
        "2  {SPREAD_REQUESTS} requests, each on a new connection, IPv4 and IPv6, by label weir.weight"
    ));
    let members = stage.members();
    let total: f64 = members.values().copied().map(f64::from).sum();
    let load = HttpLoad { targets: vec![http_v4(), http_v6()], ..HttpLoad::new(http_v4(), SPREAD_REQUESTS) };
    let report = load.run_with(stage.client(), |report| {
        if screen.due() || report.answered() + report.failed() == SPREAD_REQUESTS as u64 {
            let bar = |(name, weight): (&String, &u16)| {
                let (part, expected) = (report.share(name), f64::from(*weight) / total);
                let note = format!("{:5.2} % (want {:5.2} %)", 100.0 * part, 100.0 * expected);
                Bar { name: name.clone(), part, expected: Some(expected), note }
            };
            screen.bars(&members.iter().map(bar).collect::<Vec<_>>());
        }
    });
    screen.bars_done();
    let spread = Spread::new("spread by weight", &report, &members, SPREAD_POINTS);
    screen.mark(&spread.mark);
    Ok(spread)
}

/// (3) Two more are started, and two stopped, under load.
pub(super) fn scale(stage: &Stage, screen: &mut Screen) -> Result<Load> {
    screen.heading(&format!("3  {RATE} requests/s while two containers are added, and two stopped"));
    let mut members = stage.members();
    let report = under_load(stage, || {
        for name in ["web-5", "web-6"] {
            stage.engine().run(&container(name, 100).network(NETWORK))?;
            members.insert(name.to_owned(), 100);
            screen.line(&format!("docker run {name}"));
        }
        stage.await_serving(&members)?;
        for name in ["web-1", "web-2"] {
            let asked = Instant::now();
            stage.engine().container(name)?.stop(GRACE_S)?;
            members.remove(name);
            screen.line(&format!("docker stop {name}: it left after {:.1} s", asked.elapsed().as_secs_f64()));
        }
        stage.await_serving(&members)
    })?;
    answers(screen, &report);
    let mark = Mark {
        what: "up and down",
        found: format!("{} answered, {}", report.answered(), failures(&report)),
        wanted: "none failed".to_owned(),
        passed: report.failed.is_empty() && report.answered() > 0,
    };
    screen.mark(&mark);
    Ok(Load::new(&report, mark))
}

/// (4) One is killed under load.
pub(super) fn killed(stage: &Stage, screen: &mut Screen) -> Result<Load> {
    screen.heading(&format!("4  {RATE} requests/s while one container is killed"));
    let mut known = stage.serving()?;
    let victim = known.keys().next().context("nobody serves")?.clone();
    let mut killed = Instant::now();
    let report = under_load(stage, || {
        stage.engine().container(&victim)?.kill()?;
        killed = Instant::now();
        screen.line(&format!("docker kill {victim}"));
        known.remove(&victim);
        stage.await_serving(&known)
    })?;
    answers(screen, &report);
    let in_flight = report.failed.iter().filter(|attempt| attempt.begun < killed).count();
    let mark = Mark {
        what: "one killed",
        found: format!("{} answered, {} ({in_flight} of them in flight on it)", report.answered(), failures(&report)),
        wanted: format!("only those in flight on it failed, at most {IN_FLIGHT}"),
        passed: in_flight == report.failed.len() && in_flight <= IN_FLIGHT && report.answered() > 0,
    };
    screen.mark(&mark);
    Ok(Load::new(&report, mark))
}

/// Does something while requests come, and some time before and after.
fn under_load(stage: &Stage, change: impl FnOnce() -> Result<()>) -> Result<SteadyReport> {
    let load = SteadyLoad::start(stage.client(), vec![http_v4(), http_v6()], RATE);
    let changed = load.await_more(MARGIN).map_err(anyhow::Error::from).and_then(|()| change());
    let more = load.await_more(MARGIN);
    let report = load.finish();
    changed?;
    more?;
    ensure!(report.answered() > 0, "no request to {SERVICE} was answered: {:?}", report.failed.first());
    Ok(report)
}

fn answers(screen: &mut Screen, report: &SteadyReport) {
    let total = report.answered().max(1) as f64;
    let bar = |(name, count): (&String, &u64)| Bar {
        name: name.clone(),
        part: *count as f64 / total,
        expected: None,
        note: format!("{count} answers"),
    };
    screen.bars(&report.answers.iter().map(bar).collect::<Vec<_>>());
    screen.bars_done();
}

/// `none failed`, or how many did and why the first of them.
fn failures(report: &SteadyReport) -> String {
    match report.failed.first() {
        None => "none failed".to_owned(),
        Some(attempt) => format!("{} failed ({})", report.failed.len(), attempt.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_said_with_why() {
        let attempt = weir_tests::lab::Attempt { begun: Instant::now(), connected: true, error: "reset".to_owned() };
        assert_eq!(failures(&SteadyReport::default()), "none failed");
        assert_eq!(failures(&SteadyReport { failed: vec![attempt], ..SteadyReport::default() }), "1 failed (reset)");
    }
}
