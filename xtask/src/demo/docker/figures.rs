//! The figures of the demonstration with containers, and the marks they are held to.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_tests::lab::SteadyReport;

use crate::demo::figures::Spread;
use crate::mark::Mark;

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// Whether every mark was met.
    pub(crate) passed: bool,
    /// How long it took, from an empty machine to the summary, without building.
    pub(crate) seconds: f64,
    /// Phase 1.
    pub(crate) start: Start,
    /// Phase 2.
    pub(crate) spread: Spread,
    /// Phase 3.
    pub(crate) scale: Load,
    /// Phase 4.
    pub(crate) killed: Load,
}

impl Figures {
    /// Every mark, in the order of the phases.
    pub(crate) fn marks(&self) -> Vec<&Mark> {
        vec![&self.start.mark, &self.spread.mark, &self.scale.mark, &self.killed.mark]
    }
}

/// Containers were started.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Start {
    /// From each container's own start, as the engine has it, to the first request that it served through the VIP, in
    /// milliseconds.
    pub(crate) serves_ms: Vec<f64>,
    /// Their median held to the mark.
    pub(crate) mark: Mark,
}

/// Requests at a constant rate while something happened.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Load {
    /// How many were answered.
    pub(crate) answered: u64,
    /// How many answers each container gave.
    pub(crate) answers: BTreeMap<String, u64>,
    /// How many were answered, but took over half a second.
    pub(crate) slow: u64,
    /// How many failed, by why.
    pub(crate) errors: BTreeMap<String, u64>,
    /// What failed held to what may.
    pub(crate) mark: Mark,
}

impl Load {
    /// Sums up a report.
    pub(crate) fn new(report: &SteadyReport, mark: Mark) -> Self {
        let mut errors = BTreeMap::new();
        for attempt in &report.failed {
            *errors.entry(attempt.error.clone()).or_default() += 1;
        }
        Self { answered: report.answered(), answers: report.answers.clone(), slow: report.slow, errors, mark }
    }
}
