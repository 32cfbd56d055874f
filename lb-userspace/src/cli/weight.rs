//! `weir weight`.

use std::process::ExitCode;

use anyhow::Result;

use super::{Backend, Output, Socket, backends};
use crate::api::types::{BackendRow, WeightOrder};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    backend: Backend,
    /// Its weight from now on, 0 to 65535, whatever the registry says; with 0 it drains
    #[arg(value_name = "WEIGHT", required_unless_present = "clear")]
    weight: Option<u16>,
    /// Let the registry's weight count again
    #[arg(long, conflicts_with = "weight")]
    clear: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let order = WeightOrder { which: self.backend.which(), weight: self.weight };
        let rows: Vec<BackendRow> = self.socket.client()?.post("weight", &order).await?;
        self.output.print(&rows, |rows| backends::text(rows))?;
        Ok(ExitCode::SUCCESS)
    }
}
