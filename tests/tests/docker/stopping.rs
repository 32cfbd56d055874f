//! Containers that end under load.

use std::time::Instant;

use weir_tests::lab::docker::Container;
use weir_tests::lab::{SteadyLoad, SteadyReport};

use crate::stage::{Host, NETWORK, Weir, declared, web};

/// Requests a second.
const RATE: u32 = 500;
/// Requests before and after what happens: most of a second of them.
const MARGIN: u32 = 400;

/// What came of requests to three containers while something was done to them, and from when to when that was done.
fn under_load(change: impl FnOnce(&Weir<'_>, &[Container<'_>; 3])) -> (SteadyReport, [Instant; 2]) {
    let host = Host::new();
    let containers = ["web-1", "web-2", "web-3"].map(|name| host.run_on(NETWORK, declared(name)));
    let weir = host.weir();
    weir.await_serving("three containers", &["web-1", "web-2", "web-3"]);
    let steady = SteadyLoad::start(host.client(), web().to_vec(), RATE);
    steady.await_more(MARGIN).unwrap();
    let began = Instant::now();
    change(&weir, &containers);
    let changed = [began, Instant::now()];
    weir.await_serving("one is gone", &["web-2", "web-3"]);
    steady.await_more(MARGIN).unwrap();
    let report = steady.finish();
    println!("{} answered, {} of them slow, {} failed", report.answered(), report.slow, report.failed.len());
    assert_eq!(report.answers.len(), 3, "{report:#?}");
    (report, changed)
}

#[test]
fn no_request_fails_when_containers_are_stopped() {
    let (report, _) = under_load(|weir, [first, second, _]| {
        second.stop(10).unwrap();
        weir.await_serving("one was stopped", &["web-1", "web-3"]);
        second.start().unwrap();
        weir.await_serving("it is back", &["web-1", "web-2", "web-3"]);
        first.stop(10).unwrap();
    });
    assert_eq!(report.failed, [], "{:?}", report.answers);
}

#[test]
fn only_what_is_in_flight_on_it_fails_when_a_container_is_killed() {
    let (report, [began, killed]) = under_load(|_, [first, ..]| first.kill().unwrap());
    // In flight: begun before the engine said that the container was dead. A request takes a millisecond or two, and
    // every third was the dead one's; those that come before anybody can know of its death its kernel refuses.
    assert!(report.failed.iter().all(|attempt| attempt.begun < killed), "{report:#?}");
    // A third of those that were begun while the engine was at it; a half, as they are spread by their ports.
    let most = 10.0 + f64::from(RATE) / 2.0 * (killed - began).as_secs_f64();
    println!("the engine took {:?}: {most:.0} at most", killed - began);
    assert!((report.failed.len() as f64) <= most, "{report:#?}");
}
