//! A report, as a run might make it.

use crate::machine::{Build, Machine};
use crate::noise::Listener;
use crate::report::{Column, Plot, Report, Row, Run, Samples, Table, Target};

pub(crate) fn samples(median: f64) -> Samples {
    Samples(vec![median, 2.0 * median, 0.5 * median])
}

pub(crate) fn at_most(most: f64) -> Option<Target> {
    Some(Target { column: 0, most: Some(most), least: None })
}

pub(crate) fn row(name: &str, median: Option<f64>, target: Option<Target>) -> Row {
    Row { name: name.to_owned(), cells: vec![median.map(samples)], target }
}

pub(crate) fn table(id: &'static str, rows: Vec<Row>) -> Table {
    let columns = vec![Column { name: "over the floor", unit: "ns", digits: 1 }];
    Table { id, title: format!("The table {id}"), columns, rows, notes: vec!["A note.".to_owned()] }
}

pub(crate) fn plot(id: &'static str, log_y: bool, points: &[(f64, f64)]) -> Plot {
    let points = points.iter().map(|(x, y)| (*x, samples(*y))).collect();
    let series = vec![("a < b & c".to_owned(), points)];
    Plot { id, title: "Time".to_owned(), x: "flows", y: "ns", log_y, series }
}

pub(crate) fn report() -> Report {
    let rows = vec![row("met", Some(38.0), at_most(40.0)), row("missed", Some(1041.25), at_most(40.0))];
    Report {
        tables: vec![table("packet", rows), table("frames", vec![row("no target", None, None)])],
        plots: vec![plot("packet-flows", false, &[(1.0, 10.0), (1e6, 20.0)])],
        left_out: vec!["There is no Envoy.".to_owned()],
    }
}

pub(crate) fn run() -> Run {
    let noise = Listener::start().end();
    Run { machine: Machine::look(), build: Build::look(), noise, rounds: 3, quick: false, parts: vec![] }
}
