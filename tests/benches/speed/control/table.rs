//! Building a service's table.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use weir::maglev::{Entry, build};

use crate::context::Context;
use crate::report::{Column, Plot, Report, Row, Samples, Table, Target};

/// Slots: the default.
const SIZE: u32 = weir::config::DEFAULT_TABLE_SIZE;
/// Backends of a table.
const BACKENDS: [u32; 4] = [10, 100, 1_000, 10_000];
/// How long a table for 1,000 backends may take, in milliseconds.
const TARGET_MS: f64 = 2.0;
/// How often a cell is measured in a round; the fastest counts, since whatever disturbs only adds.
const TRIES: usize = 5;

/// Shares of new flows: alike, or as different as those of machines of three sizes.
#[derive(Debug, Clone, Copy)]
enum Weights {
    Alike,
    Different,
}

impl Weights {
    const ALL: [Self; 2] = [Self::Alike, Self::Different];

    const fn name(self) -> &'static str {
        match self {
            Self::Alike => "the same weight",
            Self::Different => "weights 1 : 2 : 5",
        }
    }

    const fn of(self, backend: u32) -> u32 {
        match self {
            Self::Alike => 100,
            Self::Different => [100, 200, 500][(backend % 3) as usize],
        }
    }
}

/// Measures tables of [`SIZE`] slots.
pub(super) fn run(context: &Context, report: &mut Report) {
    let mut cells = vec![vec![Samples::default(); BACKENDS.len()]; Weights::ALL.len()];
    for _ in 0..context.rounds {
        for (of_weights, weights) in cells.iter_mut().zip(Weights::ALL) {
            for (cell, backends) in of_weights.iter_mut().zip(BACKENDS) {
                let entries = entries(backends, weights);
                let tries = (0..TRIES).map(|_| {
                    let began = Instant::now();
                    black_box(build(black_box(&entries), SIZE));
                    began.elapsed().as_secs_f64() * 1e3
                });
                cell.0.push(tries.fold(f64::INFINITY, f64::min));
            }
        }
    }
    let row = |backends: u32, at: usize| Row {
        name: format!("{backends} backends"),
        cells: cells.iter().map(|of_weights| of_weights.get(at).cloned()).collect(),
        target: (backends == 1_000).then_some(Target { column: 0, most: Some(TARGET_MS), least: None }),
    };
    let columns = Weights::ALL.map(|weights| Column { name: weights.name(), unit: "ms", digits: 2 });
    report.tables.push(Table {
        id: "control-table",
        title: format!("Building a Maglev table of {SIZE} slots"),
        columns: columns.to_vec(),
        rows: BACKENDS.iter().zip(0..).map(|(backends, at)| row(*backends, at)).collect(),
        notes: vec!["In memory alone: from backends and weights to slots.".to_owned()],
    });
    let curve = |weights: Weights, of_weights: Vec<Samples>| {
        let points = BACKENDS.iter().map(|backends| f64::from(*backends)).zip(of_weights);
        (weights.name().to_owned(), points.collect())
    };
    report.plots.push(Plot {
        id: "control-table",
        title: format!("Building a Maglev table of {SIZE} slots"),
        x: "backends",
        y: "ms",
        log_y: true,
        series: Weights::ALL.into_iter().zip(cells).map(|(weights, cells)| curve(weights, cells)).collect(),
    });
}

fn entries(backends: u32, weights: Weights) -> Vec<Entry> {
    let entry =
        |id: u32| Entry { id, listens: (IpAddr::from(Ipv4Addr::from(0x0a00_0000 + id)), 8080), weight: weights.of(id) };
    (0..backends).map(entry).collect()
}
