//! The lasting traffic tests itself: over plain routes, without Weir, nothing breaks, and what is broken is seen.

use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::lab::traffic::{
    ANSWER_PORT, Answerer, Cause, Fleet, Ledger, Lives, Manners, ShortLoad, SynFlood, Traffic, UdpStream,
};
use weir_tests::lab::{Backend, Lab, wait_until};

const SOON: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(300);

fn targets(backend: &Backend) -> Vec<SocketAddr> {
    vec![(backend.v4, ANSWER_PORT).into(), (backend.v6, ANSWER_PORT).into()]
}

#[test]
fn nothing_breaks_where_nothing_changes() {
    let lab = Lab::builder().backends(1).build().unwrap();
    let (client, backend) = (&lab.clients[0].netns, &lab.backends[0]);
    let server = Answerer::start(&backend.netns, &backend.name).unwrap();
    let ledger = Ledger::default();
    let lives = Lives::Some { one_in: 2, longest: PAUSE };
    let manners = Manners { lives, ..Manners::new(targets(backend), 60, PAUSE) };
    let tcp = Fleet::tcp(client, manners.clone(), &ledger);
    let udp = Fleet::udp(client, manners, &ledger);
    let short = ShortLoad::start(client, targets(backend), 200, &ledger);
    let stream = UdpStream::start(client, &targets(backend), 2_000, 4).unwrap();
    let mut answered = 0;
    wait_until("all kinds of traffic to have been answered often", SOON, || {
        answered += short.take().answers.get(&backend.name).copied().unwrap_or_default();
        let exchanged = tcp.exchanges() >= 600 && udp.exchanges() >= 600;
        (exchanged && answered >= 300 && stream.sent() >= 4_000 && tcp.open() > 29 && udp.open() > 29).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:?} {tcp:?} {udp:?}", ledger.breaks()));
    let report = stream.stop();
    assert_eq!((report.lost(), report.twice, report.wrong, report.moved), (0, 0, 0, 0), "{report:?}");
    assert_eq!(server.streamed(), report.sent);
    tcp.end();
    udp.end();
    wait_until("the fleets to end", SOON, || (tcp.ended() && udp.ended()).then_some(())).unwrap();
    assert_eq!((tcp.open(), udp.open(), udp.lost()), (0, 0, 0));
    assert_eq!((ledger.count(), ledger.excused()), (0, 0), "{:?}", ledger.breaks());
}

#[test]
fn what_breaks_is_entered_unless_it_is_excused() {
    let lab = Lab::builder().backends(1).build().unwrap();
    let (client, backend) = (&lab.clients[0].netns, &lab.backends[0]);
    let ledger = Ledger::default();
    let mut server = Answerer::start(&backend.netns, &backend.name).unwrap();
    let tcp = Fleet::tcp(client, Manners::new(targets(backend), 10, PAUSE), &ledger);
    let udp = Fleet::udp(client, Manners::new(targets(backend), 10, PAUSE), &ledger);
    let all = || wait_until("all to be open", SOON, || (tcp.open() == 10 && udp.open() == 10).then_some(()));
    all().unwrap();

    // Another server in the same place: as if packets had gone to another backend.
    drop(server);
    server = Answerer::start(&backend.netns, "another").unwrap();
    wait_until("all connections to break", SOON, || (ledger.count() >= 20).then_some(())).unwrap();
    let breaks = ledger.breaks();
    assert!(breaks.iter().any(|broken| (broken.traffic, broken.cause) == (Traffic::Udp, Cause::OtherBackend)));
    assert!(breaks.iter().any(|broken| broken.traffic == Traffic::LongTcp && broken.v6), "{breaks:?}");
    wait_until("all to be open", SOON, || (tcp.by_backend().get("another") == Some(&10)).then_some(())).unwrap();
    all().unwrap();
    let entered = ledger.count();

    let excused = ledger.excuse("another");
    drop(server);
    wait_until("all TCP connections to break", SOON, || (ledger.excused() >= 10).then_some(())).unwrap();
    let _server = Answerer::start(&backend.netns, "another").unwrap();
    all().unwrap();
    drop(excused);
    assert_eq!(ledger.count(), entered, "{:?}", ledger.breaks());
}

#[test]
fn a_flood_is_counted_and_its_syns_are_good() {
    let lab = Lab::builder().backends(1).build().unwrap();
    let backend = &lab.backends[0];
    let _server = Answerer::start(&backend.netns, &backend.name).unwrap();
    let opened = || {
        let text = backend.netns.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp")).unwrap();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        pairs.find(|(name, _)| *name == "InErrs").map(|(_, value)| value.to_owned()).unwrap()
    };
    let flood = SynFlood { targets: targets(backend), count: 2_000, rate_per_s: 20_000, seed: 1 };
    let report = flood.run(&lab.clients[0], &lab.weir, |_| ()).unwrap();
    assert_eq!(report.sent, 2_000);
    let half_open = || {
        let text = backend.netns.command("ss", &["-Htn", "state", "syn-recv"]).unwrap();
        text.lines().filter(|line| line.contains("100.") || line.contains("5eed")).count()
    };
    wait_until("SYNs to have been taken", SOON, || (half_open() > 0).then_some(())).unwrap();
    assert_eq!(opened(), "0", "segments with errors");
}
