//! The report as JSON. Its keys are documented in docs/performance.md, and stay: what is new gets new keys.

use serde_json::{Value, json};

use super::{Column, Plot, Report, Row, Run, Samples, Table};

/// What keys there are. It counts up when one changes its meaning or goes.
const VERSION: u32 = 1;

/// The whole report.
pub(crate) fn json(run: &Run, report: &Report) -> Value {
    json!({
        "version": VERSION,
        "build": run.build,
        "machine": run.machine,
        "noise": run.noise,
        "rounds": run.rounds,
        "quick": run.quick,
        "parts": run.parts,
        "tables": report.tables.iter().map(table).collect::<Value>(),
        "plots": report.plots.iter().map(plot).collect::<Value>(),
        "left_out": report.left_out,
    })
}

fn table(table: &Table) -> Value {
    let column = |column: &Column| json!({ "name": column.name, "unit": column.unit });
    json!({
        "id": table.id,
        "title": table.title,
        "columns": table.columns.iter().map(column).collect::<Value>(),
        "rows": table.rows.iter().map(row).collect::<Value>(),
        "notes": table.notes,
    })
}

fn row(row: &Row) -> Value {
    let target = row.target.map(|target| {
        json!({
            "column": target.column,
            "most": target.most,
            "least": target.least,
            "met": row.met(),
        })
    });
    let cells: Value = row.cells.iter().map(|cell| cell.as_ref().map(figure)).collect();
    json!({ "name": row.name, "cells": cells, "target": target })
}

fn plot(plot: &Plot) -> Value {
    let point = |(x, samples): &(f64, Samples)| {
        let mut point = figure(samples);
        point["x"] = json!(x);
        point
    };
    let series = |(name, points): &(String, Vec<(f64, Samples)>)| json!({ "name": name, "points": points.iter().map(point).collect::<Value>() });
    json!({
        "id": plot.id,
        "title": plot.title,
        "x": plot.x,
        "y": plot.y,
        "log_y": plot.log_y,
        "series": plot.series.iter().map(series).collect::<Value>(),
    })
}

/// A figure; what is no number is null.
fn figure(samples: &Samples) -> Value {
    json!({ "median": samples.median(), "min": samples.min(), "max": samples.max(), "rounds": samples.0 })
}
