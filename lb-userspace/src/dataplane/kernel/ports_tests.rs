//! Programs on ports that come and go, in a real kernel. Root.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};
use weir_tests::lab::{BACK, FRONT, Lab};

use super::{Attachments, Capacity, Pins, TakeOver};
use crate::config::{Interface, Mode};
use crate::nexthop::{Follower, NextHops};

const SMALL: Capacity = Capacity::SMALL;
const LARGE: Capacity = Capacity { services: 16, backends: 64, ..SMALL };

/// Longer than the kernel takes for anything here.
const DEADLINE: Duration = Duration::from_secs(20);

struct Host {
    lab: Lab,
    follower: Follower,
    runtime: tokio::runtime::Runtime,
}

impl Host {
    /// A host with two NICs, and a bridge without ports.
    fn new() -> Self {
        let lab = Lab::builder().clients(1).backends(1).build().unwrap();
        lab.weir.ip_batch("link add name docker7 type bridge\nlink set dev docker7 up\n").unwrap();
        let follower = lab.weir.run(Follower::start).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { lab, follower, runtime }
    }

    /// Starts containers' ports on the bridge; the other ends are elsewhere.
    fn add(&self, names: &[String]) {
        let lines: Vec<String> = names
            .iter()
            .map(|name| {
                format!(
                    "link add name {name} type veth peer name {name}p netns {}\nlink set dev {name} master docker7 up\n",
                    self.lab.switch.name()
                )
            })
            .collect();
        self.lab.weir.ip_batch(&lines.concat()).unwrap();
    }

    fn delete(&self, names: &[String]) {
        let lines: Vec<String> = names.iter().map(|name| format!("link del dev {name}\n")).collect();
        self.lab.weir.ip_batch(&lines.concat()).unwrap();
    }

    /// Waits until the follower says so of the devices.
    fn until(&self, right: impl Fn(&NextHops) -> bool) -> Arc<NextHops> {
        let mut changes = self.follower.changes();
        self.runtime.block_on(async {
            let seen = tokio::time::timeout(DEADLINE, changes.wait_for(|next| right(next))).await;
            Arc::clone(&seen.expect("in time").expect("the follower lives"))
        })
    }

    fn ports(&self, count: usize) -> Arc<NextHops> {
        self.until(|next| next.devices.values().filter(|device| device.bridge.is_some()).count() == count)
    }

    fn start(&self, wanted: Capacity) -> Attachments {
        let interface = |name: &str| Interface { name: name.to_owned(), mode: Mode::Skb, peer_has_xdp: false, line: 1 };
        let devices = self.follower.changes().borrow().devices.clone();
        self.lab.weir.run(|| {
            let pins = Pins::open(&self.lab.state()).unwrap_or_else(|error| panic!("{error:#}"));
            let takeover = TakeOver::load(pins, wanted, 7, false).unwrap_or_else(|error| panic!("{error:#}"));
            let interfaces = vec![interface(FRONT), interface(BACK)];
            takeover.commit(interfaces, &devices, Instant::now()).unwrap_or_else(|error| panic!("{error:#}"))
        })
    }

    fn follow(&self, attachments: &mut Attachments, next: &NextHops, now: Instant) {
        self.lab.weir.run(|| attachments.follow(&next.devices, now));
    }

    /// The pinned links, and which program each runs.
    fn pinned(&self) -> BTreeMap<String, u32> {
        let names = std::fs::read_dir(self.lab.state().join("links")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let info = |name: &str| {
            let pinned = aya::programs::links::PinnedLink::from_pin(self.lab.state().join("links").join(name)).unwrap();
            aya::programs::links::FdLink::from(pinned).info().unwrap().program_id()
        };
        names.map(|name| (name.clone(), info(&name))).collect()
    }

    /// The programs that packets which come in by a device meet, in order.
    fn on_ingress(&self, device: &str) -> Vec<u32> {
        let programs = self.lab.weir.run(|| SchedClassifier::query_tcx(device, TcAttachType::Ingress)).unwrap().1;
        programs.iter().map(aya::programs::ProgramInfo::id).collect()
    }

    /// What is pinned when programs are on ports of these names, on both NICs and on the loopback device.
    fn expected(&self, ports: &[String]) -> BTreeSet<String> {
        let index = |name: &str| self.lab.weir.index(name).unwrap();
        let nics = [FRONT, BACK].map(index);
        let nics = nics.iter().flat_map(|index| ["xdp_skb", "egress", "ingress"].map(|hook| format!("{hook}_{index}")));
        let ports = ports.iter().map(|name| format!("ingress_{}", index(name)));
        let bridge = format!("egress_{}", index("docker7"));
        nics.chain(ports).chain(["egress_1".to_owned(), bridge]).collect()
    }

    fn names(&self) -> BTreeSet<String> {
        self.pinned().into_keys().collect()
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

fn wanted() -> BTreeSet<String> {
    ["docker7".to_owned()].into()
}

#[test]
fn ports_come_and_go_and_leave_nothing() {
    let host = Host::new();
    let mut attachments = host.start(SMALL);
    let before = host.names();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    host.add(&names("c", 1));
    let next = host.ports(1);
    host.follow(&mut attachments, &next, Instant::now());
    assert_eq!(host.names(), before, "nobody wants the bridge");

    attachments.want_bridges(wanted());
    host.follow(&mut attachments, &next, Instant::now());
    assert_eq!(host.names(), host.expected(&names("c", 1)));
    assert_eq!(attachments.ingress().len(), 3);
    let rows: Vec<String> = attachments.rows().into_iter().map(|row| format!("{}: {}", row.name, row.mode)).collect();
    assert_eq!(rows, [format!("{FRONT}: skb"), format!("{BACK}: skb"), "docker7: bridge, 1 port".to_owned()]);
    host.delete(&names("c", 1));

    let (mut open, mut slowest) = (0, Duration::ZERO);
    for round in 0..10 {
        let all = names(&format!("r{round}x"), 20);
        host.add(&all);
        let next = host.ports(20);
        let began = Instant::now();
        host.follow(&mut attachments, &next, began);
        slowest = slowest.max(began.elapsed());
        assert_eq!(attachments.retry_at(), Some(began), "the rest of them is for next time");
        for _ in 1..5 {
            host.follow(&mut attachments, &next, Instant::now());
        }
        assert_eq!(host.names(), host.expected(&all));
        assert_eq!(attachments.problems().collect::<Vec<_>>(), Vec::<String>::new());
        if round == 0 {
            open = descriptors();
        }
        host.delete(&all);
    }
    println!("8 ports at once: {slowest:?} at most");
    host.follow(&mut attachments, &host.ports(0), Instant::now());
    assert_eq!(host.names(), host.expected(&[]));
    assert!(descriptors() <= open, "{open} descriptors, and then {}", descriptors());

    // What is not wanted for the moment stays for a while.
    host.add(&names("c", 2));
    let next = host.ports(2);
    let now = Instant::now();
    host.follow(&mut attachments, &next, now);
    attachments.want_bridges(BTreeSet::new());
    host.follow(&mut attachments, &next, now);
    assert_eq!(host.names(), host.expected(&names("c", 2)));
    let later = attachments.retry_at().expect("something is to be let go");
    assert_eq!(later, now + Duration::from_secs(60));
    host.follow(&mut attachments, &next, later);
    assert_eq!(host.names(), before);
    assert_eq!(attachments.retry_at(), None);
    host.lab.weir.run(|| attachments.remove()).unwrap();
    assert!(!host.lab.state().exists());
}

#[test]
fn who_starts_after_a_kill_takes_over_the_ports() {
    let host = Host::new();
    let all = names("c", 3);
    host.add(&all);
    let next = host.ports(3);
    // Somebody else's program is there first, and runs second.
    let mut stranger = super::Object::load(SMALL, false).unwrap();
    host.lab.weir.run(|| stranger.ingress().unwrap().attach("c0", TcAttachType::Ingress).unwrap());
    let others = host.on_ingress("c0");
    let mut attachments = host.start(SMALL);
    attachments.want_bridges(wanted());
    host.follow(&mut attachments, &next, Instant::now());
    let mut before = host.pinned();
    let own = before[&format!("ingress_{}", host.lab.weir.index("c0").unwrap())];
    assert_eq!(host.on_ingress("c0"), [vec![own], others].concat());
    // Larger maps, maps of the same size, and smaller ones.
    for capacity in [LARGE, LARGE, SMALL] {
        drop(attachments);
        attachments = host.start(capacity);
        // It learns by and by which bridges it wants.
        host.follow(&mut attachments, &next, Instant::now());
        let after = host.pinned();
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        assert!(
            after.iter().all(|(name, program)| before[name] != *program),
            "all programs are new: {before:?} {after:?}"
        );
        assert!(!host.lab.state().join("new").exists() && !host.lab.state().join("next").exists());
        before = after;
    }
    drop(attachments);
    // What goes while nobody looks is swept.
    host.delete(&all[1..]);
    let next = host.ports(1);
    let mut attachments = host.start(SMALL);
    assert_eq!(host.names(), host.expected(&all[..1]));
    attachments.want_bridges(wanted());
    host.follow(&mut attachments, &next, Instant::now());
    assert_eq!(host.names(), host.expected(&all[..1]));
    drop(attachments);
    let said = host.lab.weir.run(|| super::pins::detach(&host.lab.state())).unwrap().join("\n");
    assert!(said.contains("ingress_") && said.contains("egress_1, the program on the device with index 1"), "{said}");
    assert!(!host.lab.state().exists());
    assert_eq!(host.on_ingress("c0").len(), 1, "the stranger's");
}

#[test]
fn a_bridge_that_is_configured_has_its_ports_attached_to() {
    let host = Host::new();
    host.add(&names("c", 2));
    let next = host.ports(2);
    let mut attachments = host.start(SMALL);
    let interface = |name: &str| Interface { name: name.to_owned(), mode: Mode::Auto, peer_has_xdp: false, line: 1 };
    attachments.want(vec![interface(FRONT), interface(BACK), interface("docker7")]);
    host.follow(&mut attachments, &next, Instant::now());
    assert_eq!(host.names(), host.expected(&names("c", 2)));
    assert_eq!(attachments.problems().collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(*attachments.bridges(), wanted());
    drop(attachments);
    // At a start, too.
    let devices = next.devices.clone();
    let attachments = host.lab.weir.run(|| {
        let takeover = TakeOver::load(Pins::open(&host.lab.state()).unwrap(), SMALL, 7, false).unwrap();
        takeover.commit(vec![interface("docker7")], &devices, Instant::now()).unwrap_or_else(|e| panic!("{e:#}"))
    });
    assert_eq!(attachments.rows().iter().map(|row| row.mode.as_str()).collect::<Vec<_>>(), ["bridge, 2 ports"]);
    host.lab.weir.run(|| attachments.remove()).unwrap();
}
