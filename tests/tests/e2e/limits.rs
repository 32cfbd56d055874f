//! Limits: what is offered, what is admitted, and what is counted.

use std::net::SocketAddr;
use std::time::Duration;

use weir::api::types::LimitRow;
use weir_tests::lab::{UdpEcho, UdpLoad, UdpReport, vip_v4, vip_v6};

use crate::stand::{Service, Stand};

const OFFERED_PER_S: u32 = 5_000;
const OFFERED_FOR: Duration = Duration::from_secs(3);
const MODEST_PER_S: u32 = 200;

fn vip(host: u8) -> SocketAddr {
    (vip_v4(host), 7).into()
}

fn limited(name: &'static str, vip: SocketAddr, limit: &str) -> Service {
    Service::udp(name, vip).with(&format!("limit = {limit}"))
}

/// The first client offers too much, the second little, both for the same time.
fn press(stand: &Stand, target: SocketAddr) -> [UdpReport; 2] {
    let load = |rate| UdpLoad::new(target, rate, OFFERED_FOR);
    let [greedy, modest] = &stand.lab.clients[..] else { panic!("two clients") };
    std::thread::scope(|scope| {
        let modest = scope.spawn(|| load(MODEST_PER_S).run(&modest.netns).unwrap());
        [load(OFFERED_PER_S).run(&greedy.netns).unwrap(), modest.join().unwrap()]
    })
}

/// Both clients' datagrams, as one sender's.
fn merged(reports: &[UdpReport; 2]) -> UdpReport {
    let mut sent_at: Vec<Duration> = reports.iter().flat_map(|report| report.sent_at.iter().copied()).collect();
    sent_at.sort_unstable();
    UdpReport { sent_at, ..UdpReport::default() }
}

fn assert_all_sent(reports: &[UdpReport; 2]) {
    let sent = reports.each_ref().map(|report| (report.sent, report.send_errors));
    assert_eq!(sent, [(15_000, 0), (600, 0)]);
}

/// What was admitted is within 1 % of `rate × time + burst`, or of what a bucket lets through of datagrams that a busy
/// machine sent late; and never more.
fn assert_admitted(admitted: u64, rate: f64, burst: f64, time: Duration, exact: u64) {
    let allowed = rate * time.as_secs_f64() + burst;
    let off = |wanted: f64| 100.0 * (admitted as f64 / wanted - 1.0);
    let (off_allowed, off_exact) = (off(allowed), off(exact as f64));
    println!("admitted {admitted}, allowed {allowed:.0}: {off_allowed:+.3} %, as sent {exact}: {off_exact:+.3} %");
    assert!(off_exact.abs() <= 1.0 && off_allowed <= 1.0, "admitted {admitted}, allowed {allowed:.1}, as sent {exact}");
}

/// The limits of one service; and what its backends were sent and what arrived there is what the last one admitted.
fn rows(stand: &Stand, service: &str, arrived_before: u64) -> Vec<LimitRow> {
    let rows: Vec<_> = stand.limits().into_iter().filter(|row| row.service == service).collect();
    let admitted = rows.last().unwrap().admitted;
    let backends = stand.backends(service);
    assert_eq!(backends.iter().map(|row| row.packets).sum::<u64>(), admitted, "{rows:?}");
    assert_eq!(arrived(stand) - arrived_before, admitted, "{rows:?}");
    rows
}

fn arrived(stand: &Stand) -> u64 {
    stand.echoes.iter().map(UdpEcho::received).sum()
}

/// One limit saw all that was sent, and answered each packet with one word.
fn assert_adds_up(row: &LimitRow, sent: u64) {
    assert_eq!(row.admitted + row.over, sent, "{row:?}");
}

fn per_source(name: &'static str, target: SocketAddr, limit: &str) {
    let stand = Stand::new(2, 2, &[limited(name, target, limit)]);
    let reports = press(&stand, target);
    assert_all_sent(&reports);
    let rows = rows(&stand, name, 0);
    assert_adds_up(&rows[0], 15_600);
    assert_eq!(reports[1].answered(), 600, "the other source is not touched");
    let exact = reports[0].within(1_000.0, 50.0);
    assert_admitted(rows[0].admitted - 600, 1_000.0, 50.0, reports[0].sending, exact);
    assert_eq!(reports[0].answered(), rows[0].admitted - 600);
    assert_eq!((stand.refused("over_source_limit"), stand.refused("over_service_limit")), (rows[0].over, 0));
    assert_eq!(stand.refused("limit_contended"), 0);
}

#[test]
fn a_source_gets_its_rate_and_its_burst_and_others_are_not_touched() {
    per_source("v4", vip(20), "{ per = \"source\", rate = 1000, unit = \"packets/s\", burst = 50 }");
}

#[test]
fn the_same_for_ipv6() {
    per_source("v6", (vip_v6(20), 7).into(), "{ per = \"source\", rate = 1000, unit = \"packets/s\", burst = 50 }");
}

#[test]
fn the_same_in_bytes_of_layer_3() {
    // 20 of IPv4, 8 of UDP, 32 of payload.
    per_source("bytes", vip(20), "{ per = \"source\", rate = 60000, unit = \"bytes/s\", burst = 3000 }");
}

#[test]
fn a_service_gets_its_rate_whoever_sends() {
    let limit = "{ per = \"service\", rate = 1000, unit = \"packets/s\", burst = 50 }";
    let stand = Stand::new(2, 2, &[limited("all", vip(20), limit), Service::udp("free", vip(21))]);
    let reports = press(&stand, vip(20));
    assert_all_sent(&reports);
    let rows = rows(&stand, "all", 0);
    assert_adds_up(&rows[0], 15_600);
    let time = reports[0].sending.max(reports[1].sending);
    // Both clients press on one bucket all the time, so that it is never empty.
    let exact = merged(&reports).within(1_000.0, 50.0);
    assert_admitted(rows[0].admitted, 1_000.0, 50.0, time, exact);
    assert_eq!(stand.refused("over_service_limit"), rows[0].over);
    // What one service does not get, another does.
    let report = UdpLoad::new(vip(21), 5_000, Duration::from_millis(500)).run(&stand.lab.clients[0].netns).unwrap();
    assert_eq!(report.answered(), 2_500);
}

/// Without a burst a packet is admitted when the last one has leaked away, to the nanosecond: never more than the
/// rate, and less by what a packet is late for the moment in which it would have fitted.
#[test]
fn a_strict_limit_never_gives_more_than_its_rate() {
    let limit = "{ per = \"source\", rate = 100, unit = \"packets/s\" }";
    let stand = Stand::new(2, 1, &[limited("strict", vip(20), limit)]);
    let target = vip(20);
    let [greedy, slow] = &stand.lab.clients[..] else { panic!("two clients") };
    let report = UdpLoad::new(target, OFFERED_PER_S, OFFERED_FOR).run(&greedy.netns).unwrap();
    let strict = &rows(&stand, "strict", 0)[0];
    assert_adds_up(strict, 15_000);
    assert_eq!(strict.burst, None);
    let most = 100.0 * report.sending.as_secs_f64() + 1.0;
    let admitted = strict.admitted as f64;
    println!("strict: admitted {admitted}, at most {most:.1}");
    // Offered every millisecond, the rate of one in ten is missed by at most one of eleven, and a busy machine's much more.
    assert!(admitted <= most && admitted >= 0.3 * most, "{admitted} of {most:.1}");
    // Evenly and slower, everything fits.
    let report = UdpLoad { flows: 1, ..UdpLoad::new(target, 20, Duration::from_secs(1)) }.run(&slow.netns).unwrap();
    assert_eq!(report.answered(), 20);
}

/// A packet meets its source's limit first: what that refuses does not press on the service's.
#[test]
fn several_limits_hold_together() {
    let limits = "[{ per = \"service\", rate = 500, unit = \"packets/s\", burst = 10 }, \
                  { per = \"source\", rate = 400, unit = \"packets/s\", burst = 10 }]";
    let stand = Stand::new(2, 2, &[limited("both", vip(20), limits)]);
    let reports = press(&stand, vip(20));
    assert_all_sent(&reports);
    let rows = rows(&stand, "both", 0);
    assert_eq!(rows.iter().map(|row| row.per.as_str()).collect::<Vec<_>>(), ["source", "service"]);
    assert_adds_up(&rows[0], 15_600);
    assert_adds_up(&rows[1], rows[0].admitted);
    let time = reports[0].sending.max(reports[1].sending);
    // 400 of the greedy source and 200 of the other one; 500 of them pass.
    let greedy = reports[0].within(400.0, 10.0);
    assert_admitted(rows[0].admitted, 400.0, 10.0 + 600.0, reports[0].sending, greedy + 600);
    // What the first limit admitted, evenly but for what a busy machine sent late, presses on the second.
    let most = (500.0 * time.as_secs_f64() + 10.0).round();
    assert!((0.97..=1.01).contains(&(rows[1].admitted as f64 / most)), "{} of {most}", rows[1].admitted);
}
