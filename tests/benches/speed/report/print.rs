//! The report on a terminal, or in a log.

use std::io::{IsTerminal, Write};

use super::number::shown;
use super::{Column, Plot, Row, Samples, Table};
use crate::machine::{Build, Machine};
use crate::noise::{Noise, Sample};

const GREY: &str = "90";
const GREEN: &str = "32";
const RED: &str = "31";
const BOLD: &str = "1";

/// Writes to standard output.
#[derive(Debug)]
pub(crate) struct Printer {
    coloured: bool,
}

/// A piece of a line: text, and its colour (SGR, ECMA-48 8.3.117).
type Piece = (String, Option<&'static str>);

impl Printer {
    /// Colours on a terminal, none elsewhere.
    pub(crate) fn new() -> Self {
        Self { coloured: std::io::stdout().is_terminal() }
    }

    /// What the run is on, and how noisy that was just now.
    pub(crate) fn head(&self, machine: &Machine, build: &Build, before: &Sample) {
        let lines = facts(machine, build);
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in lines.iter().chain([&("noise", noise_before(before))]) {
            self.line(&[(format!("{name:<width$}  "), Some(GREY)), (value.clone(), None)]);
        }
    }

    /// What comes next.
    pub(crate) fn heading(&self, text: &str) {
        self.line(&[]);
        self.line(&[(text.to_owned(), Some(BOLD))]);
    }

    /// A sentence.
    pub(crate) fn sentence(&self, text: &str) {
        self.line(&[(format!("  {text}"), Some(GREY))]);
    }

    /// Rows under heads, all of them as they are: the first column to the left, the others to the right, the last behind.
    pub(crate) fn columns<const N: usize>(&self, rows: &[[String; N]]) {
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: [usize; N] = std::array::from_fn(width);
        for (number, row) in rows.iter().enumerate() {
            let cell = |(column, text): (usize, &String)| {
                let width = widths[column];
                let text =
                    if (1..N - 1).contains(&column) { format!("{text:>width$}") } else { format!("{text:<width$}") };
                (format!("  {text}"), (number == 0).then_some(GREY))
            };
            self.line(&row.iter().enumerate().map(cell).collect::<Vec<_>>());
        }
    }

    /// One table.
    pub(crate) fn table(&self, table: &Table) {
        self.heading(&format!("{} ({})", table.title, table.id));
        let mut lines = vec![heads(table)];
        lines.extend(table.rows.iter().map(|row| cells(row, &table.columns, table.has_targets())));
        let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let texts = lines.iter().filter_map(|line| line.get(column));
            texts.map(|(text, _)| text.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for line in lines {
            let padded = line.into_iter().zip(&widths).enumerate().map(|(column, ((text, colour), width))| {
                // Medians stand to the right, all else to the left.
                let right = column % 2 == 1 && column <= 2 * table.columns.len();
                let gap = if column % 2 == 1 { "  " } else { " " };
                let text = if right { format!("{text:>width$}") } else { format!("{text:<width$}") };
                (format!("{gap}{text}"), colour)
            });
            self.line(&padded.collect::<Vec<_>>());
        }
        table.notes.iter().for_each(|note| self.sentence(note));
    }

    /// A curve, as the figures of its points.
    pub(crate) fn plot(&self, plot: &Plot) {
        self.heading(&format!("{} ({})", plot.title, plot.id));
        self.sentence(&format!("{}, against {}", plot.y, plot.x));
        for (name, points) in &plot.series {
            let points: Vec<String> = points
                .iter()
                .map(|(x, samples)| format!("{}: {}", super::number::short(*x), significant(samples.median())))
                .collect();
            self.line(&[(format!("  {name}  "), None), (points.join("   "), Some(GREY))]);
        }
    }

    /// What is said last.
    pub(crate) fn end(&self, noise: &Noise, left_out: &[String], tables: &[Table]) {
        if !left_out.is_empty() {
            self.heading("Left out");
            left_out.iter().for_each(|sentence| self.sentence(sentence));
        }
        self.heading("Summary");
        self.sentence(&noise_after(noise));
        let rows = tables.iter().flat_map(|table| table.rows.iter().map(move |row| (table, row)));
        let held: Vec<_> = rows.filter_map(|(table, row)| Some((table, row, row.met()?))).collect();
        let missed: Vec<_> = held.iter().filter(|(_, _, met)| !met).collect();
        if !held.is_empty() {
            self.sentence(&format!("{} of {} targets are met", held.len() - missed.len(), held.len()));
        }
        for (table, row, _) in missed {
            let text = format!("  missed: {}: {}", table.id, row.name);
            self.line(&[(text, Some(RED))]);
        }
    }

    /// A reader that went away is no reason to stop measuring.
    fn line(&self, pieces: &[Piece]) {
        let mut text = String::new();
        for (piece, colour) in pieces {
            match colour.filter(|_| self.coloured) {
                Some(code) => text += &format!("\x1b[{code}m{piece}\x1b[0m"),
                None => text += piece,
            }
        }
        let mut out = std::io::stdout().lock();
        drop(writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()));
    }
}

fn heads(table: &Table) -> Vec<Piece> {
    let mut line = vec![(String::new(), None)];
    for column in &table.columns {
        line.extend([(column.head(), Some(GREY)), ("(min..max)".to_owned(), Some(GREY))]);
    }
    if table.has_targets() {
        line.extend([("target".to_owned(), Some(GREY)), (String::new(), None)]);
    }
    line
}

fn cells(row: &Row, columns: &[Column], targets: bool) -> Vec<Piece> {
    let mut line = vec![(row.name.clone(), None)];
    for (index, column) in columns.iter().enumerate() {
        let samples = row.cells.get(index).and_then(Option::as_ref);
        let (median, spread) = samples.map_or_else(Default::default, |samples| figures(samples, column.digits));
        line.extend([(median, None), (spread, Some(GREY))]);
    }
    if let (true, Some(target), Some(met)) = (targets, row.target, row.met()) {
        let of = if columns.len() > 1 { columns[target.column].name } else { "" };
        let target = format!("{of} {}", target.shown());
        line.push((target.trim().to_owned(), Some(GREY)));
        line.push(if met { ("met".to_owned(), Some(GREEN)) } else { ("missed".to_owned(), Some(RED)) });
    }
    line
}

/// The median, and minimum and maximum in parentheses.
pub(super) fn figures(samples: &Samples, digits: usize) -> (String, String) {
    let (min, max) = (shown(samples.min(), digits), shown(samples.max(), digits));
    (shown(samples.median(), digits), format!("({min}..{max})"))
}

/// Three digits that count.
fn significant(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    shown(value, digits)
}

/// What is known of machine and build, by names.
pub(super) fn facts(machine: &Machine, build: &Build) -> Vec<(&'static str, String)> {
    let Machine { cpu, cpus, memory_mib, kernel, hypervisor, governor, bpf_jit, mitigations } = machine;
    let Build { commit, profile, bpf_toolchain, at } = build;
    let mitigations = if mitigations.is_empty() { "none needed".to_owned() } else { mitigations.join("; ") };
    let cores = if *cpus == 1 { "1 core".to_owned() } else { format!("{cpus} cores") };
    vec![
        ("machine", format!("{cpu}, {cores}, {} MiB, {hypervisor}", shown(*memory_mib as f64, 0))),
        ("kernel", format!("{kernel}; BPF's compiler {bpf_jit}; frequency: {governor}")),
        ("mitigations", mitigations),
        ("commit", format!("{commit}, {profile} profile, BPF by {bpf_toolchain}, {at}")),
    ]
}

fn noise_before(before: &Sample) -> String {
    let Sample { spin_p50_us, spin_p99_us, load } = before;
    let (p50, p99) = (shown(*spin_p50_us, 0), shown(*spin_p99_us, 0));
    let spread = shown(100.0 * before.spread(), 1);
    format!("a fixed piece of work takes {p50} µs, {p99} µs at p99 (+{spread} %); load {}", shown(*load, 2))
}

/// How noisy a whole run was, in a sentence.
pub(super) fn noise_after(noise: &Noise) -> String {
    let Noise { before, after, stolen_ms, seconds } = noise;
    let spread = |sample: &Sample| shown(100.0 * sample.spread(), 1);
    format!(
        "noise: the same piece of work took {} µs (p99 +{} %) before and {} µs (p99 +{} %) after; load {} and {}; \
         {} ms were stolen by the hypervisor in {} s",
        shown(before.spin_p50_us, 0),
        spread(before),
        shown(after.spin_p50_us, 0),
        spread(after),
        shown(before.load, 2),
        shown(after.load, 2),
        shown(*stolen_ms as f64, 0),
        shown(*seconds, 0),
    )
}
