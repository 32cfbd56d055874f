//! Memory by number of services, backends and flows.

use anyhow::Result;
use weir::controller::capacity;
use weir::dataplane::Capacity;
use weir::dataplane::kernel::Object;

use super::process::{Memory, Running};
use super::world::World;
use crate::context::Context;
use crate::report::{Column, Plot, Report, Row, Samples, Table, Target};

/// What maps may take as they are made by default, in MB.
const DEFAULT_TARGET_MB: f64 = 64.0;
/// Flows that there is room for: `max_flows`.
const FLOWS: [u32; 4] = [1_024, 65_536, 131_072, 262_144];

/// Measures processes of several sizes.
pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let services = grown(&[1, 10, 100, 1_000], context, |services| World { services, backends: 10 })?;
    let backends = grown(&[1, 10, 100, 1_000], context, |backends| World { services: 10, backends })?;
    let flows = by_flows(context)?;
    let first = |curve: &[(f64, [Samples; 2])], which: usize| curve.first().map(|(_, cells)| cells[which].clone());
    report.tables.push(Table {
        id: "control-memory-default",
        title: "Memory with one service of ten backends, and maps by default".to_owned(),
        columns: vec![Column { name: "memory", unit: "MB", digits: 1 }],
        rows: vec![
            Row { name: "the controller".to_owned(), cells: vec![first(&services, 0)], target: None },
            Row {
                name: "the kernel's maps".to_owned(),
                cells: vec![first(&services, 1)],
                target: Some(Target { column: 0, most: Some(DEFAULT_TARGET_MB), least: None }),
            },
        ],
        notes: vec![],
    });
    for (id, x, curve) in [
        ("control-memory-services", "services of 10 backends", services),
        ("control-memory-backends", "backends of each of 10 services", backends),
    ] {
        let series = |name: &str, which: usize| {
            (name.to_owned(), curve.iter().map(|(at, cells)| (*at, cells[which].clone())).collect())
        };
        report.plots.push(Plot {
            id,
            title: "Memory of the controller and of the kernel's maps".to_owned(),
            x,
            y: "MB",
            log_y: false,
            series: vec![series("the controller", 0), series("the kernel's maps", 1)],
        });
    }
    report.plots.push(Plot {
        id: "control-memory-flows",
        title: "Memory of the kernel's maps".to_owned(),
        x: "flows that there is room for",
        y: "MB",
        log_y: false,
        series: vec![("the kernel's maps".to_owned(), flows)],
    });
    Ok(())
}

/// What processes take that are filled with worlds of these sizes: the controller's memory, and the maps'.
fn grown(sizes: &[u32], context: &Context, world: impl Fn(u32) -> World) -> Result<Vec<(f64, [Samples; 2])>> {
    let sizes = &sizes[..context.pick(sizes.len(), 2)];
    let measure = |size: &u32| {
        let running = Running::start(world(*size))?;
        running.fill()?;
        let memory = Memory::of(running.pid())?;
        let mb = |bytes: u64| Samples(vec![bytes as f64 / 1e6]);
        Ok((f64::from(*size), [mb(memory.resident), mb(memory.maps)]))
    };
    sizes.iter().map(measure).collect()
}

/// What the maps take that are made for so many flows.
fn by_flows(context: &Context) -> Result<Vec<(f64, Samples)>> {
    let capacity = capacity(&World { services: 1, backends: 1 }.parsed()?);
    let measure = |flows: &u32| {
        let _object = Object::load(Capacity { flows: *flows, ..capacity }, false)?;
        let memory = Memory::of(i32::try_from(std::process::id())?)?;
        Ok((f64::from(*flows), Samples(vec![memory.maps as f64 / 1e6])))
    };
    FLOWS[..context.pick(FLOWS.len(), 2)].iter().map(measure).collect()
}
