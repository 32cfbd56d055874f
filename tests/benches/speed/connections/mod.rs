//! Connections: the same clients and the same servers, with one balancer after the other between them.

mod balancer;
mod clients;
mod load;
mod processor;
mod server;
mod stage;
mod tables;

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::meter::Meter;
use crate::report::Report;
use balancer::{Balancer, Kind};
use load::{Life, Load, Outcome};
use stage::Stage;
use tables::Figures;

/// Connections at once, where each asks as soon as it was answered.
const AT_ONCE: usize = 64;
/// Connections that only take.
const STREAMS: usize = 4;
/// The part of the slowest's capacity at which latency is measured.
const MODERATE: f64 = 0.5;
/// What latency is measured at when nothing has been measured yet, in requests a second.
const FIRST_RATE: f64 = 1000.0;

/// Rounds that are measured at most: one of all balancers takes a minute, or a quarter of one.
const MOST_ROUNDS: usize = 5;
const MOST_QUICK_ROUNDS: usize = 1;

/// How long each figure is measured.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    capacity: Duration,
    latency: Duration,
    bulk: Duration,
}

impl Lengths {
    const WHOLE: Self = Self {
        capacity: Duration::from_millis(1000),
        latency: Duration::from_millis(2500),
        bulk: Duration::from_millis(1000),
    };
    const QUICK: Self = Self {
        capacity: Duration::from_millis(500),
        latency: Duration::from_millis(800),
        bulk: Duration::from_millis(500),
    };
}

/// Requests a second at which latency is measured.
#[derive(Debug, Clone, Copy)]
struct Rates {
    short: f64,
    long: f64,
}

/// Measures it.
///
/// # Errors
/// When the lab cannot be built, or Weir does not become ready. A peer that is not there, and one that does not serve, are
/// left out.
pub(crate) fn run(context: &Context, report: &mut Report) -> Result<()> {
    if !context.privileged || !context.tables {
        return Ok(());
    }
    let (mut kinds, missing): (Vec<Kind>, Vec<Kind>) = Kind::ALL.into_iter().partition(|kind| kind.missing().is_none());
    report.left_out.extend(missing.into_iter().filter_map(Kind::missing));
    let stage = Stage::build()?;
    let lengths = context.pick(Lengths::WHOLE, Lengths::QUICK);
    let rounds = context.rounds.min(context.pick(MOST_ROUNDS, MOST_QUICK_ROUNDS));

    // The first round warms up, finds who does not serve, and how many requests the slowest can answer.
    let mut slowest = Rates { short: f64::INFINITY, long: f64::INFINITY };
    let rates = Rates { short: FIRST_RATE, long: FIRST_RATE };
    for kind in kinds.clone() {
        match measure(&stage, kind, Lengths::QUICK, rates) {
            Ok(figures) => {
                slowest.short = slowest.short.min(figures.short.rate());
                slowest.long = slowest.long.min(figures.long.rate());
            }
            Err(error) if matches!(kind, Kind::Direct | Kind::Weir) => return Err(error),
            Err(error) => {
                report.left_out.push(format!("{}: {error:#}", kind.name()));
                kinds.retain(|other| *other != kind);
            }
        }
    }
    let rates = Rates { short: MODERATE * slowest.short, long: MODERATE * slowest.long };
    let mut measured: Vec<(Kind, Vec<Figures>)> = kinds.iter().map(|kind| (*kind, vec![])).collect();
    for _ in 0..rounds {
        for (kind, figures) in &mut measured {
            figures.push(measure_with_retries(&stage, *kind, lengths, rates)?);
        }
    }
    tables::fill(report, &measured, rates);
    Ok(())
}

/// How often a balancer is tried that has served before.
const TRIES: usize = 3;

/// All figures of one balancer that has served before: a machine that stood still for a while does not end the run.
fn measure_with_retries(stage: &Stage, kind: Kind, lengths: Lengths, rates: Rates) -> Result<Figures> {
    for _ in 1..TRIES {
        match measure(stage, kind, lengths, rates) {
            Ok(figures) => return Ok(figures),
            Err(error) => eprintln!("connections: once more: {error:#}"),
        }
    }
    measure(stage, kind, lengths, rates)
}

/// All figures of one balancer.
fn measure(stage: &Stage, kind: Kind, lengths: Lengths, rates: Rates) -> Result<Figures> {
    let balancer = Balancer::start(kind, &stage.lab)?;
    let meter = Meter::new(balancer.pid())?;
    let load =
        |life, connections, rate, lasts| Load { targets: balancer.targets.clone(), life, connections, rate, lasts };
    let run = |load: Load| {
        let outcome = load.run(stage.client()).with_context(|| kind.name().to_owned())?;
        // What is still being closed is not the next one's.
        std::thread::sleep(Duration::from_millis(20));
        anyhow::Ok(outcome)
    };
    Ok(Figures {
        short: run(load(Life::Short, AT_ONCE, None, lengths.capacity))?,
        long: run(load(Life::Long, AT_ONCE, None, lengths.capacity))?,
        short_paced: busy(&meter, || run(load(Life::Short, 0, Some(rates.short), lengths.latency)))?,
        long_paced: busy(&meter, || run(load(Life::Long, AT_ONCE, Some(rates.long), lengths.latency)))?,
        bulk: run(load(Life::Bulk, STREAMS, None, lengths.bulk))?,
    })
}

/// What came of something, and how much of the processors' time it took.
fn busy(meter: &Meter, run: impl FnOnce() -> Result<Outcome>) -> Result<(Outcome, Duration)> {
    let before = meter.spent()?;
    let outcome = run()?;
    Ok((outcome, meter.spent()?.saturating_sub(before)))
}
