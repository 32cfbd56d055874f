//! `weir undrain`.

use std::process::ExitCode;

use anyhow::Result;

use super::{Backend, Output, Socket, drains};
use crate::api::types::DrainRow;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    backend: Backend,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    /// Prints what is still drained of the backend: nothing, in general.
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let rows: Vec<DrainRow> = self.socket.client()?.post("undrain", &self.backend.which()).await?;
        self.output.print(&rows, |rows| match rows.as_slice() {
            [] => "takes new flows again\n".to_owned(),
            rows => drains::text(rows),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
