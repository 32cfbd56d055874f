//! The tables, through the host's build alone and through both.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::Refusal;
use weir_tests::frame::End;

use crate::both::Both;
use crate::host::{Host, Seen};
use crate::stage::Stage;
use crate::tables::{Fate, Row, TABLES, Table, cast, opening};
use crate::world::namespace;

/// The device towards clients, where nobody asks the kernel for it.
const FRONT: u32 = 9;

fn expected(row: &Row) -> Seen {
    match &row.fate {
        Fate::Same => Seen::Pass(row.input.bytes()),
        Fate::Drop => Seen::Drop,
        Fate::Stack(frame) => Seen::Pass(frame.bytes()),
        Fate::Sent(frame) => Seen::Redirect(frame.bytes()),
        Fate::Back(frame) => Seen::Transmit(frame.bytes()),
    }
}

/// What sends a frame, and says what became of it.
type Send<'a> = dyn FnMut(&[u8]) -> Result<(Seen, Option<Refusal>), String> + 'a;

/// All rows of a table: what came out otherwise.
fn wrong(table: &Table, send: &mut Send<'_>) -> Vec<String> {
    for frame in opening() {
        send(&frame.bytes()).unwrap_or_else(|said| panic!("opening: {said}"));
    }
    let mut ids = BTreeMap::new();
    (table.rows)().into_iter().filter_map(|row| judge(table, row, send, &mut ids).err()).collect()
}

/// Identifications that datagrams in fragments left with, by the ends and the identification that they came with.
type Ids = BTreeMap<(End, End, u32), u32>;

fn judge(table: &Table, mut row: Row, send: &mut Send<'_>, ids: &mut Ids) -> Result<(), String> {
    let what = format!("{}: {}", table.topic, row.what);
    let input = row.input.bytes();
    let (seen, refusal) = send(&input).map_err(|said| format!("{what}: {said}\n   from {input:02x?}"))?;
    seen.bytes().into_iter().for_each(|out| row.adopt(out));
    if let (Some(output), None) = (row.fate.output(), row.refusal)
        && output.part.is_some()
    {
        let id = *ids.entry((row.input.source, row.input.destination, row.input.id)).or_insert(output.id);
        if output.id != id {
            return Err(format!("{what}: not the identification of the datagram's others"));
        }
    }
    let (expected, refusal) = (expected(&row), refusal.map(Refusal::name));
    if (&seen, refusal) == (&expected, row.refusal) {
        return Ok(());
    }
    Err(format!("{what}: {refusal:?} {seen:02x?}\n   not {:?} {expected:02x?}\n   from {input:02x?}", row.refusal))
}

/// Panics when anything is wrong, with a few examples.
fn report(wrong: &[String]) {
    let shown = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), shown.join("\n"));
}

#[test]
fn the_host_does_what_the_tables_say() {
    let wrong = TABLES.iter().flat_map(|table| {
        let mut host = Host::new(Stage::of_tables(FRONT).host(FRONT));
        wrong(table, &mut |frame| host.send(frame))
    });
    report(&wrong.collect::<Vec<_>>());
}

#[test]
fn both_builds_do_what_the_tables_say() {
    let front = namespace();
    let wrong = TABLES.iter().flat_map(|table| {
        let mut both = Both::new(&Stage::of_tables(front), front);
        let mut wrong = wrong(table, &mut |frame| {
            let seen = both.send(frame)?;
            both.compare_counters()?;
            Ok(seen)
        });
        wrong.extend(both.compare_state().err());
        wrong
    });
    report(&wrong.collect::<Vec<_>>());
}

/// What tc programs do not do: tags lie beside their frames, and into tunnels nothing goes from there. Frames without a whole
/// IP header, and such as are larger than a page, `BPF_PROG_TEST_RUN` does not take.
fn is_xdps(row: &Row) -> bool {
    let theirs = |service: &&cast::Service| {
        matches!(service.forward, cast::Forward::Ipip | cast::Forward::Gue) || !service.tags.is_empty()
    };
    let vips: Vec<IpAddr> =
        cast::services().iter().filter(theirs).map(|service| service.vip.parse().expect("an address")).collect();
    let tunnel =
        vips.contains(&row.input.destination.0) || row.fate.output().is_some_and(|frame| frame.inner.is_some());
    let least = if row.input.is_v4() { 34 } else { 54 };
    let tagged = !row.input.tags.is_empty() || row.fate.output().is_some_and(|frame| !frame.tags.is_empty());
    tunnel || tagged || !(least..3_000).contains(&row.input.bytes().len())
}

#[test]
fn the_program_for_ports_does_what_the_tables_say() {
    let front = namespace();
    let wrong = TABLES.iter().flat_map(|table| {
        let mut both = Both::with_tc(Stage::of_tables(front), front);
        let mut send = |frame: &[u8]| {
            let seen = both.send(frame)?;
            both.compare_counters()?;
            Ok(seen)
        };
        for frame in opening() {
            send(&frame.bytes()).unwrap_or_else(|said| panic!("opening: {said}"));
        }
        let mut ids = BTreeMap::new();
        let rows = (table.rows)().into_iter().filter(|row| !is_xdps(row));
        let mut wrong: Vec<String> = rows.filter_map(|row| judge(table, row, &mut send, &mut ids).err()).collect();
        wrong.extend(both.compare_state().err());
        wrong
    });
    report(&wrong.collect::<Vec<_>>());
}
