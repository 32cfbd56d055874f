//! The real process: from the rename of a file in a registry to the kernel's maps.

use anyhow::Result;

use super::process::{Memory, Running};
use super::world::World;
use crate::context::Context;
use crate::report::{Column, Report, Row, Samples, Table, Target};

/// How many changes are made in a round.
const CHANGES: u32 = 20;
/// What may be resident with 100,000 backends, in MB.
const RESIDENT_TARGET_MB: f64 = 60.0;

/// Measures `weir run` with a thousand services.
pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let world = World::of(context.pick(1_000, 100));
    let [mut all, mut change, mut slowest, mut resident, mut maps] = [(); 5].map(|()| Samples::default());
    for _ in 0..context.pick(context.rounds.min(5), 1) {
        let running = Running::start(world)?;
        all.0.push(running.fill()?);
        let mut changes = Samples::default();
        for number in 0..CHANGES {
            let service = number / 2 * 7_919 % world.services;
            changes.0.push(running.change(service, 1 - number % 2)?);
        }
        change.0.push(changes.median());
        slowest.0.push(changes.max());
        let memory = Memory::of(running.pid())?;
        resident.0.push(memory.resident as f64 / 1e6);
        maps.0.push(memory.maps as f64 / 1e6);
    }
    let row = |name: &str, samples: Samples, most: Option<f64>| Row {
        name: name.to_owned(),
        cells: vec![Some(samples)],
        target: most.map(|most| Target { column: 0, most: Some(most), least: None }),
    };
    let what = format!("{} services of {} backends in files", world.services, world.backends);
    report.tables.push(Table {
        id: "control-process",
        title: format!("`weir run`: {what}"),
        columns: vec![Column { name: "time", unit: "ms", digits: 1 }],
        rows: vec![
            row("all files at once, until the kernel has every table", all, None),
            row("one file renamed, until the kernel has the new table", change, None),
            row("the slowest of those", slowest, None),
        ],
        notes: vec!["Files are read and checked, too: their text is what takes longest.".to_owned()],
    });
    report.tables.push(Table {
        id: "control-memory",
        title: format!("Memory of `weir run`: {what}"),
        columns: vec![Column { name: "memory", unit: "MB", digits: 1 }],
        rows: vec![row("the controller", resident, Some(RESIDENT_TARGET_MB)), row("the kernel's maps", maps, None)],
        notes: vec![
            "The controller: what is resident, program text and libraries included, but for the maps that lie in its \
             address space; those are the kernel's."
                .to_owned(),
        ],
    });
    Ok(())
}
