//! Limits, for a person.

use crate::api::types::LimitRow;
use crate::cli::table::{Side, table};
use crate::config::{Rate, Unit};

pub(super) fn text(rows: &[LimitRow], wide: bool) -> String {
    let mut heads = vec![
        ("SERVICE", Side::Left),
        ("PER", Side::Left),
        ("DIRECTION", Side::Left),
        ("LIMIT", Side::Left),
        ("BURST", Side::Right),
        ("THEN", Side::Left),
        ("ADMITTED", Side::Right),
        ("OVER", Side::Right),
        ("MARKED", Side::Right),
        ("WOULD-DROP", Side::Right),
        ("DELAYED", Side::Right),
    ];
    if wide {
        heads.extend([("EVICTED-IDLE", Side::Right), ("EVICTED-BUSY", Side::Right)]);
    }
    let cells = rows.iter().map(|row| {
        let mut cells =
            vec![row.service.clone(), per(row), row.direction.clone(), limit(row), burst(row), row.action.clone()];
        cells.extend([row.admitted, row.over, row.marked, row.would_drop, row.delayed].map(|count| count.to_string()));
        if wide {
            cells.extend([row.evicted_idle, row.evicted_busy].map(|count| count.to_string()));
        }
        cells
    });
    table(&heads, &cells.collect::<Vec<_>>(), "there is no limit")
}

fn per(row: &LimitRow) -> String {
    let bits = [row.prefix_v4, row.prefix_v6].into_iter().flatten().map(|bits| format!(" /{bits}"));
    let fair = if row.share == "fair" { ", fair" } else { "" };
    format!("{}{}{fair}", row.per, bits.collect::<String>())
}

fn limit(row: &LimitRow) -> String {
    let rate = match Unit::named(&row.unit) {
        Some(unit) => Rate { value: row.rate, unit }.to_string(),
        None => format!("{} {}", row.rate, row.unit),
    };
    if row.by_hand { format!("{rate} (by hand)") } else { rate }
}

fn burst(row: &LimitRow) -> String {
    match row.burst {
        Some(burst) => burst.to_string(),
        None if row.unit == Unit::Connections.name() => "-".to_owned(),
        // What waits is measured in time then.
        None if row.action == "delay" => "50ms".to_owned(),
        None => "strict".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shown_with_their_units() {
        let row = LimitRow {
            service: "web".into(),
            per: "source-prefix".into(),
            prefix_v4: Some(24),
            prefix_v6: None,
            direction: "in".into(),
            rate: 50_000_000,
            unit: "bits/s".into(),
            burst: Some(65_536),
            action: "mark".into(),
            share: "first".into(),
            by_hand: true,
            admitted: 1,
            over: 2,
            marked: 3,
            would_drop: 4,
            delayed: 5,
            evicted_idle: 6,
            evicted_busy: 7,
        };
        let strict = LimitRow {
            per: "service".into(),
            prefix_v4: None,
            rate: 1000,
            unit: "packets/s".into(),
            burst: None,
            action: "drop".into(),
            by_hand: false,
            ..row.clone()
        };
        let expected = "\
SERVICE  PER                DIRECTION  LIMIT                 BURST  THEN  ADMITTED  OVER  MARKED  WOULD-DROP  DELAYED
web      source-prefix /24  in         50 Mbit/s (by hand)   65536  mark         1     2       3           4        5
web      service            in         1000 packets/s       strict  drop         1     2       3           4        5
";
        assert_eq!(text(&[row.clone(), strict], false), expected);
        assert!(text(&[row], true).contains("EVICTED-BUSY"));
        assert_eq!(text(&[], false), "there is no limit\n");
    }
}
