//! `weir limits`.

mod rows;
mod set;
mod top;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::{Format, Output, Socket, print};
use crate::api::types::LimitRow;
use set::{Set, Unset};
use top::Top;

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

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        match self.verb {
            Some(Verb::Top(top)) => return top.execute().await,
            Some(Verb::Set(set)) => return set.execute().await,
            Some(Verb::Unset(unset)) => return unset.execute().await,
            None => {}
        }
        let client = self.socket.client()?;
        let query: Vec<(&str, &str)> = self.service.iter().map(|service| ("service", service.as_str())).collect();
        let pause = self.live.interval.map(Duration::from_secs);
        loop {
            let rows: Vec<LimitRow> = client.get("limits", &query).await?;
            show(&self.output, pause.is_some(), &rows, |rows| rows::text(rows, self.wide))?;
            let Some(pause) = pause else { return Ok(ExitCode::SUCCESS) };
            tokio::time::sleep(pause).await;
        }
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
