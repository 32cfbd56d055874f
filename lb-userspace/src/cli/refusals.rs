//! `weir refusals`.

use std::process::ExitCode;

use anyhow::Result;

use super::table::{Side, table};
use super::{Output, Socket};
use crate::api::types::RefusalRow;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let rows: Vec<RefusalRow> = self.socket.client()?.get("refusals", &[]).await?;
        self.output.print(&rows, |rows| text(rows))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(rows: &[RefusalRow]) -> String {
    let heads = [("REFUSAL", Side::Left), ("ACTION", Side::Left), ("PACKETS", Side::Right), ("MEANING", Side::Left)];
    let cells =
        rows.iter().map(|row| vec![row.name.clone(), row.action.clone(), row.packets.to_string(), row.meaning.clone()]);
    table(&heads, &cells.collect::<Vec<_>>(), "nothing can be refused")
}
