//! What was measured of balancers, as tables.

use std::time::Duration;

use super::Rates;
use super::balancer::Kind;
use super::load::Outcome;
use crate::report::{Column, Report, Row, Samples, Table, Target};

/// One balancer's figures of one round.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    /// Requests with a connection each, as many as there can be.
    pub(super) short: Outcome,
    /// The same on long connections.
    pub(super) long: Outcome,
    /// Requests with a connection each at a given rate, and for how long processors were busy.
    pub(super) short_paced: (Outcome, Duration),
    /// The same on long connections.
    pub(super) long_paced: (Outcome, Duration),
    /// Bytes.
    pub(super) bulk: Outcome,
}

impl Outcome {
    /// Requests answered a second.
    pub(super) fn rate(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }
}

/// What Weir's connections a second should be at least, of direct ones'.
const LEAST_RATE: f64 = 0.9;
/// What Weir's p99 should be at most, of direct ones'.
const MOST_P99: f64 = 1.05;
/// What Weir may add to a request, of what HAProxy does.
const MOST_CPU: f64 = 0.1;

/// All rounds of all balancers.
struct Measured<'a>(&'a [(Kind, Vec<Figures>)]);

impl Measured<'_> {
    fn of(&self, kind: Kind, figure: impl Fn(&Figures) -> f64) -> Option<Samples> {
        let (_, rounds) = self.0.iter().find(|(other, _)| *other == kind)?;
        Some(Samples(rounds.iter().map(figure).collect()))
    }

    /// The largest or smallest of all peers' in each round.
    fn peers(&self, figure: impl Fn(&Figures) -> f64 + Copy, fold: fn(f64, f64) -> f64) -> Option<Samples> {
        let peers = Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::Direct | Kind::Weir));
        peers
            .filter_map(|kind| self.of(kind, figure))
            .reduce(|one, other| Samples(one.0.iter().zip(&other.0).map(|(one, other)| fold(*one, *other)).collect()))
    }
}

fn ms(latency: Duration) -> f64 {
    latency.as_secs_f64() * 1e3
}

/// Microseconds of processors' time for each request, which are seconds for a million.
fn cpu((outcome, busy): &(Outcome, Duration)) -> f64 {
    busy.as_secs_f64() * 1e6 / outcome.answered.max(1) as f64
}

fn failed(figures: &Figures) -> f64 {
    let outcomes = [&figures.short, &figures.long, &figures.short_paced.0, &figures.long_paced.0, &figures.bulk];
    outcomes.iter().map(|outcome| outcome.failed as f64).sum()
}

/// Adds the tables.
pub(super) fn fill(report: &mut Report, measured: &[(Kind, Vec<Figures>)], rates: Rates) {
    let all = Measured(measured);
    let versions: Vec<String> =
        measured.iter().filter_map(|(kind, _)| Some(format!("{} {}", kind.name(), kind.version()?))).collect();
    report.tables.push(Table {
        id: "connections",
        title: "Requests a second, as many as there can be; bytes".to_owned(),
        columns: vec![
            Column { name: "a connection each", unit: "1/s", digits: 0 },
            Column { name: "over direct", unit: "×", digits: 3 },
            Column { name: "long connections", unit: "1/s", digits: 0 },
            Column { name: "over direct", unit: "×", digits: 3 },
            Column { name: "bulk", unit: "Gbit/s", digits: 2 },
            Column { name: "over direct", unit: "×", digits: 3 },
            Column { name: "failed", unit: "requests", digits: 0 },
        ],
        rows: rows(measured, |kind| {
            let pair = |figure: fn(&Figures) -> f64| {
                let own = all.of(kind, figure);
                let ratio = own.as_ref().zip(all.of(Kind::Direct, figure)).map(|(own, direct)| own.over(&direct));
                [own, ratio]
            };
            let gbits = |figures: &Figures| figures.bulk.bytes as f64 * 8e-9 / figures.bulk.elapsed.as_secs_f64();
            let mut cells = Vec::from(pair(|figures| figures.short.rate()));
            cells.extend(pair(|figures| figures.long.rate()));
            cells.extend(pair(gbits));
            cells.push(all.of(kind, failed));
            cells
        }, Target { column: 1, most: None, least: Some(LEAST_RATE) }),
        notes: vec![
            "The same clients (64 connections at once; bulk: 4) and servers in every row, on the same two processors as the \
             balancer."
                .to_owned(),
            format!("Peers: {}.", versions.join(", ")),
        ],
    });
    for (id, kind_of, rate, of) in [
        (
            "latency-short",
            "with a connection each",
            rates.short,
            (|f| &f.short_paced) as fn(&Figures) -> &(Outcome, Duration),
        ),
        ("latency-long", "on long connections", rates.long, |f| &f.long_paced),
    ] {
        report.tables.push(latency(&all, id, &format!("{rate:.0} requests a second {kind_of}"), of));
    }
    report.tables.push(against(&all));
}

fn latency(all: &Measured<'_>, id: &'static str, title: &str, of: fn(&Figures) -> &(Outcome, Duration)) -> Table {
    let quantile = |part: f64| move |figures: &Figures| ms(of(figures).0.latency.quantile(part));
    let direct_p99 = all.of(Kind::Direct, quantile(0.99));
    let direct_cpu = all.of(Kind::Direct, |figures| cpu(of(figures)));
    Table {
        id,
        title: format!("Latency and processors' time at {title}"),
        columns: vec![
            Column { name: "p50", unit: "ms", digits: 3 },
            Column { name: "p99", unit: "ms", digits: 3 },
            Column { name: "p99 over direct", unit: "×", digits: 3 },
            Column { name: "p99.9", unit: "ms", digits: 3 },
            Column { name: "processors", unit: "s/million", digits: 1 },
            Column { name: "over direct", unit: "s/million", digits: 1 },
        ],
        rows: rows(all.0, |kind| {
            let (p99, cpu) = (all.of(kind, quantile(0.99)), all.of(kind, |figures| cpu(of(figures))));
            vec![
                all.of(kind, quantile(0.5)),
                p99.clone(),
                p99.zip(direct_p99.as_ref()).map(|(own, direct)| own.over(direct)),
                all.of(kind, quantile(0.999)),
                cpu.clone(),
                cpu.zip(direct_cpu.as_ref()).map(|(own, direct)| own.less(direct)),
            ]
        }, Target { column: 2, most: Some(MOST_P99), least: None }),
        notes: vec![
            "Latency counts from when a request was due, whether or not the client was late.".to_owned(),
            "Processors' time is that of clients, servers, balancer and the kernel's threads for packets; less direct's it is \
             what the balancer adds to a request."
                .to_owned(),
        ],
    }
}

/// Weir against the best of its peers in each round.
fn against(all: &Measured<'_>) -> Table {
    let rate = |figures: &Figures| figures.short.rate();
    let p999 = |figures: &Figures| ms(figures.short_paced.0.latency.quantile(0.999));
    let added = |kind| {
        let of = |kind| all.of(kind, |figures| cpu(&figures.short_paced));
        Some(of(kind)?.less(&of(Kind::Direct)?))
    };
    let ratio = |own: Option<Samples>, other: Option<Samples>| own.zip(other).map(|(own, other)| own.over(&other));
    let row = |name: &str, cell, most, least| Row {
        name: name.to_owned(),
        cells: vec![cell],
        target: Some(Target { column: 0, most, least }),
    };
    Table {
        id: "against",
        title: "Weir against its peers, requests with a connection each".to_owned(),
        columns: vec![Column { name: "ratio", unit: "×", digits: 3 }],
        rows: vec![
            row(
                "requests a second over the best peer's",
                ratio(all.of(Kind::Weir, rate), all.peers(rate, f64::max)),
                None,
                Some(1.0),
            ),
            row(
                "p99.9 over the best peer's",
                ratio(all.of(Kind::Weir, p999), all.peers(p999, f64::min)),
                Some(1.0),
                None,
            ),
            row(
                "processors' time added, over HAProxy's",
                ratio(added(Kind::Weir), added(Kind::Haproxy)),
                Some(MOST_CPU),
                None,
            ),
        ],
        notes: vec![
            "The best peer is found anew in each round.".to_owned(),
            "Time added is a difference of two figures; below zero it is noise, and so is a ratio of it.".to_owned(),
        ],
    }
}

/// A row for every balancer; the target is Weir's.
fn rows(measured: &[(Kind, Vec<Figures>)], cells: impl Fn(Kind) -> Vec<Option<Samples>>, target: Target) -> Vec<Row> {
    let row = |kind: Kind| Row {
        name: kind.name().to_owned(),
        cells: cells(kind),
        target: (kind == Kind::Weir).then_some(target),
    };
    measured.iter().map(|(kind, _)| row(*kind)).collect()
}
