//! Slow start: a backend that joins comes to its share in steps, and no connection notices.

use weir::api::types::BackendRow;
use weir_tests::lab::wait_until;

use crate::lasting::{Lasting, PATIENCE, SERVICES, TABLE_SIZE, service};
use crate::stand::{Stand, row};

/// A step may move so much, in parts per million.
const MAX_MOVED_PPM: u32 = 40_000;
const SLOW_START: &str = "slow_start = { over = \"5s\", max_moved = \"4%\" }";

/// What was seen of a backend on its way up: its slots, whenever they were others.
#[derive(Debug, Default)]
struct Climb {
    slots: Vec<u32>,
}

impl Climb {
    /// Looks once; what has changed since the last look was one step, within the budget.
    fn look(&mut self, stand: &Stand, service: &str) -> BackendRow {
        let (rows, change) = (stand.backends(service), stand.status().last_change);
        let mine = row(&rows, "b3").clone();
        if self.slots.last() != Some(&mine.slots) {
            self.slots.push(mine.slots);
        }
        assert!(self.slots.is_sorted(), "{self:?}");
        if let Some(change) = change {
            assert!(change.moved_ppm <= MAX_MOVED_PPM, "{change:#?}");
        }
        mine
    }

    fn until(&mut self, stand: &Stand, service: &str, what: &str, is_it: impl Fn(&BackendRow) -> bool) -> BackendRow {
        let mut last = None;
        wait_until(what, PATIENCE, || {
            let mine = self.look(stand, service);
            let found = is_it(&mine).then_some(());
            last = Some(mine);
            found
        })
        .unwrap_or_else(|error| panic!("{error}: {last:#?} {self:?}\n{}", stand.weir.log()));
        last.unwrap()
    }

    /// Every rise of the slots was within the budget: they rise by what moves to the backend.
    fn assert_in_steps(&self, from: u32) {
        let budget = TABLE_SIZE * MAX_MOVED_PPM / 1_000_000;
        let rises = std::iter::once(&from).chain(&self.slots).zip(&self.slots).map(|(before, after)| after - before);
        assert!(rises.clone().all(|rise| rise <= budget), "{self:?}");
    }
}

/// A stand of three backends, the third of which has no weight yet.
fn stand(connections: usize) -> Lasting {
    let services: Vec<_> =
        SERVICES.iter().map(|(name, _)| service(name).with(SLOW_START).weights(&[100, 100, 0])).collect();
    let lasting = Lasting::with_services(3, connections, &services);
    for (name, _) in SERVICES {
        assert_eq!(row(&lasting.stand.backends(name), "b3").slots, 0);
    }
    lasting
}

/// The third backend joins a service.
fn join(stand: &Stand, name: &'static str) {
    stand.registry.publish(name, &service(name).entries(&stand.lab)).unwrap();
    stand.await_backends(name, "b3 to begin", |rows| row(rows, "b3").slots > 0);
}

#[test]
fn a_new_backends_slots_rise_in_steps_and_no_open_connection_moves() {
    let lasting = stand(40);
    let stand = &lasting.stand;
    let before = lasting.by_backend();
    for name in ["tcp", "udp"] {
        join(stand, name);
        let mut climb = Climb::default();
        let full = climb.until(stand, name, "the whole share", |row| row.state != "ramping");
        assert_eq!((full.state.as_str(), full.weight), ("active", 100));
        assert!(full.slots.abs_diff(TABLE_SIZE / 3) <= 4, "{full:?}");
        climb.assert_in_steps(0);
        // A third of the table, 4 % at most at a time.
        assert!(climb.slots.len() >= 8, "{climb:?}");
    }
    lasting.goes_on();
    assert_eq!(lasting.by_backend(), before);
    let with = lasting.newcomers(60);
    assert!(with[0].contains_key("b3"), "{with:?}");
    lasting.assert_unbroken();
}

#[test]
fn a_restart_in_the_midst_of_it_goes_on_from_there() {
    let mut lasting = stand(20);
    let before = lasting.by_backend();
    join(&lasting.stand, "tcp");
    let mut climb = Climb::default();
    let reached = climb.until(&lasting.stand, "tcp", "a part of the way", |row| row.slots > TABLE_SIZE / 9);
    assert_eq!(reached.state, "ramping");
    let Stand { weir, lab, .. } = &mut lasting.stand;
    weir.kill().unwrap();
    weir.restart(lab).unwrap();
    // What it had it has, and not much more.
    let mut again = Climb::default();
    let found = again.look(&lasting.stand, "tcp");
    assert!(found.slots >= reached.slots, "{found:?} after {reached:?}");
    assert_eq!(found.state, "ramping");
    let full = again.until(&lasting.stand, "tcp", "the whole share", |row| row.state != "ramping");
    assert!(full.state == "active" && full.slots.abs_diff(TABLE_SIZE / 3) <= 4, "{full:?}");
    again.assert_in_steps(found.slots);
    lasting.goes_on();
    assert_eq!(lasting.by_backend(), before);
    lasting.assert_unbroken();
}

/// The first backends of a service do not ramp, nor do those that are there when Weir starts.
#[test]
fn without_others_there_is_nothing_to_wait_for() {
    let services: Vec<_> = SERVICES.iter().map(|(name, _)| service(name).with(SLOW_START)).collect();
    let lasting = Lasting::with_services(2, 10, &services);
    for (name, _) in SERVICES {
        let rows = lasting.stand.backends(name);
        assert!(rows.iter().all(|row| row.state == "active" && row.slots.abs_diff(TABLE_SIZE / 2) <= 1), "{rows:#?}");
    }
    // Those that are alone again after a drain have everything at once.
    let stand = &lasting.stand;
    assert_eq!(stand.weir.cli(&["drain", "b1"]).unwrap().code, Some(0));
    assert_eq!(row(&stand.backends("tcp"), "b2").slots, TABLE_SIZE);
    lasting.goes_on();
    lasting.assert_unbroken();
}
