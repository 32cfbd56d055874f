//! What a change does, for a person.

use super::table::{Side, table};
use crate::api::types::{PlanReport, PlannedBackend, PlannedService};
use crate::config::Share;

/// The services, the backends of those that change, and the sum of it.
pub(super) fn text(report: &PlanReport) -> String {
    let mut text = services(&report.services);
    let backends = backends(&report.services);
    if !backends.is_empty() {
        text += &format!("\n{backends}\n");
    }
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    text + &match report.moved_ppm {
        0 => "no slot moves".to_owned(),
        moved => format!("{} of a service's slots move, at most", Share(moved)),
    } + if report.applied { "; done\n" } else { "; nothing was changed\n" }
}

fn services(services: &[PlannedService]) -> String {
    let heads = [
        ("SERVICE", Side::Left),
        ("CHANGE", Side::Left),
        ("SLOTS", Side::Right),
        ("MOVED", Side::Right),
        ("SHARE", Side::Right),
        ("FLOWS", Side::Right),
        ("MOVED", Side::Right),
        ("SHARE", Side::Right),
    ];
    let cells = services.iter().map(|row| {
        vec![
            row.service.clone(),
            row.change.clone(),
            row.slots.to_string(),
            row.slots_moved.to_string(),
            share(row.slots_moved.into(), row.slots.into()),
            row.flows_sampled.to_string(),
            row.flows_moved.to_string(),
            share(row.flows_moved, row.flows_sampled),
        ]
    });
    table(&heads, &cells.collect::<Vec<_>>(), "there is no service, neither before nor after")
}

/// Empty when no service changes.
fn backends(services: &[PlannedService]) -> String {
    let heads = [
        ("SERVICE", Side::Left),
        ("BACKEND", Side::Left),
        ("ADDRESS", Side::Left),
        ("PORT", Side::Right),
        ("WEIGHT", Side::Right),
        ("AFTER", Side::Right),
        ("SLOTS", Side::Right),
        ("AFTER", Side::Right),
        ("MOVED", Side::Right),
        ("FLOWS MOVED", Side::Right),
    ];
    let changed = services.iter().filter(|service| service.change != "same");
    let backends = changed.flat_map(|service| service.backends.iter().map(move |backend| (service, backend)));
    let weight = |weight: Option<u16>| weight.map_or("-".to_owned(), |weight| weight.to_string());
    let cells = backends.map(|(service, backend)| {
        let PlannedBackend { id, address, port, weight_before, weight_after, .. } = backend;
        vec![
            service.service.clone(),
            id.clone(),
            address.clone(),
            port.to_string(),
            weight(*weight_before),
            weight(*weight_after),
            backend.slots_before.to_string(),
            backend.slots_after.to_string(),
            backend.slots_moved.to_string(),
            backend.flows_moved.to_string(),
        ]
    });
    let rows = cells.collect::<Vec<_>>();
    if rows.is_empty() { String::new() } else { table(&heads, &rows, "") }
}

/// What part of a whole that is, `-` without one. Exact, so that it may be handed to `--max-moved`.
fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { Share::of(part, whole).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(id: &str, weights: (Option<u16>, Option<u16>), slots: (u32, u32), moved: (u32, u64)) -> PlannedBackend {
        PlannedBackend {
            id: id.into(),
            address: "10.0.1.11".into(),
            port: 8080,
            weight_before: weights.0,
            weight_after: weights.1,
            slots_before: slots.0,
            slots_after: slots.1,
            slots_moved: moved.0,
            flows_moved: moved.1,
        }
    }

    #[test]
    fn what_moves_is_said_for_each_service_and_backend() {
        let web = PlannedService {
            service: "web".into(),
            change: "changed".into(),
            slots: 1000,
            slots_moved: 500,
            flows_sampled: 30,
            flows_moved: 16,
            backends: vec![
                backend("web-1", (Some(100), Some(100)), (1000, 500), (500, 16)),
                backend("web-2", (None, Some(100)), (0, 500), (0, 0)),
            ],
        };
        let dns = PlannedService {
            service: "dns".into(),
            change: "same".into(),
            slots_moved: 0,
            flows_sampled: 0,
            flows_moved: 0,
            ..web.clone()
        };
        let services = vec![web, dns];
        let report =
            PlanReport { services, moved_ppm: 500_000, notes: vec!["registry dc1 is down".into()], applied: false };
        let expected = "\
SERVICE  CHANGE   SLOTS  MOVED  SHARE  FLOWS  MOVED     SHARE
web      changed   1000    500    50%     30     16  53.3334%
dns      same      1000      0     0%      0      0         -

SERVICE  BACKEND  ADDRESS    PORT  WEIGHT  AFTER  SLOTS  AFTER  MOVED  FLOWS MOVED
web      web-1    10.0.1.11  8080     100    100   1000    500    500           16
web      web-2    10.0.1.11  8080       -    100      0    500      0            0

note: registry dc1 is down
50% of a service's slots move, at most; nothing was changed
";
        assert_eq!(text(&report), expected);
    }

    #[test]
    fn nothing_is_little_to_say() {
        let report = PlanReport { applied: true, ..PlanReport::default() };
        assert_eq!(text(&report), "there is no service, neither before nor after\nno slot moves; done\n");
    }
}
