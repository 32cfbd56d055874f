//! `cargo xtask demo`: Weir at work, for a person to watch, or as figures for a program.

mod docker;
mod figures;
mod phases;
mod stage;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use weir_tests::lab;

use crate::screen::Screen;
use crate::{cargo, privileges, setup};
use figures::Figures;
use stage::Stage;

/// What a person may ask for.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Options {
    /// Write the figures, as JSON, and nothing else to standard output
    #[arg(long)]
    json: bool,
    /// Leave the lab standing, Weir and its backends running, and say how to look at it
    #[arg(long)]
    keep: bool,
    /// Show it on a host whose backends are containers, of a real Docker engine in a namespace of its own
    #[arg(long)]
    docker: bool,
}

/// `cargo xtask demo`.
pub(crate) fn run(options: &Options) -> Result<()> {
    privileges::require("demo")?;
    setup::ensure(if options.docker { setup::Scope::Containers } else { setup::Scope::Lab })?;
    // The same variable names the binary to the tests.
    let binary = match std::env::var_os("WEIR_BINARY") {
        Some(named) => PathBuf::from(named),
        None => cargo::build_release("lb-userspace", "weir")?,
    };
    // One that was left standing on purpose gives way to the next.
    lab::sweep(lab::Kept::Goes)?;
    if options.docker {
        return docker::run(options, &binary);
    }

    let started = Instant::now();
    let mut screen = Screen::new(options.json);
    let mut stage = Stage::build(&binary, &mut screen)?;
    let outcome = play(&mut stage, &mut screen);
    let figures = match outcome {
        Ok(mut figures) => {
            figures.seconds = started.elapsed().as_secs_f64();
            figures
        }
        Err(error) => bail!("{error:#}\n\nthe end of Weir's log:\n{}", stage.log_tail()),
    };
    screen.summary(&figures.marks(), figures.seconds);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    }
    if options.keep {
        stage.keep(&binary, &mut screen)?;
    }
    if !figures.passed {
        bail!("a phase missed its mark; the end of Weir's log:\n{}", figures.log_tail);
    }
    Ok(())
}

fn play(stage: &mut Stage, screen: &mut Screen) -> Result<Figures> {
    let spread = phases::spread(stage, screen)?;
    let weight = phases::weight(stage, screen)?;
    let membership = phases::membership(stage, screen)?;
    let limit = phases::limit(stage, screen)?;
    let passed = spread.mark.passed && weight.passed() && membership.passed() && limit.passed();
    let log_tail = stage.log_tail();
    Ok(Figures { passed, seconds: 0.0, spread, weight, membership, limit, log_tail })
}
