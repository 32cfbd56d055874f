//! Pages that show figures of the last run: what is between two marks is written by the bench.
//!
//! ```text
//! <!-- bench: tables packet -->
//! …
//! <!-- /bench -->
//! ```

use anyhow::{Context as _, Result};

use crate::highlights;
use crate::report::{self, Report, Run};

const OPEN: &str = "<!-- bench: ";
const OPEN_END: &str = " -->\n";
const CLOSE: &str = "<!-- /bench -->";

/// The page with all that is between marks written anew.
///
/// # Errors
/// When a mark is not closed, or asks for what is not known.
pub(crate) fn written(page: &str, run: &Run, report: &Report) -> Result<String> {
    let mut out = String::new();
    let mut rest = page;
    while let Some((before, from)) = rest.split_once(OPEN) {
        let (asked, inside) = from.split_once(OPEN_END).with_context(|| format!("a mark \"{OPEN}\" has no end"))?;
        let (old, after) = inside.split_once(CLOSE).with_context(|| format!("\"{OPEN}{asked}\" has no \"{CLOSE}\""))?;
        anyhow::ensure!(!old.contains(OPEN), "\"{OPEN}{asked}\" has no \"{CLOSE}\" before the next mark");
        let new = block(asked, run, report)?;
        out += &format!("{before}{OPEN}{asked}{OPEN_END}{}\n{CLOSE}", new.trim_end());
        rest = after;
    }
    Ok(out + rest)
}

/// What is asked for: `machine`, `left-out`, `highlights`; `tables` and `plots`, with what their names begin with.
fn block(asked: &str, run: &Run, report: &Report) -> Result<String> {
    let mut words = asked.split(' ');
    let what = words.next().unwrap_or_default();
    let beginnings: Vec<&str> = words.collect();
    let wanted = |id: &str| beginnings.iter().any(|beginning| id.starts_with(beginning));
    let blocks: Vec<String> = match what {
        "machine" => vec![report::machine(run)],
        "left-out" => vec![report::left_out(&report.left_out)],
        "highlights" => vec![highlights::table(report)],
        "tables" => {
            let tables = report.tables.iter().filter(|table| wanted(table.id));
            tables.map(|table| format!("**{}**\n\n{}\n", table.title, report::table(table))).collect()
        }
        "plots" => {
            let plots = report.plots.iter().filter(|plot| wanted(plot.id));
            plots
                .map(|plot| format!("![{}: {} by {}](performance/{}.svg)\n", plot.title, plot.y, plot.x, plot.id))
                .collect()
        }
        _ => anyhow::bail!("\"{OPEN}{asked}\": expected machine, left-out, highlights, tables or plots"),
    };
    Ok(if blocks.is_empty() { "Not measured in the last run.".to_owned() } else { blocks.join("\n") })
}
