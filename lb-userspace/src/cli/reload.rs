//! `weir reload`.

use std::process::ExitCode;

use anyhow::Result;

use super::{Output, Socket, plan, report};
use crate::api::types::{PlanReport, ReloadOrder};
use crate::config::Share;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Refuse, and change nothing, if more than this share of the slots of any service moves, such as 2%
    #[arg(long, value_name = "SHARE")]
    max_moved: Option<Share>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    /// Exits with 1 when it was refused.
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let order = ReloadOrder { max_moved_ppm: self.max_moved.map(|share| share.0) };
        let client = self.socket.client()?.with_timeout(plan::PATIENCE);
        let report: PlanReport = client.post("reload", &order).await?;
        self.output.print(&report, report::text)?;
        Ok(if report.applied { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
