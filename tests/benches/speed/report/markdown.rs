//! The report as Markdown, for docs/performance.md.

use super::print::{facts, figures, noise_after};
use super::{Run, Table};

/// One table, with its notes.
pub(crate) fn table(table: &Table) -> String {
    let mut heads = vec![String::new()];
    heads.extend(table.columns.iter().map(super::Column::head));
    if table.has_targets() {
        heads.extend(["target".to_owned(), String::new()]);
    }
    // Names to the left, figures to the right.
    let rules = (0..heads.len()).map(|column| if (1..=table.columns.len()).contains(&column) { "---:" } else { "---" });
    let mut lines = vec![line(&heads), line(&rules.collect::<Vec<_>>())];
    for row in &table.rows {
        let mut cells = vec![row.name.clone()];
        for (index, column) in table.columns.iter().enumerate() {
            let samples = row.cells.get(index).and_then(Option::as_ref);
            cells.push(samples.map_or_else(String::new, |samples| {
                let (median, spread) = figures(samples, column.digits);
                format!("**{median}** {spread}")
            }));
        }
        if let (Some(target), Some(met)) = (row.target, row.met()) {
            let of = if table.columns.len() > 1 { table.columns[target.column].name } else { "" };
            cells.push(format!("{of} {}", target.shown()).trim().to_owned());
            cells.push(if met { "met" } else { "**missed**" }.to_owned());
        } else if table.has_targets() {
            cells.extend([String::new(), String::new()]);
        }
        lines.push(line(&cells));
    }
    let notes = table.notes.iter().map(|note| format!("\n{note}"));
    lines.into_iter().chain(notes).collect::<Vec<_>>().join("\n")
}

/// What was run, and where.
pub(crate) fn machine(run: &Run) -> String {
    let mut lines = vec![line(&["", ""]), line(&["---", "---"])];
    lines.extend(facts(&run.machine, &run.build).into_iter().map(|(name, value)| line(&[name.to_owned(), value])));
    let noise = noise_after(&run.noise);
    lines.push(line(&["noise", noise.trim_start_matches("noise: ")]));
    lines.push(line(&["rounds".to_owned(), format!("{}, interleaved; median (minimum..maximum)", run.rounds)]));
    lines.join("\n")
}

/// What could not be measured.
pub(crate) fn left_out(sentences: &[String]) -> String {
    match sentences {
        [] => "Nothing was left out.".to_owned(),
        sentences => sentences.iter().map(|sentence| format!("- {sentence}")).collect::<Vec<_>>().join("\n"),
    }
}

fn line<T: AsRef<str>>(cells: &[T]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.as_ref().replace('|', "\\|")).collect();
    format!("| {} |", cells.join(" | "))
}
