//! Containers that end under load.

use std::time::Duration;

use weir_tests::lab::SteadyLoad;

use crate::stage::{Host, NETWORK, declared, web};

/// Requests a second.
const RATE: u32 = 500;
/// Traffic before and after what happens.
const MARGIN: Duration = Duration::from_millis(800);

#[test]
fn no_request_fails_when_containers_are_stopped() {
    let host = Host::new();
    let containers = ["web-1", "web-2", "web-3"].map(|name| host.run_on(NETWORK, declared(name)));
    let weir = host.weir();
    weir.await_serving("three containers", &["web-1", "web-2", "web-3"]);
    let steady = SteadyLoad::start(host.client(), web().to_vec(), RATE);
    std::thread::sleep(MARGIN);
    containers[0].stop(10).unwrap();
    weir.await_serving("one was stopped", &["web-2", "web-3"]);
    containers[0].start().unwrap();
    weir.await_serving("it is back", &["web-1", "web-2", "web-3"]);
    containers[1].stop(10).unwrap();
    std::thread::sleep(MARGIN);
    let report = steady.finish();
    println!("{} answered, {} of them slow, {} failed", report.answered(), report.slow, report.failed.len());
    assert!(report.failed.is_empty() && report.answers.len() == 3, "{report:#?}");
}

#[test]
fn only_what_is_in_flight_on_it_fails_when_a_container_is_killed() {
    let host = Host::new();
    let containers = ["web-1", "web-2", "web-3"].map(|name| host.run_on(NETWORK, declared(name)));
    let weir = host.weir();
    weir.await_serving("three containers", &["web-1", "web-2", "web-3"]);
    let steady = SteadyLoad::start(host.client(), web().to_vec(), RATE);
    std::thread::sleep(MARGIN);
    containers[0].kill().unwrap();
    let killed = std::time::Instant::now();
    weir.await_serving("one was killed", &["web-2", "web-3"]);
    std::thread::sleep(MARGIN);
    let report = steady.finish();
    println!("{} answered, {} of them slow, {} failed", report.answered(), report.slow, report.failed.len());
    // In flight: begun before the engine said that the container was dead. A request takes a millisecond or two, and
    // every third was the dead one's; those that come before anybody can know of its death its kernel refuses.
    assert!(report.failed.iter().all(|attempt| attempt.begun < killed), "{report:#?}");
    assert!(report.failed.len() <= 10 && report.answers.len() == 3, "{report:#?}");
}
