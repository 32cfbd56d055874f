//! `weir backends`.

use std::process::ExitCode;

use anyhow::Result;

use super::Listing;
use super::table::{Side, bytes, table};
use crate::api::types::BackendRow;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this service's
    service: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let query: Vec<(&str, &str)> = self.service.iter().map(|service| ("service", service.as_str())).collect();
        self.listing.show("backends", &query, text).await
    }
}

pub(super) fn text(rows: &[BackendRow]) -> String {
    let heads = [
        ("SERVICE", Side::Left),
        ("BACKEND", Side::Left),
        ("ADDRESS", Side::Left),
        ("PORT", Side::Right),
        ("STATE", Side::Left),
        ("WEIGHT", Side::Right),
        ("SLOTS", Side::Right),
        ("MOVING", Side::Right),
        ("PACKETS", Side::Right),
        ("BYTES", Side::Right),
        ("REPLIES", Side::Right),
        ("BYTES", Side::Right),
        ("FORWARD", Side::Left),
        ("DELIVERY", Side::Left),
    ];
    let cells = rows.iter().map(|row| {
        vec![
            row.service.clone(),
            row.id.clone(),
            row.address.clone(),
            row.port.to_string(),
            row.state.clone(),
            row.weight.to_string(),
            row.slots.to_string(),
            row.slots_moving.to_string(),
            row.packets.to_string(),
            bytes(row.bytes),
            row.reply_packets.to_string(),
            bytes(row.reply_bytes),
            row.forward.clone(),
            row.delivery.clone(),
        ]
    });
    table(&heads, &cells.collect::<Vec<_>>(), "no backends are known; `weir status` says what the registries said")
}
