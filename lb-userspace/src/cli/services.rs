//! `weir services`.

use std::process::ExitCode;

use anyhow::Result;

use super::Listing;
use super::table::{Side, bytes, table};
use crate::api::types::ServiceRow;

pub(super) async fn execute(listing: Listing) -> Result<ExitCode> {
    listing.show("services", &[], text).await
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
