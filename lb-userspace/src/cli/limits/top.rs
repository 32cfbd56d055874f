//! `weir limits top`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::show;
use crate::api::types::{MAX_TOP_S, TopOf, TopRow};
use crate::cli::table::{Side, table};
use crate::cli::{Output, Socket};

#[derive(Debug, clap::Args)]
pub(super) struct Top {
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

impl Top {
    pub(super) async fn execute(self) -> Result<ExitCode> {
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
            show(&self.output, self.watch, &rows, text)?;
            if !self.watch {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

fn text(rows: &[TopRow]) -> String {
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
    table(&heads, &cells.collect::<Vec<_>>(), "no source that was known when the watch began has sent anything since")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(text(&[row]), expected);
        assert_eq!(text(&[]), "no source that was known when the watch began has sent anything since\n");
    }
}
