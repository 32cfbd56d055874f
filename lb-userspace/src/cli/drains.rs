//! How far drains are, for a person.

use super::table::{Side, table};
use crate::api::types::DrainRow;
use crate::config::show_duration;

/// The drains as a table.
pub(super) fn text(rows: &[DrainRow]) -> String {
    let heads = [
        ("SERVICE", Side::Left),
        ("BACKEND", Side::Left),
        ("ADDRESS", Side::Left),
        ("PORT", Side::Right),
        ("STATE", Side::Left),
        ("SLOTS", Side::Right),
        ("FLOWS", Side::Right),
        ("DEADLINE", Side::Right),
        ("THEN", Side::Left),
    ];
    let cells = rows.iter().map(|row| {
        vec![
            row.service.clone(),
            row.id.clone(),
            row.address.clone(),
            row.port.to_string(),
            row.state.clone(),
            row.slots.to_string(),
            format!("{}{}", row.flows, if row.unseen { "+" } else { "" }),
            row.deadline_s.map_or("-".to_owned(), seconds),
            row.then.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    table(&heads, &cells.collect::<Vec<_>>(), "nothing is drained")
}

/// How far one drain is, in a line.
pub(super) fn progress(row: &DrainRow) -> String {
    let DrainRow { service, id, state, .. } = row;
    if state != "draining" {
        return format!("{service}: {id} is {state}");
    }
    let mut text = format!("{service}: {id} is {state}: {} left", left(row));
    if row.unseen {
        text += ", silent connections may not have been seen yet";
    }
    if let (Some(deadline_s), Some(then)) = (row.deadline_s, &row.then) {
        text += &format!("; {then} in {} at the latest", seconds(deadline_s));
    }
    text
}

/// What is left of a drain.
pub(super) fn left(row: &DrainRow) -> String {
    format!("{} slot(s) and {} flow(s)", row.slots, row.flows)
}

fn seconds(seconds: u64) -> String {
    show_duration(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row of a drain that is under way.
    pub(in crate::cli) fn row(id: &str, state: &str, slots: u32, flows: u64) -> DrainRow {
        DrainRow {
            service: "web".into(),
            id: id.into(),
            address: "10.0.1.11".into(),
            port: 8080,
            state: state.into(),
            slots,
            flows,
            unseen: false,
            deadline_s: None,
            then: None,
        }
    }

    #[test]
    fn a_drain_is_a_row() {
        let bounded = DrainRow { deadline_s: Some(590), then: Some("reset".into()), ..row("web-2", "removed", 0, 0) };
        let rows = [DrainRow { unseen: true, ..row("web-1", "draining", 16_384, 12) }, bounded];
        let expected = "\
SERVICE  BACKEND  ADDRESS    PORT  STATE     SLOTS  FLOWS  DEADLINE  THEN
web      web-1    10.0.1.11  8080  draining  16384    12+         -  -
web      web-2    10.0.1.11  8080  removed       0      0     9m50s  reset
";
        assert_eq!(text(&rows), expected);
        assert_eq!(text(&[]), "nothing is drained\n");
    }

    #[test]
    fn progress_is_a_line() {
        let draining = row("web-1", "draining", 7, 12);
        assert_eq!(progress(&draining), "web: web-1 is draining: 7 slot(s) and 12 flow(s) left");
        let bounded = DrainRow { unseen: true, deadline_s: Some(60), then: Some("remove".into()), ..draining };
        assert_eq!(
            progress(&bounded),
            "web: web-1 is draining: 7 slot(s) and 12 flow(s) left, silent connections may not have been seen yet; \
             remove in 1m at the latest"
        );
        assert_eq!(progress(&row("web-1", "drained", 0, 0)), "web: web-1 is drained");
    }
}
