//! Queues of devices against a real kernel: made, changed, taken over, taken away, and those of others left alone. Root.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::Lab;
use weir::shaping::{CHECK, Exit, Queue, Rate, Shaper, Wanted, remove_all};

/// A shaper in a lab's host, whose replies leave by `h0`.
struct Host {
    lab: Lab,
    shaper: Shaper,
    generation: u64,
    now: Instant,
}

impl Host {
    fn new() -> Self {
        Self { lab: Lab::new(), shaper: Shaper::default(), generation: 0, now: Instant::now() }
    }

    /// The device's index.
    fn ifindex(&self) -> u32 {
        let shown = self.lab.host.run("ip -o link show h0");
        shown.split(':').next().and_then(|index| index.parse().ok()).expect("an index")
    }

    /// Has the shaper follow what is wanted; says whether packets wait elsewhere than before.
    fn want(&mut self, wanted: &Wanted) -> bool {
        let exits = [(self.ifindex(), Exit { name: "h0".into(), mtu: 1500 })].into();
        self.follow(wanted, exits)
    }

    fn follow(&mut self, wanted: &Wanted, exits: BTreeMap<u32, Exit>) -> bool {
        let Self { lab, shaper, generation, now } = self;
        *generation += 1;
        lab.host.inside(|| shaper.follow((*generation, || wanted.clone()), exits, *now))
    }

    fn queue(&self) -> Option<Queue> {
        self.shaper.queues().values().next().copied()
    }

    /// Without what has gone through them: the host speaks now and then.
    fn qdiscs(&self) -> String {
        let shown = self.lab.host.run("tc qdisc show dev h0");
        let words: Vec<&str> = shown.split(' ').collect();
        let is_count = |at: usize| at > 0 && words[at - 1] == "direct_packets_stat";
        let kept: Vec<&str> = (0..words.len()).filter(|at| !is_count(*at)).map(|at| words[at]).collect();
        kept.join(" ")
    }

    fn classes(&self) -> Vec<String> {
        let shown = self.lab.host.run("tc class show dev h0");
        let mut classes: Vec<String> = shown.lines().map(|line| line.trim().to_owned()).collect();
        classes.sort();
        classes
    }
}

/// Classes with these rates, in Mbit/s.
fn wanted(classes: &[(u16, u64)]) -> Wanted {
    let rate = |mbit: u64| Rate { bytes_per_s: mbit * 125_000, queue: 300_000 };
    Wanted {
        any: true,
        classes: classes.iter().map(|&(class, mbit)| (class, rate(mbit))).collect(),
        ..Wanted::default()
    }
}

#[test]
fn packets_a_second_do_not_wait_in_classes_and_it_is_said() {
    let mut host = Host::new();
    let timed = || ["192.0.2.10:53/udp".to_owned()].into();
    host.want(&Wanted { any: true, timed: timed(), ..Wanted::default() });
    let problem = |host: &Host| host.shaper.problems().collect::<Vec<_>>().join("; ");
    assert!(problem(&host).starts_with("h0: found no fq, which the limits of 192.0.2.10:53/udp"), "{}", problem(&host));
    assert!(host.qdiscs().starts_with("qdisc noqueue 0:"), "no class would be in it: {}", host.qdiscs());
    // Beside one that has a class.
    host.want(&Wanted { timed: timed(), ..wanted(&[(0x102, 50)]) });
    assert_eq!(host.queue(), Some(Queue::Classed));
    assert!(problem(&host).contains("found no fq"), "{}", problem(&host));
    host.want(&wanted(&[(0x102, 50)]));
    assert_eq!(problem(&host), "");
}

#[test]
fn a_queue_is_made_changed_and_taken_away() {
    let mut host = Host::new();
    assert!(!host.want(&Wanted::default()));
    assert!(host.qdiscs().starts_with("qdisc noqueue 0:"), "nothing is wanted: {}", host.qdiscs());

    assert!(host.want(&wanted(&[(0x102, 50), (0x4007, 8)])));
    assert_eq!((host.queue(), host.shaper.problems().count()), (Some(Queue::Classed), 0));
    assert!(host.qdiscs().contains("qdisc htb 7769: root"), "{}", host.qdiscs());
    let classes = host.classes();
    assert_eq!(classes.len(), 2, "{classes:?}");
    // 50 Mbit/s of packets of 1500 bytes are so many of frames of 1514.
    assert!(classes[0].contains("7769:102 root") && classes[0].contains("rate 50466"), "{classes:?}");
    assert!(classes[1].contains("7769:4007 root") && classes[1].contains("rate 8074"), "{classes:?}");
    assert_eq!(host.qdiscs().matches("limit 302800b").count(), 2, "{}", host.qdiscs());

    assert!(!host.want(&wanted(&[(0x102, 100)])), "packets wait where they did");
    let classes = host.classes();
    assert!(classes.len() == 1 && classes[0].contains("rate 100933"), "{classes:?}");
    assert_eq!(host.qdiscs().matches("bfifo").count(), 1, "{}", host.qdiscs());

    assert!(host.want(&Wanted::default()));
    assert!(host.qdiscs().starts_with("qdisc noqueue 0:"), "{}", host.qdiscs());
    host.want(&wanted(&[(0x102, 50)]));
    let Host { lab, shaper, .. } = host;
    assert_eq!(lab.host.inside(|| shaper.remove()).unwrap().len(), 1);
    assert!(lab.host.run("tc qdisc show dev h0").starts_with("qdisc noqueue 0:"));
}

#[test]
fn the_fastest_and_the_slowest_rate_are_kept() {
    let mut host = Host::new();
    let rate = |bytes_per_s| Rate { bytes_per_s, queue: 1 };
    let classes = [(0x102, rate(1)), (0x103, rate(12_500_000_000)), (0x104, rate(100_000_000_000))];
    let wanted = Wanted { any: true, classes: classes.into(), ..Wanted::default() };
    host.want(&wanted);
    assert_eq!(host.shaper.problems().collect::<Vec<_>>(), Vec::<String>::new());
    let classes = host.classes();
    assert!(classes[0].contains("rate 8bit") && classes[1].contains("rate 100933"), "{classes:?}");
    // Nothing has to be said twice: what the kernel shows is what was asked for.
    let before = (host.qdiscs(), classes);
    host.now += CHECK;
    host.want(&wanted);
    assert_eq!((host.qdiscs(), host.classes()), before);
}

#[test]
fn an_operators_queue_is_left_alone_and_named() {
    let mut host = Host::new();
    host.lab.host.run("tc qdisc add dev h0 root handle 1: htb default 30");
    host.want(&wanted(&[(0x102, 50)]));
    let problems: Vec<String> = host.shaper.problems().collect();
    assert!(problems.len() == 1 && problems[0].starts_with("h0: found a queue htb"), "{problems:?}");
    assert_eq!(host.queue(), None);
    assert!(host.qdiscs().contains("htb 1: root") && host.classes().is_empty(), "{}", host.qdiscs());
    // Once it is gone, Weir makes its own; and looks again by itself.
    host.lab.host.run("tc qdisc del dev h0 root");
    host.now += CHECK;
    assert_eq!(host.shaper.next_at(), Some(host.now));
    assert!(host.want(&wanted(&[(0x102, 50)])));
    assert_eq!((host.queue(), host.shaper.problems().count()), (Some(Queue::Classed), 0));
    // And makes way for the next one.
    host.lab.host.run("tc qdisc replace dev h0 root handle 1: pfifo");
    host.now += CHECK + Duration::from_secs(1);
    assert!(host.want(&wanted(&[(0x102, 50)])));
    assert_eq!(host.queue(), None);
    let Host { lab, shaper, .. } = host;
    assert_eq!(lab.host.inside(|| shaper.remove()).unwrap(), Vec::<String>::new());
    assert!(lab.host.run("tc qdisc show dev h0").contains("pfifo 1: root"));
}

#[test]
fn what_an_earlier_run_left_is_taken_over_or_away() {
    let mut host = Host::new();
    host.want(&wanted(&[(0x102, 50), (0x4007, 8)]));
    host.lab.host.run("tc class change dev h0 classid 7769:102 htb rate 1mbit");
    // It was killed.
    host.shaper = Shaper::default();
    host.want(&wanted(&[(0x102, 50)]));
    let classes = host.classes();
    assert!(classes.len() == 1 && classes[0].contains("rate 50466"), "{classes:?}");
    host.shaper = Shaper::default();
    host.want(&Wanted::default());
    assert!(host.qdiscs().starts_with("qdisc noqueue 0:"), "{}", host.qdiscs());
    host.want(&wanted(&[(0x102, 50)]));
    // Nobody runs any more.
    assert_eq!(host.lab.host.inside(remove_all).unwrap().len(), 1);
    assert!(host.qdiscs().starts_with("qdisc noqueue 0:"), "{}", host.qdiscs());
}

#[test]
fn devices_come_and_go() {
    let mut host = Host::new();
    host.want(&wanted(&[(0x102, 50)]));
    host.lab.host.run("ip link del h0");
    host.lab.wire();
    assert!(host.want(&wanted(&[(0x102, 50)])), "another device");
    assert_eq!(host.classes().len(), 1);
    // Replies leave by it no more.
    assert!(host.follow(&wanted(&[(0x102, 50)]), BTreeMap::new()));
    assert!(host.qdiscs().starts_with("qdisc noqueue 0:"), "{}", host.qdiscs());
    // One that has just gone is no problem to the others.
    let gone = Exit { name: "gone".into(), mtu: 1500 };
    let exits = [(host.ifindex(), Exit { name: "h0".into(), mtu: 1500 }), (9_999, gone)].into();
    assert!(host.follow(&wanted(&[(0x102, 50)]), exits));
    assert_eq!((host.queue(), host.shaper.problems().count()), (Some(Queue::Classed), 1));
}
