//! The four phases.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use weir_tests::lab::{Backend, HttpLoad, HttpReport, UdpLoad};

use super::figures::{Limit, Membership, Spread, Weight, failures};
use super::stage::{LIMIT_BURST, LIMIT_RATE, Members, Stage, echo, first_members, http_v4, http_v6};
use crate::mark::{Mark, median, milliseconds};
use crate::screen::{Bar, Screen};

const SPREAD_REQUESTS: usize = 20_000;
/// Points that a share of 20,000 requests may be off.
const SPREAD_POINTS: f64 = 1.5;

const SHIFT_REQUESTS: usize = 8_000;
/// Points that a share of 8,000 requests may be off: the statistical spread is 0.6, of which this is more than three.
const SHIFT_POINTS: f64 = 2.0;
const SHIFTED: &str = "web-1";
const SHIFTED_WEIGHT: u16 = 700;
/// Edits to take the time of; odd, so that the last one leaves the new weight.
const EDITS: u16 = 5;
const EDIT_WITHIN: Duration = Duration::from_millis(100);

const LEAVES: &str = "web-4";
/// Flows that are compared before, while and after a backend is away, half of them in each family.
const FLOWS: u16 = 4_000;
/// None of these is ever the kernel's choice in a client's namespace.
const FIRST_PORT: u16 = 2_000;
/// Of the flows that were not on the backend that left, so many per cent may change backend.
const MOVED_PERCENT: f64 = 2.0;

const OFFERED_PER_S: u32 = 5 * LIMIT_RATE;
const BYSTANDER_PER_S: u32 = LIMIT_RATE / 2;
const OFFERED_FOR: Duration = Duration::from_secs(10);
const ADMITTED_PERCENT: f64 = 1.0;

/// (1) Requests are spread by weight.
pub(super) fn spread(stage: &Stage, screen: &mut Screen) -> Result<Spread> {
    screen.heading(&format!("1  {SPREAD_REQUESTS} requests, each on a new connection, IPv4 and IPv6, by weight"));
    let members = first_members();
    let report = requests(stage, screen, &members, SPREAD_REQUESTS, vec![]);
    let spread = Spread::new("spread by weight", &report, &members, SPREAD_POINTS);
    screen.line(&format!(
        "{:.0} connections/s; half within {:.1} ms, 99 % within {:.1} ms",
        spread.rate_per_s, spread.median_ms, spread.p99_ms
    ));
    screen.mark(&spread.mark);
    Ok(spread)
}

/// (2) A weight is edited in the registry's file, and the traffic shifts.
pub(super) fn weight(stage: &Stage, screen: &mut Screen) -> Result<Weight> {
    let from = first_members()[SHIFTED];
    screen.heading(&format!("2  The weight of {SHIFTED} goes from {from} to {SHIFTED_WEIGHT} in the registry's file"));
    let (at_first, members) = (first_members(), shifted_members());
    let mut edits = Vec::new();
    for edit in 0..EDITS {
        edits.extend(stage.edit(if edit % 2 == 0 { &members } else { &at_first })?);
    }
    let took = median(&edits);
    let edit = Mark {
        what: "an edit reaches the kernel",
        found: format!(
            "median {:.1} ms, worst {:.1} ms of {} edits",
            milliseconds(took),
            milliseconds(edits.iter().max().copied().unwrap_or_default()),
            edits.len()
        ),
        wanted: format!("median at most {} ms", EDIT_WITHIN.as_millis()),
        passed: took <= EDIT_WITHIN,
    };
    screen.mark(&edit);
    let report = requests(stage, screen, &members, SHIFT_REQUESTS, vec![]);
    let spread = Spread::new("the traffic shifts", &report, &members, SHIFT_POINTS);
    screen.mark(&spread.mark);
    Ok(Weight {
        backend: SHIFTED.to_owned(),
        from,
        to: SHIFTED_WEIGHT,
        edits_ms: edits.into_iter().map(milliseconds).collect(),
        edit,
        spread,
    })
}

/// (3) A backend leaves and comes back.
pub(super) fn membership(stage: &Stage, screen: &mut Screen) -> Result<Membership> {
    screen.heading(&format!("3  {LEAVES} is removed from the registry's file, and added again"));
    let all = shifted_members();
    let mut fewer = all.clone();
    fewer.remove(LEAVES);
    let ports: Vec<u16> = (FIRST_PORT..FIRST_PORT + FLOWS).collect();
    let mut flows = |when: &str, members: &Members| {
        screen.line(when);
        requests(stage, screen, members, usize::from(FLOWS), ports.clone())
    };

    let before = flows("before:", &all);
    let removed = stage.edit(&fewer)?;
    let away = flows("while it is away:", &fewer);
    let added = stage.edit(&all)?;
    let after = flows("when it is back:", &all);

    let others: Vec<_> = before.by_request.iter().filter(|(_, backend)| *backend != LEAVES).collect();
    let moved = others.iter().filter(|(flow, backend)| away.by_request.get(*flow) != Some(*backend)).count();
    let moved_percent = 100.0 * moved as f64 / others.len().max(1) as f64;
    let elsewhere =
        before.by_request.iter().filter(|(flow, backend)| after.by_request.get(*flow) != Some(*backend)).count();
    let to_it = away.answers.get(LEAVES).copied().unwrap_or_default();
    let failed = before.failed() + away.failed() + after.failed();
    let membership = Membership {
        backend: LEAVES.to_owned(),
        removed_ms: milliseconds(median(&removed)),
        added_ms: milliseconds(median(&added)),
        gone: Mark {
            what: "while it is away",
            found: format!(
                "{to_it} of {} requests went to it, {}",
                away.answered(),
                failures(&[&before, &away, &after])
            ),
            wanted: "none went to it, none failed".to_owned(),
            passed: to_it == 0 && failed == 0,
        },
        moved: Mark {
            what: "flows of the others",
            found: format!("{moved} of {} changed backend ({moved_percent:.2} %)", others.len()),
            wanted: format!("at most {MOVED_PERCENT} %"),
            passed: moved_percent <= MOVED_PERCENT && !others.is_empty(),
        },
        back: Mark {
            what: "when it is back",
            found: format!("{elsewhere} of {} flows are not where they were at first", before.answered()),
            wanted: "all where they were".to_owned(),
            passed: elsewhere == 0 && before.answered() == u64::from(FLOWS),
        },
    };
    let (removed, added) = (membership.removed_ms, membership.added_ms);
    screen.line(&format!("in the kernel {removed:.1} ms after the removal, {added:.1} ms after the return"));
    [&membership.gone, &membership.moved, &membership.back].into_iter().for_each(|mark| screen.mark(mark));
    Ok(membership)
}

/// (4) A client offers five times its limit; another one does not notice.
pub(super) fn limit(stage: &Stage, screen: &mut Screen) -> Result<Limit> {
    screen.heading(&format!(
        "4  UDP with a limit of {LIMIT_RATE} packets/s for each source: one client offers {OFFERED_PER_S}/s"
    ));
    let [greedy, bystander] = &stage.lab.clients[..] else { anyhow::bail!("the stage has two clients") };
    let greedy_load = UdpLoad::new(echo(), OFFERED_PER_S, OFFERED_FOR);
    let bystander_load = UdpLoad::new(echo(), BYSTANDER_PER_S, OFFERED_FOR);
    let (others_sent, others_answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let before = stage.datagrams();
    let (offered, modest) = std::thread::scope(|scope| {
        let modest = scope.spawn(|| {
            bystander_load.run_with(&bystander.netns, |report| {
                others_sent.store(report.sent, Ordering::Relaxed);
                others_answered.store(report.answered(), Ordering::Relaxed);
            })
        });
        let offered = greedy_load.run_with(&greedy.netns, |report| {
            let full = greedy_load.datagrams() as f64;
            let bar = |name: &str, count: u64, expected: Option<f64>| Bar {
                name: name.to_owned(),
                part: count as f64 / full,
                expected,
                note: count.to_string(),
            };
            let limit = allowed(report.sending) / full;
            screen.bars(&[
                bar("offered", report.sent, None),
                bar("answered", report.answered(), Some(limit)),
                bar("other, sent", others_sent.load(Ordering::Relaxed), None),
                bar("answered", others_answered.load(Ordering::Relaxed), None),
            ]);
        });
        (offered, modest.join())
    });
    screen.bars_done();
    let offered = offered.context("the greedy client")?;
    let modest = modest.map_err(|_| anyhow::anyhow!("the other client panicked"))?.context("the other client")?;

    // What arrived is counted where it arrived; the other client's part of it is what it got answered.
    let arrived = (stage.datagrams() - before).saturating_sub(modest.answered());
    let off = |wanted: f64| 100.0 * (arrived as f64 - wanted) / wanted;
    let allowed = allowed(offered.sending);
    // On a busy machine the client sends late now and then, and a bucket is not kept full for it.
    let as_sent = offered.within(f64::from(LIMIT_RATE), f64::from(LIMIT_BURST));
    let modest_as_sent = modest.within(f64::from(LIMIT_RATE), f64::from(LIMIT_BURST));
    let limit = Limit {
        rate_per_s: LIMIT_RATE,
        burst: LIMIT_BURST,
        offered: offered.sent,
        arrived,
        bystander_sent: modest.sent,
        bystander_answered: modest.answered(),
        admitted: Mark {
            what: "the limit holds",
            found: format!("{arrived} of {} got through, {:+.2} % of rate × time + burst", offered.sent, off(allowed)),
            wanted: format!("{as_sent}, which an exact bucket lets through of these, ± {ADMITTED_PERCENT} %"),
            passed: off(as_sent as f64).abs() <= ADMITTED_PERCENT
                && off(allowed) <= ADMITTED_PERCENT
                && offered.sent == greedy_load.datagrams(),
        },
        bystander: Mark {
            what: "the other client",
            found: format!("{} of {} answered", modest.answered(), modest.sent),
            wanted: format!("all that its own bucket lets through: {modest_as_sent}"),
            passed: modest.sent == bystander_load.datagrams() && modest.answered() == modest_as_sent,
        },
    };
    [&limit.admitted, &limit.bystander].into_iter().for_each(|mark| screen.mark(mark));
    Ok(limit)
}

/// Packets that the limit lets through in this time.
fn allowed(time: Duration) -> f64 {
    f64::from(LIMIT_RATE) * time.as_secs_f64() + f64::from(LIMIT_BURST)
}

fn shifted_members() -> Members {
    let mut members = first_members();
    members.insert(SHIFTED.to_owned(), SHIFTED_WEIGHT);
    members
}

/// Sends requests from the first client, to both VIPs in turn, with bars of how they spread.
fn requests(
    stage: &Stage,
    screen: &mut Screen,
    members: &Members,
    requests: usize,
    source_ports: Vec<u16>,
) -> HttpReport {
    let load = HttpLoad { targets: vec![http_v4(), http_v6()], source_ports, ..HttpLoad::new(http_v4(), requests) };
    let total: f64 = members.values().copied().map(f64::from).sum();
    let expected: BTreeMap<&str, f64> =
        members.iter().map(|(name, weight)| (name.as_str(), f64::from(*weight) / total)).collect();
    let bars = |report: &HttpReport| {
        let done = report.answered() + report.failed();
        let all = Bar {
            name: "requests".to_owned(),
            part: done as f64 / requests as f64,
            expected: None,
            note: format!("{done} of {requests}"),
        };
        let share = |backend: &Backend| {
            let (name, share) = (&backend.name, report.share(&backend.name));
            let expected = expected.get(name.as_str()).copied();
            let wanted = expected.map_or("away".to_owned(), |part| format!("want {:5.2} %", 100.0 * part));
            Bar { name: name.clone(), part: share, expected, note: format!("{:5.2} % ({wanted})", 100.0 * share) }
        };
        std::iter::once(all).chain(stage.lab.backends.iter().map(share)).collect::<Vec<_>>()
    };
    let report = load.run_with(&stage.lab.clients[0].netns, |report| {
        if screen.due() {
            screen.bars(&bars(report));
        }
    });
    screen.bars(&bars(&report));
    screen.bars_done();
    report
}
