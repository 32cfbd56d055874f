//! The few figures that the README shows.

use crate::report::number::shown;
use crate::report::{Report, Samples};

/// One of them.
struct Highlight {
    /// What it is.
    what: &'static str,
    /// Where it is: a table, a row, a column from 0.
    at: (&'static str, &'static str, usize),
    /// Its text, of the median.
    text: fn(f64) -> String,
    /// What to compare it with.
    beside: &'static str,
}

const HIGHLIGHTS: [Highlight; 5] = [
    Highlight {
        what: "a packet of the one TCP connection there is (IPv4, `ipip`)",
        at: ("packet", "established TCP, v4, ipip, 1 flow", 0),
        text: nanoseconds,
        beside: "Katran 98 ns",
    },
    Highlight {
        what: "a packet of one of a million TCP connections",
        at: ("packet", "established TCP, v4, ipip, 1 M flows", 0),
        text: nanoseconds,
        beside: "Katran 316 ns",
    },
    Highlight {
        what: "packets a second through veth",
        at: ("frames", "v4, ipip, 1 flow", 2),
        text: percent,
        beside: "of a bare program that only sends back",
    },
    Highlight {
        what: "requests a second, with a connection each",
        at: ("connections", "Weir", 1),
        text: percent,
        beside: "of clients that talk to the servers directly",
    },
    Highlight {
        what: "100,000 backends of 1,000 services, from nothing into the kernel",
        at: ("control-apply", "1000 services of 100 backends", 0),
        text: milliseconds,
        beside: "",
    },
];

/// All of them, as Markdown.
pub(crate) fn table(report: &Report) -> String {
    let mut lines = vec!["| | | |".to_owned(), "|---|---:|---|".to_owned()];
    for Highlight { what, at, text, beside } in &HIGHLIGHTS {
        let figure = find(report, *at).map_or_else(|| "–".to_owned(), |samples| text(samples.median()));
        lines.push(format!("| {what} | **{figure}** | {beside} |"));
    }
    lines.join("\n")
}

fn find<'a>(report: &'a Report, (table, row, column): (&str, &str, usize)) -> Option<&'a Samples> {
    let table = report.tables.iter().find(|candidate| candidate.id == table)?;
    let row = table.rows.iter().find(|candidate| candidate.name == row)?;
    row.cells.get(column)?.as_ref()
}

fn nanoseconds(value: f64) -> String {
    format!("{} ns", shown(value, 0))
}

fn milliseconds(value: f64) -> String {
    format!("{} ms", shown(value, 0))
}

fn percent(value: f64) -> String {
    format!("{} %", shown(100.0 * value, 0))
}
