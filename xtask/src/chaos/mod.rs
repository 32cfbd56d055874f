//! `cargo xtask chaos`: connections that last, while everything around them changes, stops and crashes.

mod act;
mod churn;
mod config;
mod crowd;
mod drain;
mod event;
mod figures;
mod flood;
mod history;
mod load;
mod roster;
mod rounds;
mod settling;
mod stage;
mod stream;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::mark::Mark;
use crate::screen::Screen;
use crate::{cargo, privileges, setup};
use churn::Churn;
use crowd::Fleets;
use event::Kind;
use figures::Figures;
use stage::Stage;

/// What makes the other program (lb-userspace/build.rs).
const OTHER_PROGRAM: (&str, &str) = ("WEIR_BPF_ANOTHER", "1");
/// What broke is shown up to so many lines; the JSON file has all.
const SHOWN: usize = 20;

/// What a person may ask for.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How long things change, in seconds; calm in between and the other parts come on top
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: u64,
    /// Long-lived TCP connections; a quarter as many UDP ones come on top
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(8..=20_000))]
    connections: u64,
    /// What the random choices come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// SYNs of the flood
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1_000..=5_000_000))]
    flood: u64,
    /// Write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Events of these kinds alone
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    only: Vec<Kind>,
    /// These parts alone
    #[arg(long, value_delimiter = ',', value_name = "PART", default_value = "churn,flood,drain,stream")]
    parts: Vec<Part>,
    /// The weir to upgrade to and back from, with another BPF program; built when not named
    #[arg(long, value_name = "PATH")]
    other_binary: Option<PathBuf>,
}

/// A part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Lines 1 to 3: calm and churn in turn, and how slots settle afterwards
    Churn,
    /// Line 4: a SYN flood
    Flood,
    /// Line 5: weir drain --wait
    Drain,
    /// Line 6: a stream of packets through restart, upgrade and crash
    Stream,
}

/// `cargo xtask chaos`.
pub(crate) fn run(options: &Options) -> Result<()> {
    privileges::require("chaos")?;
    setup::ensure(setup::Scope::Lab)?;
    if cfg!(debug_assertions) {
        return Err(optimised()?);
    }
    // The same variable names the binary to the tests.
    let binary = match std::env::var_os("WEIR_BINARY") {
        Some(named) => PathBuf::from(named),
        None => cargo::build_release("lb-userspace", "weir")?,
    };
    let other = match &options.other_binary {
        Some(named) => named.clone(),
        None => cargo::build_release_with("lb-userspace", "weir", OTHER_PROGRAM)?,
    };

    let (started, mut screen) = (Instant::now(), Screen::new(false));
    screen.heading(&format!("The stage, seed {}", options.seed));
    let mut stage = Stage::build(absolute(&binary)?, absolute(&other)?)?;
    let played = play(options, &mut stage, &mut screen, started);
    let figures = match played {
        Ok(figures) => figures,
        Err(error) => bail!("{error:#}\n\nthe end of Weir's log:\n{}", stage.log_tail()),
    };
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !figures.passed {
        bail!("a mark was missed; the end of Weir's log:\n{}", stage.log_tail());
    }
    Ok(())
}

/// Goes on as the same program, optimised: thousands of connections leave the processors to Weir then. Returns why it
/// cannot.
fn optimised() -> Result<anyhow::Error> {
    let program = cargo::build_release("xtask", "xtask")?;
    let error = std::process::Command::new(&program).args(std::env::args_os().skip(1)).exec();
    Ok(anyhow::Error::new(error).context(format!("cannot run {}", program.display())))
}

/// Weir runs in the lab's directory.
fn absolute(binary: &Path) -> Result<PathBuf> {
    std::path::absolute(binary).with_context(|| format!("cannot tell where {} is", binary.display()))
}

fn play(options: &Options, stage: &mut Stage, screen: &mut Screen, started: Instant) -> Result<Figures> {
    let mut figures = Figures { seed: options.seed, ..Figures::default() };
    let has = |part| options.parts.contains(&part);
    let connections = usize::try_from(options.connections)?;
    let open = |stage: &Stage| Fleets::open(stage, connections, connections / 4, options.seed);

    let mut fleets = None;
    if has(Part::Churn) {
        screen.line(&format!("{connections} TCP and {} UDP connections open", connections / 4));
        fleets = Some(churned(options, stage, screen, &mut figures, open(stage)?, started, &open)?);
    }
    if has(Part::Flood) {
        let fleets = match &fleets {
            Some(fleets) => fleets,
            None => fleets.insert(open(stage)?),
        };
        let (flooded, mark) = flood::flood(stage, fleets, options.flood, options.seed, screen)?;
        figures.flooded = Some(flooded);
        figures.marks.push(mark);
    }
    if let Some(fleets) = fleets {
        fleets.close()?;
    }
    if has(Part::Drain) {
        let (drained, mark) = drain::drain(stage, screen)?;
        figures.drained = drained;
        figures.marks.push(mark);
    }
    if has(Part::Stream) {
        let (streamed, marks) = stream::stream(stage, screen)?;
        figures.streamed = streamed;
        figures.marks.extend(marks);
    }

    figures.seconds = started.elapsed().as_secs_f64();
    figures.passed = figures.marks.iter().all(|mark| mark.passed);
    screen.summary(&figures.marks.iter().collect::<Vec<_>>(), figures.seconds);
    Ok(figures)
}

/// Lines 1 to 3. Returns the long-lived connections, opened anew.
fn churned(
    options: &Options,
    stage: &mut Stage,
    screen: &mut Screen,
    figures: &mut Figures,
    fleets: Fleets,
    started: Instant,
    open: &impl Fn(&Stage) -> Result<Fleets>,
) -> Result<Fleets> {
    let time = Duration::from_secs(options.seconds);
    let short = crowd::visitors(stage);
    let mut churn = Churn::new(&options.only, options.seed, started);
    let rounds = rounds::play(stage, &fleets, &short, &mut churn, time, screen)?;
    let (settled, settling, fleets) = settling::settle(stage, fleets, &short, open, screen)?;

    let (breaks, excused) = (stage.ledger.breaks(), stage.ledger.excused());
    figures.events = churn.history.rows(&breaks);
    figures.broken = churn.history.words(&breaks, started);
    let failed = |event: &history::Happened| Some(format!("{} {}: {}", event.kind, event.note, event.error.as_ref()?));
    figures.failed = churn.history.events().iter().filter_map(failed).collect();
    screen.heading("What broke, by event");
    history::table(&figures.events).iter().for_each(|line| screen.line(line));
    for lines in [&figures.failed, &figures.broken] {
        lines.iter().take(SHOWN).for_each(|line| screen.line(line));
        if lines.len() > SHOWN {
            screen.line(&format!("and {} more", lines.len() - SHOWN));
        }
    }
    let events = churn.history.events().len();
    figures.marks.push(rounds::unbroken(&rounds, &breaks, excused, events, time));
    figures.marks.push(Mark {
        what: "1  events",
        found: format!("{} of {events} could not be carried out", figures.failed.len()),
        wanted: "none".to_owned(),
        passed: figures.failed.is_empty() && events > 0,
    });
    figures.marks.push(rounds::latency(&rounds));
    figures.marks.extend(settling);
    (figures.rounds, figures.settled) = (Some(rounds), Some(settled));
    Ok(fleets)
}
