//! `weir limits`.

use std::process::ExitCode;

use anyhow::Result;

use super::Listing;
use super::table::{Side, table};
use crate::api::types::LimitRow;

pub(super) async fn execute(listing: Listing) -> Result<ExitCode> {
    listing.show("limits", &[], text).await
}

fn text(rows: &[LimitRow]) -> String {
    let heads = [
        ("SERVICE", Side::Left),
        ("PER", Side::Left),
        ("RATE", Side::Right),
        ("UNIT", Side::Left),
        ("BURST", Side::Right),
        ("ADMITTED", Side::Right),
        ("OVER", Side::Right),
    ];
    let cells = rows.iter().map(|row| {
        vec![
            row.service.clone(),
            row.per.clone(),
            row.rate.to_string(),
            row.unit.clone(),
            row.burst.map_or("strict".to_owned(), |burst| burst.to_string()),
            row.admitted.to_string(),
            row.over.to_string(),
        ]
    });
    table(&heads, &cells.collect::<Vec<_>>(), "no service has a limit")
}
