//! `cargo xtask demo --docker`: Weir on a host whose backends are containers of a real engine.

mod figures;
mod phases;
mod stage;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

use super::Options;
use crate::cargo;
use crate::screen::Screen;
use figures::Figures;
use stage::Stage;

/// The whole demonstration, with this `weir`.
pub(super) fn run(options: &Options, binary: &Path) -> Result<()> {
    let server = cargo::build_release("weir-tests", "lab-server")?;
    let started = Instant::now();
    let mut screen = Screen::new(options.json);
    let stage = Stage::build(binary, &server, &mut screen)?;
    let figures = match play(&stage, &mut screen) {
        Ok(figures) => Figures { seconds: started.elapsed().as_secs_f64(), ..figures },
        Err(error) => bail!("{error:#}\n\nthe end of Weir's log:\n{}", stage.log_tail()),
    };
    screen.summary(&figures.marks(), figures.seconds);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    }
    let log_tail = stage.log_tail();
    if options.keep {
        stage.keep(binary, &mut screen)?;
    }
    if !figures.passed {
        bail!("a phase missed its mark; the end of Weir's log:\n{log_tail}");
    }
    Ok(())
}

fn play(stage: &Stage, screen: &mut Screen) -> Result<Figures> {
    let start = phases::start(stage, screen)?;
    let spread = phases::spread(stage, screen)?;
    let scale = phases::scale(stage, screen)?;
    let killed = phases::killed(stage, screen)?;
    let passed = [&start.mark, &spread.mark, &scale.mark, &killed.mark].iter().all(|mark| mark.passed);
    Ok(Figures { passed, seconds: 0.0, start, spread, scale, killed })
}
