//! The figures of a run, for a program.

use std::collections::BTreeMap;

use serde::Serialize;

use super::drain::Drained;
use super::flood::Flooded;
use super::history::Row;
use super::rounds::Rounds;
use super::settling::Settled;
use super::stream::Streamed;
use crate::mark::Mark;

/// All of it. What was not asked for is not there.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Figures {
    /// Whether every mark was met.
    pub(crate) passed: bool,
    /// How long it took, from an empty machine to the summary, without building.
    pub(crate) seconds: f64,
    /// What the random choices came from.
    pub(crate) seed: u64,
    /// Each line that must be seen.
    pub(crate) marks: Vec<Mark>,
    /// What broke, by the kind of event it broke in.
    pub(crate) events: BTreeMap<String, Row>,
    /// What broke, in words; what broke alike after one event is one of them.
    pub(crate) broken: Vec<String>,
    /// Each event that could not be carried out, in words.
    pub(crate) failed: Vec<String>,
    /// Lines 1 and 2.
    pub(crate) rounds: Option<Rounds>,
    /// Line 3.
    pub(crate) settled: Option<Settled>,
    /// Line 4.
    pub(crate) flooded: Option<Flooded>,
    /// Line 5.
    pub(crate) drained: Vec<Drained>,
    /// Line 6.
    pub(crate) streamed: Vec<Streamed>,
}
