//! Packets a second: live frames out of one end of a veth, through a program at the other end, and back.
//!
//! The source, the program in between and the sink take turns on one processor, a batch at a time: a batch is generated,
//! the far end's NAPI has the program send it back, the near end's NAPI counts it. So nothing is dropped for want of room,
//! and a second has as many packets as the whole way takes time. Seconds are those that the processor spent on this: what
//! other processes took is not in them.

mod source;
mod stage;
mod stream;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::context::Context;
use crate::report::{Column, Report, Row, Samples, Table, Target};
use source::Source;
use stage::{Stage, Way};
use stream::Stream;

/// What Weir's share of the bare program's packets a second should be at least.
const LEAST: f64 = 0.92;

/// The least part of what was generated that has to come back for a figure to count. Now and then a frame falls to what
/// else there is on the wire.
const ARRIVES: f64 = 0.999;

/// Rounds that are measured at most: one takes ten seconds.
const MOST_ROUNDS: usize = 9;

/// How often a figure is tried.
const TRIES: usize = 5;

/// How many frames a figure is of.
const FRAMES: u32 = 1_000_000;
const FRAMES_IN_HASTE: u32 = 250_000;

/// One figure of every round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    way: Way,
    v6: bool,
    flows: u32,
}

/// Measures it.
///
/// # Errors
/// When the lab cannot be built, or Weir does not become ready. Without the privilege it says so in the report instead.
pub(crate) fn run(context: &Context, report: &mut Report) -> Result<()> {
    if !context.privileged || !context.tables {
        return Ok(());
    }
    let mut source = Source::load()?;
    let stage = Stage::build(&mut source)?;
    let cells: Vec<Cell> = [false, true]
        .into_iter()
        .flat_map(|v6| [1, 65_536].map(|flows| (v6, flows)))
        .flat_map(|(v6, flows)| Way::ALL.map(|way| Cell { way, v6, flows }))
        .collect();
    let count = context.pick(FRAMES, FRAMES_IN_HASTE);
    let mut figures = vec![Samples::default(); cells.len()];
    for round in 0..=context.rounds.min(MOST_ROUNDS) {
        for (cell, figure) in cells.iter().zip(&mut figures) {
            let rate = measure(&stage, &mut source, *cell, count)
                .with_context(|| format!("packets a second: {}", name(*cell)))?;
            // The first round warms up: caches, pools of pages, what the kernel learns of its devices.
            if round > 0 {
                figure.0.push(rate);
            }
        }
    }
    report.tables.push(table(&cells, &figures));
    Ok(())
}

/// Packets a second.
fn measure(stage: &Stage, source: &mut Source, cell: Cell, count: u32) -> Result<f64> {
    let stream = Stream::new(stage.target(cell.way, cell.v6), cell.flows);
    let mut arrived = 0;
    for _ in 0..TRIES {
        let before = source.arrived()?;
        let took = source.send(&stage.lab.switch, stage.near(cell.way), &stream, count)?;
        arrived = source.arrived()? - before;
        if arrived as f64 >= ARRIVES * f64::from(count) {
            return Ok(arrived as f64 / took.as_secs_f64());
        }
        // Somebody else's packet had the far end polled on another processor, where it stays while frames come.
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!(
        "of {count} frames {arrived} came back, expected all of them: `weir refusals` names why Weir refuses packets\n{}",
        stage.refusals(),
    )
}

fn name(cell: Cell) -> String {
    let family = if cell.v6 { "v6" } else { "v4" };
    let flows = if cell.flows == 1 { "1 flow".to_owned() } else { format!("{} K flows", cell.flows / 1024) };
    format!("{family}, {}, {flows}", cell.way.name())
}

fn table(cells: &[Cell], figures: &[Samples]) -> Table {
    let of = |wanted: Cell| cells.iter().zip(figures).find(|(cell, _)| **cell == wanted).map(|(_, figure)| figure);
    let rows = cells.iter().filter(|cell| cell.way != Way::Bare).filter_map(|cell| {
        let (own, bare) = (of(*cell)?, of(Cell { way: Way::Bare, ..*cell })?);
        Some(Row {
            name: name(*cell),
            cells: vec![Some(bare.clone()), Some(own.clone()), Some(own.over(bare)), Some(each(own).less(&each(bare)))],
            target: cell.way.is_weir().then_some(Target { column: 2, most: None, least: Some(LEAST) }),
        })
    });
    Table {
        id: "frames",
        title: "Packets a second through veth, established TCP".to_owned(),
        columns: vec![
            Column { name: "bare program", unit: "1/s", digits: 0 },
            Column { name: "this", unit: "1/s", digits: 0 },
            Column { name: "over bare", unit: "×", digits: 3 },
            Column { name: "less bare", unit: "ns", digits: 0 },
        ],
        rows: rows.collect(),
        notes: vec![
            "Frames of 64 bytes (IPv6: 80), from one processor, in batches of 64; they leave by the device they came in by."
                .to_owned(),
            "The bare program swaps the Ethernet addresses and sends the frame back. Generating, two ways through veth and \
             counting are in all figures."
                .to_owned(),
            "Weir returns XDP_TX as the bare program does, since its configuration says that the veth's peer has a program. On one \
             of which that is not said it redirects, which costs what the rows \"bare by redirection\" have less."
                .to_owned(),
            "A second is one that the processor spent on this.".to_owned(),
        ],
    }
}

/// Nanoseconds a packet.
fn each(rates: &Samples) -> Samples {
    Samples(rates.0.iter().map(|rate| 1e9 / rate).collect())
}
