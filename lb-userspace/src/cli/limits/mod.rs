//! `weir limits`.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::table::{Side, table};
use super::{Format, Output, Socket, print};
use crate::api::types::{LimitOrder, LimitRow, LimitsOf, MAX_TOP_S, TopOf, TopRow};
use crate::config::{Rate, Unit};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Only this service's
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Also how many buckets became somebody else's
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show the sources that press hardest on the limits of a service
    Top(Top),
    /// Change one limit at once, until the service's limits change in the configuration or Weir ends
    Set(Set),
    /// Have the limits of a service as they are configured
    Unset(Unset),
}

/// Whether it is shown again and again.
#[derive(Debug, clap::Args)]
struct Live {
    /// Show it anew every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Top {
    /// The service
    service: String,
    /// For how many seconds to watch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// How many sources to show
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    count: u64,
    /// Show it anew as often as it is known, until Ctrl-C
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, clap::Args)]
struct Set {
    /// The service
    service: String,
    /// Which limit, where there are several: what has a bucket of its own
    #[arg(long, value_name = "WHAT", value_parser = ["service", "source", "source-prefix", "backend"])]
    per: Option<String>,
    /// Which limit, where there are several: what it counts
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// Which limit, where there are several: whose packets it counts
    #[arg(long, value_name = "WAY", value_parser = ["in", "out"])]
    direction: Option<String>,
    /// Its rate from now on: a number and its unit, such as "50 Mbit/s", or a number alone
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// How many units may come at once, in bytes where the rate is in bits
    #[arg(long, value_name = "N", conflicts_with = "strict")]
    burst: Option<u64>,
    /// No burst: packets are spaced evenly
    #[arg(long)]
    strict: bool,
    /// What becomes of packets that are over it
    #[arg(long, value_name = "WHAT", value_parser = ["drop", "mark", "count", "delay"])]
    over: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, clap::Args)]
struct Unset {
    /// The service
    service: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        match self.verb {
            Some(Verb::Top(top)) => return top.execute().await,
            Some(Verb::Set(set)) => return set.execute().await,
            Some(Verb::Unset(unset)) => return unset.execute().await,
            None => {}
        }
        let client = self.socket.client()?;
        let pause = self.live.interval.map(Duration::from_secs);
        loop {
            let mut rows: Vec<LimitRow> = client.get("limits", &[]).await?;
            rows.retain(|row| self.service.as_ref().is_none_or(|service| *service == row.service));
            show(&self.output, pause.is_some(), &rows, |rows| text(rows, self.wide))?;
            let Some(pause) = pause else { return Ok(ExitCode::SUCCESS) };
            tokio::time::sleep(pause).await;
        }
    }
}

impl Top {
    async fn execute(self) -> Result<ExitCode> {
        // A watched second more for every reading, however busy the host is.
        let patience = Duration::from_secs(2 * MAX_TOP_S);
        let client = self.socket.client()?.with_timeout(patience);
        let of = TopOf {
            service: self.service,
            seconds: self.seconds,
            count: usize::try_from(self.count).unwrap_or(usize::MAX),
        };
        let (seconds, count) = (of.seconds.to_string(), of.count.to_string());
        let query = [("service", of.service.as_str()), ("seconds", seconds.as_str()), ("count", count.as_str())];
        loop {
            let rows: Vec<TopRow> = client.get("limits/top", &query).await?;
            show(&self.output, self.watch, &rows, top_text)?;
            if !self.watch {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

impl Set {
    async fn execute(self) -> Result<ExitCode> {
        let Self { service, per, unit, direction, rate, burst, strict, over, output, socket } = self;
        let order = LimitOrder { service, per, unit, direction, rate, burst, strict, over };
        let rows: Vec<LimitRow> = socket.client()?.post("limits/set", &order).await?;
        output.print(&rows, |rows| text(rows, false))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Unset {
    async fn execute(self) -> Result<ExitCode> {
        let of = LimitsOf { service: self.service };
        let rows: Vec<LimitRow> = self.socket.client()?.post("limits/unset", &of).await?;
        self.output.print(&rows, |rows| text(rows, false))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints rows, in place of those before when it is for a person who watches.
fn show<T: Serialize>(output: &Output, again: bool, rows: &Vec<T>, text: impl FnOnce(&[T]) -> String) -> Result<()> {
    if again && output.format == Format::Text && std::io::stdout().is_terminal() {
        // ECMA-48: the cursor to the first place, and what follows erased.
        print("\x1b[H\x1b[J")?;
    }
    output.print(rows, |rows| text(rows))
}

fn text(rows: &[LimitRow], wide: bool) -> String {
    let mut heads = vec![
        ("SERVICE", Side::Left),
        ("PER", Side::Left),
        ("DIRECTION", Side::Left),
        ("LIMIT", Side::Left),
        ("BURST", Side::Right),
        ("THEN", Side::Left),
        ("ADMITTED", Side::Right),
        ("OVER", Side::Right),
        ("MARKED", Side::Right),
        ("WOULD-DROP", Side::Right),
        ("DELAYED", Side::Right),
    ];
    if wide {
        heads.extend([("EVICTED-IDLE", Side::Right), ("EVICTED-BUSY", Side::Right)]);
    }
    let cells = rows.iter().map(|row| {
        let mut cells =
            vec![row.service.clone(), per(row), row.direction.clone(), limit(row), burst(row), row.action.clone()];
        cells.extend([row.admitted, row.over, row.marked, row.would_drop, row.delayed].map(|count| count.to_string()));
        if wide {
            cells.extend([row.evicted_idle, row.evicted_busy].map(|count| count.to_string()));
        }
        cells
    });
    table(&heads, &cells.collect::<Vec<_>>(), "no service has a limit")
}

fn per(row: &LimitRow) -> String {
    let bits = [row.prefix_v4, row.prefix_v6].into_iter().flatten().map(|bits| format!(" /{bits}"));
    let fair = if row.share == "fair" { ", fair" } else { "" };
    format!("{}{}{fair}", row.per, bits.collect::<String>())
}

fn limit(row: &LimitRow) -> String {
    let rate = match Unit::named(&row.unit) {
        Some(unit) => Rate { value: row.rate, unit }.to_string(),
        None => format!("{} {}", row.rate, row.unit),
    };
    if row.by_hand { format!("{rate} (by hand)") } else { rate }
}

fn burst(row: &LimitRow) -> String {
    match row.burst {
        Some(burst) => burst.to_string(),
        None if row.unit == Unit::Connections.name() => "-".to_owned(),
        // What waits is measured in time then.
        None if row.action == "delay" => "50ms".to_owned(),
        None => "strict".to_owned(),
    }
}

fn top_text(rows: &[TopRow]) -> String {
    let heads = [
        ("SOURCE", Side::Left),
        ("ASKED/S", Side::Right),
        ("OVER/S", Side::Right),
        ("PER", Side::Left),
        ("DIRECTION", Side::Left),
        ("LIMIT", Side::Left),
    ];
    let cells = rows.iter().map(|row| {
        vec![
            row.source.clone(),
            format!("{:.1}", row.asked_per_s),
            format!("{:.1}", row.over_per_s),
            row.per.clone(),
            row.direction.clone(),
            row.limit.clone(),
        ]
    });
    table(&heads, &cells.collect::<Vec<_>>(), "no source was heard meanwhile that had been heard before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shown_with_their_units() {
        let row = LimitRow {
            service: "web".into(),
            per: "source-prefix".into(),
            prefix_v4: Some(24),
            prefix_v6: None,
            direction: "in".into(),
            rate: 50_000_000,
            unit: "bits/s".into(),
            burst: Some(65_536),
            action: "mark".into(),
            share: "first".into(),
            by_hand: true,
            admitted: 1,
            over: 2,
            marked: 3,
            would_drop: 4,
            delayed: 5,
            evicted_idle: 6,
            evicted_busy: 7,
        };
        let strict = LimitRow {
            per: "service".into(),
            prefix_v4: None,
            rate: 1000,
            unit: "packets/s".into(),
            burst: None,
            action: "drop".into(),
            by_hand: false,
            ..row.clone()
        };
        let expected = "\
SERVICE  PER                DIRECTION  LIMIT                 BURST  THEN  ADMITTED  OVER  MARKED  WOULD-DROP  DELAYED
web      source-prefix /24  in         50 Mbit/s (by hand)   65536  mark         1     2       3           4        5
web      service            in         1000 packets/s       strict  drop         1     2       3           4        5
";
        assert_eq!(text(&[row.clone(), strict], false), expected);
        assert!(text(&[row], true).contains("EVICTED-BUSY"));
        assert_eq!(text(&[], false), "no service has a limit\n");
    }

    #[test]
    fn sources_are_shown_with_their_rates() {
        let row = TopRow {
            source: "192.0.2.7".into(),
            per: "source".into(),
            direction: "in".into(),
            limit: "100 packets/s".into(),
            asked_per_s: 1234.56,
            over_per_s: 1134.56,
        };
        let expected = "\
SOURCE     ASKED/S  OVER/S  PER     DIRECTION  LIMIT
192.0.2.7   1234.6  1134.6  source  in         100 packets/s
";
        assert_eq!(top_text(&[row]), expected);
    }
}
