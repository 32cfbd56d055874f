//! `weir services`.

use std::process::ExitCode;

use anyhow::Result;

use super::table::{Side, bytes, table};
use super::{Output, Socket};
use crate::api::types::ServiceRow;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let rows: Vec<ServiceRow> = self.socket.client()?.get("services", &[]).await?;
        self.output.print(&rows, |rows| text(rows))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(rows: &[ServiceRow]) -> String {
    let heads = [
        ("SERVICE", Side::Left),
        ("VIP", Side::Left),
        ("FORWARD", Side::Left),
        ("REGISTRY", Side::Left),
        ("BACKENDS", Side::Right),
        ("PACKETS", Side::Right),
        ("BYTES", Side::Right),
        ("REPLIES", Side::Right),
        ("BYTES", Side::Right),
    ];
    let cells = rows.iter().map(|row| {
        vec![
            row.name.clone(),
            row.vip.clone(),
            row.forward.clone(),
            row.registry.clone(),
            row.backends.to_string(),
            row.packets.to_string(),
            bytes(row.bytes),
            row.reply_packets.to_string(),
            bytes(row.reply_bytes),
        ]
    });
    table(&heads, &cells.collect::<Vec<_>>(), "no services are configured")
}
