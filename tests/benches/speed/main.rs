//! Speed, measured side by side: every figure is a median of interleaved rounds, and stands beside something else that was
//! measured in the same run. `cargo xtask bench` builds and starts it; docs/performance.md says what each figure is.

mod connections;
mod context;
mod control;
mod frames;
mod gate;
mod highlights;
mod machine;
mod meter;
mod noise;
mod output;
mod packet;
mod page;
mod part;
mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use weir_tests::bench::Arguments;
use weir_tests::lab::missing_capabilities;

use context::Context;
use machine::{Build, Machine};
use noise::Listener;
use part::{GROWTH, PARTS};
use report::{Printer, Report, Run};

/// Rounds when nobody says how many: the median of an odd number was measured.
const ROUNDS: usize = 7;
/// The same of a quick run.
const QUICK_ROUNDS: usize = 3;

/// How fast Weir is, beside others and in the same run. `cargo xtask bench` builds and starts this.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Line::parse().arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (printer, machine, build) = (Printer::new(), Machine::look(), Build::look());
    let mut report = Report { left_out: arguments.left_out.clone(), ..Report::default() };
    let context = context(arguments, &machine, &mut report)?;
    if arguments.gate {
        return gate::run(&context, &machine, arguments.accept, part::GATE);
    }
    let noise = Listener::start();
    printer.head(&machine, &build, noise.before());

    let parts = PARTS.iter().filter(|part| part.is_wanted(&arguments.only));
    let parts: Vec<_> = parts.collect();
    for part in &parts {
        eprintln!("{}: {} …", part.name, part.what);
        // Another part may still be measured.
        if let Err(error) = (part.run)(&context, &mut report) {
            report.left_out.push(format!("{} ended early: {error:#}.", part.name));
        }
    }
    keep_what_is_wanted(&context, &mut report);

    let noise = noise.end();
    report.tables.iter().for_each(|table| printer.table(table));
    report.plots.iter().for_each(|plot| printer.plot(plot));
    printer.end(&noise, &report.left_out, &report.tables);

    let parts = parts.iter().map(|part| part.name.to_owned()).collect();
    let run = Run { machine, build, noise, rounds: context.rounds, quick: context.quick, parts };
    output::write(arguments, &run, &report)?;
    Ok(ExitCode::SUCCESS)
}

/// What the parts are told; what cannot be measured anyhow is left out in the report.
fn context(arguments: &Arguments, machine: &Machine, report: &mut Report) -> Result<Context> {
    let missing = missing_capabilities()?;
    if !missing.is_empty() {
        report.left_out.push(format!(
            "This process lacks {}: what loads BPF programs or makes network namespaces is left out. As root, it is not.",
            missing.join(", ")
        ));
    }
    if machine.cpus == 1 {
        report.left_out.push(
            "There is one processor: clients, servers and what is between them take turns on it, and figures of whole \
             connections say how much work there is, not how well it is shared."
                .to_owned(),
        );
    }
    let growth_alone = !arguments.only.is_empty() && arguments.only.iter().all(|part| part == GROWTH);
    let rounds = if arguments.quick { QUICK_ROUNDS } else { ROUNDS };
    Ok(Context {
        rounds: arguments.rounds.map_or(rounds, usize::from),
        quick: arguments.quick,
        tables: !growth_alone,
        growth: arguments.only.is_empty() || arguments.only.iter().any(|part| part == GROWTH),
        privileged: missing.is_empty(),
    })
}

/// A part need not ask what is wanted.
fn keep_what_is_wanted(context: &Context, report: &mut Report) {
    if !context.tables {
        report.tables.clear();
    }
    if !context.growth {
        report.plots.clear();
    }
}
