//! What a run leaves in files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use weir_tests::bench::Arguments;

use crate::page;
use crate::report::{self, Report, Run};

/// The pages with marks, from the workspace's root.
const PAGES: [&str; 2] = ["docs/performance.md", "README.md"];
/// What the first of them shows.
const SHOWN: &str = "docs/performance";

/// Writes what was asked for.
pub(crate) fn write(arguments: &Arguments, run: &Run, report: &Report) -> Result<()> {
    let directory = arguments.directory.clone().unwrap_or_default();
    if let Some(file) = &arguments.json {
        write_json(&directory.join(file), run, report)?;
    }
    if let Some(plots) = &arguments.plot {
        write_plots(&directory.join(plots), report)?;
    }
    if arguments.docs { write_docs(run, report) } else { Ok(()) }
}

fn write_docs(run: &Run, report: &Report) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests/ is in the workspace")?;
    let shown = root.join(SHOWN);
    // Curves that are no more are not shown, either.
    for old in svgs_in(&shown) {
        std::fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    write_plots(&shown, report)?;
    write_json(&shown.join("last.json"), run, report)?;
    for page in PAGES {
        let file = root.join(page);
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {page}"))?;
        write_file(&file, &page::written(&text, run, report).with_context(|| format!("in {page}"))?)?;
    }
    Ok(())
}

fn svgs_in(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "svg")).collect()
}

fn write_json(file: &Path, run: &Run, report: &Report) -> Result<()> {
    let text = serde_json::to_string_pretty(&report::json(run, report))? + "\n";
    write_file(file, &text)
}

fn write_plots(directory: &Path, report: &Report) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    report
        .plots
        .iter()
        .try_for_each(|plot| write_file(&directory.join(plot.id).with_extension("svg"), &report::svg(plot)))
}

fn write_file(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("wrote {}", file.display());
    Ok(())
}
