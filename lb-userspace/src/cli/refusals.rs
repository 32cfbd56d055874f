//! `weir refusals`.

use std::process::ExitCode;

use anyhow::Result;

use super::Listing;
use super::table::{Side, table};
use crate::api::types::RefusalRow;

pub(super) async fn execute(listing: Listing) -> Result<ExitCode> {
    listing.show("refusals", &[], text).await
}

fn text(rows: &[RefusalRow]) -> String {
    let heads = [("REFUSAL", Side::Left), ("ACTION", Side::Left), ("PACKETS", Side::Right), ("MEANING", Side::Left)];
    let cells =
        rows.iter().map(|row| vec![row.name.clone(), row.action.clone(), row.packets.to_string(), row.meaning.clone()]);
    table(&heads, &cells.collect::<Vec<_>>(), "nothing can be refused")
}
