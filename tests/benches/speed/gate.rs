//! `--gate`: a few cells of `packet`, held to the figures in gate.toml.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use weir_tests::bench::{Figures, Held, Measured};

use crate::context::Context;
use crate::machine::Machine;
use crate::report::{Printer, Table, number};

/// The columns of `packet` that the gate divides: nanoseconds a packet, and the floor's.
const OWN: &str = "in all";
const FLOOR: &str = "floor";

/// Measures cells: those of these names, or all that the gate holds when there are none.
pub(crate) type Measure = fn(&Context, &[String]) -> Result<Table>;

/// Holds the cells to the committed figures, or accepts what they take.
pub(crate) fn run(context: &Context, machine: &Machine, accept: bool, measure: Option<Measure>) -> Result<ExitCode> {
    ensure!(context.privileged, "the gate loads BPF programs, which this process may not: run it as root");
    let measure = measure.context("this bench has no cells for a gate")?;
    let file = file();
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let figures = Figures::parse(&text).with_context(|| format!("in {}", file.display()))?;
    if accept {
        let accepted = figures.accepting(&machine.cpu, |names| cells(measure(context, names)?))?;
        std::fs::write(&file, accepted.text()).with_context(|| format!("cannot write {}", file.display()))?;
        println!("wrote {}: commit it, and say in the commit why the figures are what they are", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let held = figures.hold(|names| cells(measure(context, names)?))?;
    Ok(verdict(&figures, machine, &held))
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/speed/gate.toml")
}

/// The quickest rounds of a table.
fn cells(table: Table) -> Result<Vec<Measured>> {
    let at = |name| {
        let found = table.columns.iter().position(|column| column.name == name);
        found.with_context(|| format!("the table {} has no column \"{name}\"", table.id))
    };
    let (own, floor) = (at(OWN)?, at(FLOOR)?);
    let cell = |row: &crate::report::Row| {
        let quickest = |column: usize| Some(row.cells.get(column)?.as_ref()?.min());
        let (own_ns, floor_ns) =
            quickest(own).zip(quickest(floor)).with_context(|| format!("{} has no figure", row.name))?;
        Ok(Measured { name: row.name.clone(), own_ns, floor_ns })
    };
    table.rows.iter().map(cell).collect()
}

/// Prints the cells, and what to do about those that do not pass.
fn verdict(figures: &Figures, machine: &Machine, held: &[Held]) -> ExitCode {
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| number::shown(value, 2));
    let head = ["cell", "committed", "measured", "allowed", "factor", ""].map(str::to_owned);
    let rows = held.iter().map(|cell| {
        let said = cell.breach().unwrap_or("passes").to_owned();
        [
            cell.name.clone(),
            shown(cell.committed),
            shown(cell.measured),
            shown(cell.allowed),
            shown(cell.factor()),
            said,
        ]
    });
    let printer = Printer::new();
    printer.heading("The gate: nanoseconds a packet, as ratios to the floor");
    printer.columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    if figures.processor != machine.cpu {
        printer.sentence(&format!("The figures were accepted on {}; this is {}.", figures.processor, machine.cpu));
    }
    let breaches = held.iter().filter(|cell| cell.breach().is_some()).count();
    if breaches == 0 {
        printer.sentence("Every cell passes.");
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "error: {breaches} of {} cells do not pass the gate. If that is meant, `cargo xtask bench --gate --accept` makes \
         what is measured the figures of tests/benches/speed/gate.toml: commit that file with what made them so",
        held.len()
    );
    ExitCode::FAILURE
}
