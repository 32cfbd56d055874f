//! A table of figures.

use super::Samples;
use super::number::shown;

/// Rows of figures under the same heads.
#[derive(Debug)]
pub(crate) struct Table {
    /// A short name, as `--only` and the JSON have it.
    pub id: &'static str,
    /// What it shows.
    pub title: String,
    /// The heads.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Row>,
    /// What a reader has to know, a sentence each.
    pub notes: Vec<String>,
}

/// One head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// What it says.
    pub name: &'static str,
    /// The unit: `ns`, `1/s`, `×` for a ratio.
    pub unit: &'static str,
    /// Digits behind the point.
    pub digits: usize,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub name: String,
    /// A figure under each head, where there is one.
    pub cells: Vec<Option<Samples>>,
    /// What it should be.
    pub target: Option<Target>,
}

/// What the median under one head should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Target {
    /// Which head, from 0.
    pub column: usize,
    /// Not more than this.
    pub most: Option<f64>,
    /// Not less than this.
    pub least: Option<f64>,
}

impl Target {
    /// Whether the median of these figures is what it should be.
    pub(crate) fn met(&self, samples: &Samples) -> bool {
        let median = samples.median();
        // No figure meets nothing: comparisons with NaN are false.
        self.most.is_none_or(|most| median <= most) && self.least.is_none_or(|least| median >= least)
    }

    /// `≤ 40`.
    pub(crate) fn shown(&self) -> String {
        let most = self.most.map(|most| format!("≤ {}", exact(most)));
        let least = self.least.map(|least| format!("≥ {}", exact(least)));
        [least, most].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// With the digits that it has.
fn exact(value: f64) -> String {
    let digits = value.to_string().split_once('.').map_or(0, |(_, part)| part.len());
    shown(value, digits)
}

impl Row {
    /// The target's verdict: `None` when there is no target, and a missed one when there is no figure.
    pub(crate) fn met(&self) -> Option<bool> {
        let target = self.target?;
        Some(self.cells.get(target.column).and_then(Option::as_ref).is_some_and(|samples| target.met(samples)))
    }
}

impl Table {
    /// Whether any row has a target.
    pub(crate) fn has_targets(&self) -> bool {
        self.rows.iter().any(|row| row.target.is_some())
    }
}

impl Column {
    /// Name and unit.
    pub(crate) fn head(&self) -> String {
        if self.unit.is_empty() { self.name.to_owned() } else { format!("{}, {}", self.name, self.unit) }
    }
}
