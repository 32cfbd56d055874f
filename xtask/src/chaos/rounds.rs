//! Lines 1 and 2: rounds of calm and of churn in turn; what broke, and what short connections noticed.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use weir_tests::lab::traffic::{Break, Cause, ShortLoad, ShortReport};

use super::churn::Churn;
use super::crowd::Fleets;
use super::load::Processors;
use super::stage::Stage;
use crate::mark::{Mark, milliseconds};
use crate::screen::Screen;

/// How many rounds of each.
const ROUNDS: u32 = 5;
/// Calm that goes by before a calm round's latencies count: those of the churn's last event are over.
const AFTERMATH: Duration = Duration::from_secs(1);
/// The p99 under churn may be so many times the calm one.
const SLOWER: f64 = 1.25;

/// What short connections took in one round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Round {
    /// How many were answered.
    pub(crate) answered: u64,
    /// How many failed.
    pub(crate) failed: u64,
    /// Half took no longer, in milliseconds from when they were due.
    pub(crate) p50_ms: f64,
    /// 99 of 100.
    pub(crate) p99_ms: f64,
    /// 999 of 1,000.
    pub(crate) p999_ms: f64,
    /// The longest.
    pub(crate) longest_ms: f64,
    /// The part of the processors' time that was idle, in per cent.
    pub(crate) idle_percent: f64,
}

impl Round {
    fn new(report: &ShortReport, since: &Processors) -> Result<Self> {
        let ms = |part| milliseconds(report.latency.quantile(part));
        Ok(Self {
            answered: report.latency.count(),
            failed: report.failed,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            longest_ms: milliseconds(report.latency.longest()),
            idle_percent: Processors::now()?.idle_percent_since(since),
        })
    }

    fn words(&self) -> String {
        let Self { answered, failed, p50_ms, p99_ms, p999_ms, longest_ms, idle_percent } = self;
        format!(
            "{answered} short connections, {failed} failed: p50 {p50_ms:.2}, p99 {p99_ms:.2}, p99.9 {p999_ms:.2}, \
             longest {longest_ms:.1} ms; processors {idle_percent:.0} % idle"
        )
    }
}

/// All rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Rounds {
    pub(crate) calm: Vec<Round>,
    pub(crate) churn: Vec<Round>,
    /// Questions of long-lived TCP and UDP connections that were answered rightly.
    pub(crate) exchanges: u64,
    /// Bytes of answers that were checked.
    pub(crate) bytes: u64,
    /// UDP questions that were not answered within a second and were asked again.
    pub(crate) udp_asked_again: u64,
    /// The longest that an answer on a long-lived TCP connection took, in milliseconds.
    pub(crate) longest_answer_ms: f64,
}

/// Plays them: calm and churn in turn, so long of churn altogether.
pub(super) fn play(
    stage: &mut Stage,
    fleets: &Fleets,
    short: &ShortLoad,
    churn: &mut Churn,
    time: Duration,
    screen: &mut Screen,
) -> Result<Rounds> {
    let (mut calm, mut stormy) = (Vec::new(), Vec::new());
    for number in 1..=ROUNDS {
        screen.heading(&format!("Round {number} of {ROUNDS}: calm"));
        stage.converge()?;
        std::thread::sleep(AFTERMATH);
        drop(short.take());
        let before = Processors::now()?;
        std::thread::sleep((time / ROUNDS / 2).max(Duration::from_secs(2)));
        let round = Round::new(&short.take(), &before)?;
        screen.line(&round.words());
        calm.push(round);

        screen.heading(&format!("Round {number} of {ROUNDS}: churn"));
        drop(short.take());
        let before = Processors::now()?;
        churn.run(stage, time / ROUNDS, screen)?;
        let round = Round::new(&short.take(), &before)?;
        screen.line(&round.words());
        stormy.push(round);
    }
    stage.converge()?;
    Ok(Rounds {
        calm,
        churn: stormy,
        exchanges: fleets.tcp.exchanges() + fleets.udp.exchanges(),
        bytes: fleets.tcp.bytes() + fleets.udp.bytes(),
        udp_asked_again: fleets.udp.lost(),
        longest_answer_ms: milliseconds(fleets.tcp.latency().longest()),
    })
}

/// Line 1.
pub(super) fn unbroken(rounds: &Rounds, breaks: &[Break], excused: u64, events: usize, time: Duration) -> Mark {
    let wrong = breaks.iter().filter(|broken| broken.cause == Cause::WrongBytes).count();
    let short: u64 = rounds.calm.iter().chain(&rounds.churn).map(|round| round.answered).sum();
    Mark {
        what: "1  connections to the living",
        found: format!(
            "{} broke, {wrong} of them by wrong bytes, in {events} events within {} s; {} exchanges, {} bytes checked, \
             {short} short connections; {excused} ended by the test itself",
            breaks.len(),
            time.as_secs(),
            rounds.exchanges,
            rounds.bytes
        ),
        wanted: "none broke, no wrong byte".to_owned(),
        passed: breaks.is_empty() && rounds.exchanges > 0 && short > 0,
    }
}

/// Line 2.
pub(super) fn latency(rounds: &Rounds) -> Mark {
    let of = |rounds: &[Round], value: fn(&Round) -> f64| middle(rounds.iter().map(value).collect());
    let (calm, churn) = (of(&rounds.calm, |round| round.p99_ms), of(&rounds.churn, |round| round.p99_ms));
    let (calm_tail, churn_tail) = (of(&rounds.calm, |round| round.p999_ms), of(&rounds.churn, |round| round.p999_ms));
    let ratio = churn / calm.max(f64::EPSILON);
    Mark {
        what: "2  latency under churn",
        found: format!(
            "p99 {churn:.2} ms, calm {calm:.2} ms ({:+.0} %); p99.9 {churn_tail:.2} ms, calm {calm_tail:.2} ms; \
             medians of {ROUNDS} interleaved rounds",
            100.0 * (ratio - 1.0)
        ),
        wanted: format!("p99 at most {:+.0} %", 100.0 * (SLOWER - 1.0)),
        passed: calm > 0.0 && ratio <= SLOWER,
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(p99_ms: f64) -> Round {
        Round { answered: 100, failed: 0, p50_ms: 1.0, p99_ms, p999_ms: 9.0, longest_ms: 9.0, idle_percent: 50.0 }
    }

    #[test]
    fn medians_are_compared() {
        let rounds = |churn: [f64; 5]| Rounds {
            calm: [1.0, 2.0, 3.0, 2.0, 90.0].map(round).to_vec(),
            churn: churn.map(round).to_vec(),
            exchanges: 1,
            bytes: 1,
            udp_asked_again: 0,
            longest_answer_ms: 1.0,
        };
        assert!(latency(&rounds([2.5, 2.4, 99.0, 1.0, 99.0])).passed);
        assert!(!latency(&rounds([2.6, 2.4, 99.0, 1.0, 99.0])).passed);
        assert!(unbroken(&rounds([1.0; 5]), &[], 0, 9, Duration::from_secs(1)).passed);
    }
}
