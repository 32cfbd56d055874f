//! From what a registry said to the kernel's maps: everything at once, and one change among it.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use weir::controller::{Controller, Registries, capacity};
use weir::dataplane::kernel::{Kernel, Object};
use weir::source::{Report as Said, Snapshot, Update};

use super::world::{REGISTRY, World};
use crate::context::Context;
use crate::report::{Column, Plot, Report, Row, Samples, Table, Target};

/// Services, of a hundred backends each.
const SERVICES: [u32; 4] = [1, 10, 100, 1_000];
/// How long everything may take for the last of them, in milliseconds.
const ALL_TARGET_MS: f64 = 1_000.0;
/// How long a change among it may take, in milliseconds.
const CHANGE_TARGET_MS: f64 = 5.0;
/// How many changes are made in a round: backends come and go.
const CHANGES: u32 = 20;

/// What is measured of one size, in milliseconds.
#[derive(Debug, Default)]
struct Cells {
    all: Samples,
    all_cpu: Samples,
    change: Samples,
    change_cpu: Samples,
    slowest: Samples,
}

/// Measures a controller on the kernel's maps; no program runs.
pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let sizes: Vec<u32> = SERVICES.into_iter().filter(|services| *services <= context.pick(1_000, 100)).collect();
    let mut cells: BTreeMap<u32, Cells> = BTreeMap::new();
    for _ in 0..context.rounds {
        for &services in &sizes {
            let cells = cells.entry(services).or_default();
            measure(World::of(services), cells)?;
        }
    }
    let row = |(&services, cells): (&u32, &Cells)| Row {
        name: format!("{services} services of 100 backends"),
        cells: [&cells.all, &cells.all_cpu, &cells.change, &cells.change_cpu, &cells.slowest]
            .map(|cell| Some(cell.clone()))
            .to_vec(),
        target: (services == 1_000).then_some(Target { column: 0, most: Some(ALL_TARGET_MS), least: None }),
    };
    let mut rows: Vec<Row> = cells.iter().map(row).collect();
    if let Some(largest) = cells.get(&1_000) {
        rows.push(Row {
            name: "of those, one change".to_owned(),
            cells: vec![
                None,
                None,
                Some(largest.change.clone()),
                Some(largest.change_cpu.clone()),
                Some(largest.slowest.clone()),
            ],
            target: Some(Target { column: 2, most: Some(CHANGE_TARGET_MS), least: None }),
        });
    }
    report.tables.push(Table {
        id: "control-apply",
        title: "From a registry's answer to the kernel's maps".to_owned(),
        columns: vec![
            Column { name: "from nothing", unit: "ms", digits: 1 },
            Column { name: "on a CPU", unit: "ms", digits: 1 },
            Column { name: "one change", unit: "ms", digits: 2 },
            Column { name: "on a CPU", unit: "ms", digits: 2 },
            Column { name: "the slowest", unit: "ms", digits: 2 },
        ],
        rows,
        notes: vec![
            "From nothing: the first answer of a registry, with everything in it; merged, planned and written."
                .to_owned(),
            format!("One change: a backend of one service comes or goes; the median of {CHANGES}, and the slowest."),
            "On a CPU: the part of that time in which nothing else of the machine had it.".to_owned(),
        ],
    });
    let curve = |name: &str, cell: fn(&Cells) -> &Samples| {
        let points = cells.iter().map(|(services, cells)| (f64::from(*services), cell(cells).clone())).collect();
        (name.to_owned(), points)
    };
    report.plots.push(Plot {
        id: "control-apply",
        title: "From a registry's answer to the kernel's maps".to_owned(),
        x: "services of 100 backends",
        y: "ms",
        log_y: true,
        series: vec![curve("from nothing", |cells| &cells.all), curve("one change", |cells| &cells.change)],
    });
    Ok(())
}

fn measure(world: World, cells: &mut Cells) -> Result<()> {
    let config = world.parsed()?;
    let capacity = capacity(&config);
    let mut object = Object::load(capacity, false)?;
    let kernel = Kernel::new(&mut object, capacity)?.with_new_maps();
    let mut registries = Registries::default();
    registries.expect(REGISTRY, "the bench's".to_owned());
    let mut controller = Controller::new(config, kernel, registries, Instant::now());
    let mut snapshot = world.snapshot();

    let (all, cpu) = hear(&mut controller, &snapshot)?;
    cells.all.0.push(all);
    cells.all_cpu.0.push(cpu);
    ensure!(controller.status(vec![], vec![], Instant::now()).problems.is_empty(), "not everything was taken");

    let (mut changes, mut cpus) = (Samples::default(), Samples::default());
    for change in 0..CHANGES {
        // Neighbours in the tables are not neighbours in time.
        let service = change / 2 * 7_919 % world.services;
        snapshot.insert(World::name(service), world.endpoints(service, 1 - change % 2).into());
        let (change, cpu) = hear(&mut controller, &snapshot)?;
        changes.0.push(change);
        cpus.0.push(cpu);
    }
    cells.change.0.push(changes.median());
    cells.change_cpu.0.push(cpus.median());
    cells.slowest.0.push(changes.max());
    Ok(())
}

/// How long it takes a controller to act on an answer, and how much of that it had a CPU, in milliseconds.
fn hear(controller: &mut Controller<Kernel>, snapshot: &Snapshot) -> Result<(f64, f64)> {
    let update = Update { registry: REGISTRY.into(), report: Said::Snapshot(snapshot.clone()) };
    let (began, cpu) = (Instant::now(), on_cpu_ms()?);
    controller.hear([update], began);
    Ok((began.elapsed().as_secs_f64() * 1e3, on_cpu_ms()? - cpu))
}

/// How long this thread has had a CPU, in milliseconds (proc_pid_schedstat(5)).
fn on_cpu_ms() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns: f64 = stat.split_whitespace().next().context("/proc/thread-self/schedstat is empty")?.parse()?;
    Ok(ns / 1e6)
}
