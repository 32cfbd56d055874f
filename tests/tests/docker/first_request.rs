//! From a container's start to the first request that it serves through a VIP.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use weir_tests::lab::{HttpLoad, Netns};

use crate::stage::{Host, NETWORK, SOON, declared, web};

const ROUNDS: usize = 21;
/// What half of them must be within.
const WITHIN: Duration = Duration::from_millis(200);

/// Asks until this one answers: when that was.
fn first_answer(from: &Netns, target: SocketAddr, name: &str) -> SystemTime {
    let load = HttpLoad { concurrency: 1, timeout: Duration::from_millis(20), ..HttpLoad::new(target, 1) };
    let asked = SystemTime::now();
    while asked.elapsed().unwrap() < SOON {
        if load.run(from).answers.contains_key(name) {
            return SystemTime::now();
        }
    }
    panic!("{name} does not answer at {target}");
}

#[test]
fn a_container_that_starts_serves_within_200_ms() {
    let host = Host::new();
    let weir = host.weir();
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("web-{round}");
        let vip = web()[round % 2];
        let answered = std::thread::scope(|scope| {
            let answer = scope.spawn(|| first_answer(host.client(), vip, &name));
            let container = host.engine.run(&declared(&name).network(NETWORK)).unwrap();
            let answered = answer.join().unwrap();
            let started = container.started_at().unwrap();
            container.remove().unwrap();
            answered.duration_since(started).expect("nobody answers before it is started")
        });
        println!("{name} answered at {vip} {answered:?} after its start");
        took.push(answered);
    }
    took.sort_unstable();
    let median = took[ROUNDS / 2];
    println!("median {median:?}, from {:?} to {:?}", took[0], took[ROUNDS - 1]);
    assert!(median < WITHIN, "{took:?}\n{:#?}\n{}", weir.status(), weir.process.log());
}
