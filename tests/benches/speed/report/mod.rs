//! What was measured: tables, curves, and what was left out.

mod axis;
mod json;
mod markdown;
pub(crate) mod number;
mod plot;
mod print;
mod run;
mod samples;
mod table;

pub(crate) use json::json;
pub(crate) use markdown::{left_out, machine, table};
pub(crate) use plot::svg;
pub(crate) use print::Printer;
pub(crate) use run::Run;
pub(crate) use samples::Samples;
pub(crate) use table::{Column, Row, Table, Target};

/// Everything of one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// In the order in which they were measured.
    pub tables: Vec<Table>,
    /// How figures grow.
    pub plots: Vec<Plot>,
    /// What could not be measured here, and why, in a sentence each.
    pub left_out: Vec<String>,
}

/// Figures against a size.
#[derive(Debug)]
pub(crate) struct Plot {
    /// A file's name without its ending.
    pub id: &'static str,
    /// What it shows.
    pub title: String,
    /// What is along the horizontal axis, with its unit; its scale is logarithmic.
    pub x: &'static str,
    /// What is along the vertical axis, with its unit.
    pub y: &'static str,
    /// Whether the vertical axis is logarithmic, too.
    pub log_y: bool,
    /// Curves, by their names.
    pub series: Vec<(String, Vec<(f64, Samples)>)>,
}
