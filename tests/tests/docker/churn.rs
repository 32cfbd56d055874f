//! Containers that come and go, many times: nothing of them stays.

use std::collections::BTreeSet;
use std::path::Path;

use weir_tests::lab::wait_until;

use crate::stage::{Host, NETWORK, SOON, Weir, declared};

/// Containers at once, and how often: 200 are started and stopped.
const AT_ONCE: usize = 4;
const EACH: usize = 50;
/// Memory that may have grown, in kilobytes: caches of the allocator and of the runtime.
const GROWTH_KB: u64 = 8_192;

/// What grows when something leaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    files: usize,
    pins: usize,
    backends: usize,
    resident_kb: u64,
}

impl Held {
    fn by(weir: &Weir<'_>) -> Self {
        let process = Path::new("/proc").join(weir.process.pid().to_string());
        let status = std::fs::read_to_string(process.join("status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self {
            files: std::fs::read_dir(process.join("fd")).unwrap().count(),
            pins: files_below(&weir.host.lab.state()),
            backends: weir.status().backends,
            resident_kb: resident.trim().trim_end_matches(" kB").parse().unwrap(),
        }
    }
}

fn files_below(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.file_type().unwrap().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

#[test]
fn two_hundred_containers_leave_nothing() {
    let host = Host::new();
    let weir = host.weir();
    let _stays = host.run_on(NETWORK, declared("web-stays"));
    let round = |prefix: &str, each: usize| {
        std::thread::scope(|scope| {
            for lane in 0..AT_ONCE {
                let host = &host;
                scope.spawn(move || {
                    for number in 0..each {
                        let name = format!("web-{prefix}{lane}-{number}");
                        let container = host.engine.run(&declared(&name).network(NETWORK)).unwrap();
                        container.kill().unwrap();
                        container.remove().unwrap();
                    }
                });
            }
        });
        weir.await_serving("the last one is gone", &["web-stays"]);
    };
    // The first few bring what is made once.
    round("first", 2);
    let settled = |what: &str, is: &dyn Fn(&Held) -> bool| {
        let mut last = Held::by(&weir);
        let there = wait_until(what, SOON, || {
            last = Held::by(&weir);
            is(&last).then_some(last)
        });
        there.unwrap_or_else(|error| panic!("{error}; it is {last:?}"))
    };
    let before = settled("the services' backends alone to be left", &|held| held.backends <= 4);
    round("", EACH);
    let after = settled("as many files and pins as before", &|held| {
        held.files <= before.files && held.pins <= before.pins && held.backends <= before.backends
    });
    println!("before {before:?}, after {after:?}");
    assert!(after.resident_kb <= before.resident_kb + GROWTH_KB, "before {before:?}, after {after:?}");

    let running = host.engine.cli(&["ps", "--format", "{{.Names}}"]).unwrap();
    let running: BTreeSet<String> = running.lines().map(str::to_owned).collect();
    assert_eq!(weir.serving("web"), running);
    assert_eq!(weir.status().problems, [""; 0]);
}
