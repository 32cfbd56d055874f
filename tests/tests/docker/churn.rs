//! Containers that come and go, many times: nothing of them stays.

use std::collections::BTreeSet;
use std::path::Path;

use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use lb_common::abi;
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
    /// Entries of the pinned `DEVICES`.
    devices: usize,
    /// Entries of the pinned `ENDPOINTS`.
    endpoints: usize,
    /// Entries of the pinned `VIPS`.
    vips: usize,
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
            devices: entries::<u32, abi::Device>(weir, abi::map::DEVICES),
            endpoints: entries::<abi::VipKey, abi::Endpoint>(weir, abi::map::ENDPOINTS),
            vips: entries::<abi::VipKey, u32>(weir, abi::map::VIPS),
            backends: weir.status().backends,
            resident_kb: resident.trim().trim_end_matches(" kB").parse().unwrap(),
        }
    }

    /// Whether nothing is there that was not there before. Of memory no one can say that.
    fn is_within(&self, before: &Self) -> bool {
        let counts = |held: &Self| [held.files, held.pins, held.devices, held.endpoints, held.vips, held.backends];
        counts(self).iter().zip(counts(before)).all(|(now, before)| *now <= before)
    }
}

/// How many entries a pinned hash has.
fn entries<K: Pod, V: Pod>(weir: &Weir<'_>, name: &str) -> usize {
    let pinned = MapData::from_pin(weir.host.lab.state().join("maps").join(name)).unwrap();
    let map: HashMap<_, K, V> = Map::HashMap(pinned).try_into().unwrap();
    map.keys().map(Result::unwrap).count()
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
                        // By force: SIGKILL, and gone.
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
    // Four VIPs, each of one backend.
    let before = settled("the services' backends alone to be left", &|held| (held.backends, held.vips) == (4, 4));
    round("", EACH);
    let after = settled("no more to be held than before", &|held| held.is_within(&before));
    println!("before {before:?}, after {after:?}");
    assert!(after.resident_kb <= before.resident_kb + GROWTH_KB, "before {before:?}, after {after:?}");

    let running = host.engine.cli(&["ps", "--format", "{{.Names}}"]).unwrap();
    let running: BTreeSet<String> = running.lines().map(str::to_owned).collect();
    assert_eq!(weir.serving("web"), running);
    assert_eq!(weir.status().problems, [""; 0]);
}
