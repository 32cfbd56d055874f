//! `weir drain`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::waiting::Waiting;
use super::{Backend, Output, Socket, drains, duration};
use crate::api::types::{DrainOrder, DrainRow, Then};

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("end").args(["wait", "then"]).multiple(true)))]
pub(super) struct Args {
    #[command(flatten)]
    backend: Backend,
    /// Wait until no flow goes to it any more, and show how far that is; the drain goes on if this is interrupted
    #[arg(long)]
    wait: bool,
    /// At the latest after this long do what --then says; without --then, end the waiting and exit with 1
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "end")]
    deadline: Option<Duration>,
    /// What to do when no flow is left, or the deadline has come; Weir does it whether anybody waits or not
    #[arg(long, value_enum)]
    then: Option<Then>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let client = self.socket.client()?;
        let service = self.backend.service.clone();
        let order = DrainOrder {
            which: self.backend.which(),
            // Without an end that somebody carries out, the deadline is the waiting's alone.
            deadline_s: self.then.and(self.deadline).map(|deadline| deadline.as_secs()),
            then: self.then,
        };
        let rows: Vec<DrainRow> = client.post("drain", &order).await?;
        if !self.wait {
            self.output.print(&rows, |rows| drains::text(rows))?;
            return Ok(ExitCode::SUCCESS);
        }
        let deadline = if self.then.is_none() { self.deadline } else { None };
        let mut waiting = Waiting::new(rows, self.then.is_some(), service);
        let outcome = waiting.until_done(&client, deadline).await;
        self.output.print(&waiting.rows(), |rows| drains::text(rows))?;
        outcome.map(|()| ExitCode::SUCCESS)
    }
}
