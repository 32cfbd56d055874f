//! What happened, and what broke meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use weir_tests::lab::traffic::{Break, Traffic};

use super::event::Kind;
use crate::mark::{median, milliseconds};

/// One event that has happened.
#[derive(Debug, Clone)]
pub(super) struct Happened {
    pub(super) kind: Kind,
    pub(super) at: Instant,
    pub(super) took: Duration,
    pub(super) note: String,
    pub(super) error: Option<String>,
}

/// All of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Row {
    /// How many times it happened.
    pub(crate) times: usize,
    /// How many times it could not be carried out as it was to be.
    pub(crate) failed: usize,
    /// How long it took, in milliseconds, in the middle.
    pub(crate) median_ms: f64,
    /// Long-lived TCP connections that broke between one of these and the next event.
    pub(crate) long_tcp: usize,
    /// UDP connections.
    pub(crate) udp: usize,
    /// Short TCP connections.
    pub(crate) short_tcp: usize,
}

impl Row {
    fn count(&mut self, broken: &Break) {
        *match broken.traffic {
            Traffic::LongTcp => &mut self.long_tcp,
            Traffic::Udp => &mut self.udp,
            Traffic::ShortTcp => &mut self.short_tcp,
        } += 1;
    }
}

/// The events in the order they happened.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    events: Vec<Happened>,
}

impl History {
    pub(super) fn push(&mut self, happened: Happened) {
        self.events.push(happened);
    }

    pub(super) fn events(&self) -> &[Happened] {
        &self.events
    }

    /// The last event that had begun when what broke was begun.
    fn cause_of(&self, broken: &Break) -> Option<&Happened> {
        self.events.get(self.index_of(broken)?)
    }

    fn index_of(&self, broken: &Break) -> Option<usize> {
        self.events.iter().rposition(|event| event.at <= broken.since)
    }

    /// The table: a row for each kind that happened, and one for what broke before anything had.
    pub(super) fn rows(&self, breaks: &[Break]) -> BTreeMap<String, Row> {
        let mut rows = BTreeMap::<String, Row>::new();
        let mut times = BTreeMap::<Kind, Vec<Duration>>::new();
        for event in &self.events {
            let row = rows.entry(event.kind.to_string()).or_default();
            row.times += 1;
            row.failed += usize::from(event.error.is_some());
            times.entry(event.kind).or_default().push(event.took);
        }
        for (kind, times) in times {
            rows.entry(kind.to_string()).or_default().median_ms = milliseconds(median(&times));
        }
        for broken in breaks {
            let cause = self.cause_of(broken).map_or("(before)".to_owned(), |event| event.kind.to_string());
            rows.entry(cause).or_default().count(broken);
        }
        rows
    }

    /// What broke, in words: of those that broke alike after one event the first, and how many more.
    pub(super) fn words(&self, breaks: &[Break], started: Instant) -> Vec<String> {
        let word = |broken: &Break| {
            let event = self.cause_of(broken).map_or("before any event".to_owned(), |event| {
                let since = milliseconds(broken.since.saturating_duration_since(event.at));
                format!("{since:.0} ms after {} {}", event.kind, event.note)
            });
            let at = broken.since.saturating_duration_since(started).as_secs_f64();
            let age = broken.since.saturating_duration_since(broken.opened).as_secs_f64();
            let noticed = milliseconds(broken.seen.saturating_duration_since(broken.since));
            let (backend, family) = (broken.backend.as_deref().unwrap_or("?"), if broken.v6 { "IPv6" } else { "IPv4" });
            let traffic = match broken.traffic {
                Traffic::LongTcp => "long TCP",
                Traffic::Udp => "UDP",
                Traffic::ShortTcp => "short TCP",
            };
            format!(
                "[{at:.1} s] {traffic} {family} with {backend}, {age:.1} s old: {} after {noticed:.0} ms ({}), {event}",
                broken.cause, broken.detail
            )
        };
        let mut alike = BTreeMap::<_, Vec<&Break>>::new();
        for broken in breaks {
            alike.entry((self.index_of(broken), broken.traffic, broken.cause)).or_default().push(broken);
        }
        let line = |alike: &Vec<&Break>| match &alike[..] {
            [] => String::new(),
            [one] => word(one),
            [first, more @ ..] => format!("{}; {} more alike", word(first), more.len()),
        };
        alike.values().map(line).collect()
    }
}

/// The rows as text.
pub(crate) fn table(rows: &BTreeMap<String, Row>) -> Vec<String> {
    let head = format!(
        "{:<20} {:>5} {:>6} {:>9}   {:>8} {:>5} {:>9}",
        "event", "times", "failed", "median ms", "long TCP", "UDP", "short TCP"
    );
    let line = |name: &str, row: &Row| {
        let Row { times, failed, median_ms, long_tcp, udp, short_tcp } = row;
        format!("{name:<20} {times:>5} {failed:>6} {median_ms:>9.0}   {long_tcp:>8} {udp:>5} {short_tcp:>9}")
    };
    let mut all = Row::default();
    for row in rows.values() {
        all.times += row.times;
        all.failed += row.failed;
        all.long_tcp += row.long_tcp;
        all.udp += row.udp;
        all.short_tcp += row.short_tcp;
    }
    let Row { times, failed, long_tcp, udp, short_tcp, .. } = all;
    let sum = format!("{:<20} {times:>5} {failed:>6} {:>9}   {long_tcp:>8} {udp:>5} {short_tcp:>9}", "all", "");
    let lines = rows.iter().map(|(name, row)| line(name, row));
    std::iter::once(head).chain(lines).chain([sum]).collect()
}

#[cfg(test)]
mod tests {
    use weir_tests::lab::traffic::Cause;

    use super::*;

    #[test]
    fn a_break_belongs_to_the_event_before_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let event = |kind, ms, error: Option<&str>| Happened {
            kind,
            at: at(ms),
            took: Duration::from_millis(5),
            note: String::new(),
            error: error.map(str::to_owned),
        };
        let broken = |traffic, ms| Break {
            traffic,
            v6: false,
            opened: at(0),
            since: at(ms),
            seen: at(ms + 5_000),
            backend: None,
            cause: Cause::Silence,
            detail: String::new(),
        };
        let mut history = History::default();
        history.push(event(Kind::Drain, 100, None));
        history.push(event(Kind::Kill, 200, Some("no")));
        let breaks = [broken(Traffic::Udp, 50), broken(Traffic::LongTcp, 150), broken(Traffic::LongTcp, 1_000)];
        let rows = history.rows(&breaks);
        assert_eq!((rows["(before)"].udp, rows["drain"].long_tcp, rows["kill"].long_tcp), (1, 1, 1));
        assert_eq!((rows["drain"].failed, rows["kill"].failed, rows["kill"].median_ms), (0, 1, 5.0));
        assert_eq!(table(&rows).len(), 5);
        let words = history.words(&[&breaks[..], &breaks[2..]].concat(), start);
        assert!(words[1].contains("50 ms after drain") && words[2].ends_with("; 1 more alike"), "{words:?}");
        assert_eq!(words.len(), 3);
    }
}
