//! What local backends send waits: Weir's own queue on the device that replies leave by.

use std::io::Read;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use weir_tests::lab::{BACK, FRONT, Lab, Netns, Task, WEIR_BACK_V4, WEIR_BACK_V6, vip_v4, vip_v6};

use crate::stand::{Service, Stand, config};

/// Where backends pour out bytes for whoever connects.
const PORT: u16 = 9000;
/// For how long somebody drinks.
const TIME: Duration = Duration::from_secs(6);
/// The rate of the limits, in bits per second.
const RATE: f64 = 50e6;
const TRIALS: usize = 3;

/// A lab whose backends are behind a port of a bridge of Weir's host, as local containers are.
fn lab(backends: u8) -> Lab {
    let lab = Lab::builder().backends(backends).build().unwrap();
    let bridge = format!(
        "link add br0 type bridge\nlink set dev {BACK} master br0\naddr flush dev {BACK}\naddr add {WEIR_BACK_V4}/24 dev br0\n\
         addr add {WEIR_BACK_V6}/64 dev br0 nodad\nlink set dev br0 up\n"
    );
    lab.weir.ip_batch(&bridge).unwrap();
    lab
}

/// Sends zeroes to whoever connects, for as long as they are taken.
fn fountain(netns: &Netns) -> Task {
    let listener = netns.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))).unwrap();
    listener.set_nonblocking(true).unwrap();
    netns.spawn("fountain", move || async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(async move { while stream.write_all(&[0; 65_536]).await.is_ok() {} });
        }
    })
}

/// What so many connections get together, in bits of payload per second.
fn drink(netns: &Netns, server: SocketAddr, connections: usize) -> f64 {
    let began = Instant::now();
    let one = || {
        let mut stream = netns.run(|| TcpStream::connect(server)).unwrap();
        stream.set_read_timeout(Some(TIME)).unwrap();
        let (mut buffer, mut got) = (vec![0; 1 << 20], 0_usize);
        while began.elapsed() < TIME {
            got += stream.read(&mut buffer).unwrap();
        }
        got
    };
    let got: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    });
    got as f64 * 8.0 / began.elapsed().as_secs_f64()
}

/// How many TCP segments were sent again from there.
fn sent_again(netns: &Netns) -> u64 {
    let snmp = netns.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp")).unwrap();
    let mut tcp = snmp.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
    let (mut names, mut values) = (tcp.next().unwrap(), tcp.next().unwrap());
    values.nth(names.position(|name| name == "RetransSegs").unwrap()).unwrap().parse().unwrap()
}

fn service(vip: std::net::IpAddr, per: &str) -> Service {
    let limit = format!("{{ per = {per:?}, direction = \"out\", rate = \"50 Mbit/s\", over = \"delay\" }}");
    Service::tcp("bulk", (vip, 80).into()).at(PORT).with(&format!("limit = [{limit}]"))
}

/// Fountains at work behind Weir.
struct Waiting {
    stand: Stand,
    _fountains: Vec<Task>,
}

/// Weir on the clients' side alone: the backends' is a port of a bridge.
fn stand(lab: Lab, service: Service) -> Waiting {
    let fountains = lab.backends.iter().map(|backend| fountain(&backend.netns)).collect();
    let back = format!("\n[[interface]]\nname = {BACK:?}\nmode = \"native\"\n");
    let text = config(&lab, std::slice::from_ref(&service)).replace(&back, "");
    Waiting { stand: Stand::with_text(lab, &[service], &text), _fountains: fountains }
}

fn queue(lab: &Lab) -> String {
    lab.weir.command("tc", &["qdisc", "show", "dev", FRONT]).unwrap()
}

#[test]
fn tcp_has_nearly_all_of_a_rate_that_it_waits_for() {
    for vip in [vip_v4(9), vip_v6(9)] {
        let Waiting { mut stand, _fountains } = stand(lab(1), service(vip, "service"));
        assert!(queue(&stand.lab).contains("htb 7769: root"), "{}\n{}", queue(&stand.lab), stand.weir.log());
        // With what a container's stack merges, and without.
        for offload in ["off", "on"] {
            for feature in ["tx", "gso", "tso"] {
                stand.lab.weir.command("ethtool", &["-K", FRONT, feature, offload]).unwrap();
                stand.lab.backends[0].netns.command("ethtool", &["-K", "net0", feature, offload]).unwrap();
            }
            let before = sent_again(&stand.lab.backends[0].netns);
            // Of 1500 bytes of IPv6, headers with TCP's timestamps are 72: there is no more than 95.2 %.
            let least = if vip.is_ipv4() { 0.95 } else { 0.94 };
            let drunk = || drink(&stand.lab.clients[0].netns, (vip, 80).into(), 1);
            // A processor that somebody else had for a moment is not the limit's to answer for; too much is.
            let got = (1..TRIALS).map(|_| drunk()).find(|got| *got >= least * RATE).unwrap_or_else(drunk);
            let again = sent_again(&stand.lab.backends[0].netns) - before;
            println!("offloads {offload}, {vip}: {:.1} % of the rate, {again} segments again", 100.0 * got / RATE);
            let shown = stand.lab.weir.command("tc", &["-s", "class", "show", "dev", FRONT]).unwrap();
            assert!((least..1.0).contains(&(got / RATE)), "{got} bit/s of {RATE}\n{shown}");
        }
        assert!(stand.weir.stop().unwrap().success());
        assert!(queue(&stand.lab).starts_with("qdisc noqueue 0:"), "{}", queue(&stand.lab));
    }
}

#[test]
fn each_backend_has_the_rate() {
    let vip = vip_v4(9);
    let Waiting { stand, _fountains } = stand(lab(2), service(vip, "backend"));
    let drunk = || drink(&stand.lab.clients[0].netns, (vip, 80).into(), 16);
    let got = (1..TRIALS).map(|_| drunk()).find(|got| *got >= 1.85 * RATE).unwrap_or_else(drunk);
    println!("two backends: {:.1} % of the rate", 100.0 * got / RATE);
    let shown = stand.lab.weir.command("tc", &["-s", "class", "show", "dev", FRONT]).unwrap();
    assert!((1.85..2.0).contains(&(got / RATE)), "{got} bit/s of twice {RATE}\n{shown}");
}

/// What waits goes on waiting where there is no Weir any more, as its programs go on; whoever comes next takes the queue over.
#[test]
fn the_queue_outlives_a_crash_and_a_stop_that_keeps_and_ends_with_detach() {
    let vip = vip_v4(9);
    let Waiting { mut stand, _fountains } = stand(lab(1), service(vip, "service"));
    let classes = |lab: &Lab| lab.weir.command("tc", &["class", "show", "dev", FRONT]).unwrap();
    let made = classes(&stand.lab);
    assert!(made.contains("class htb 7769:"), "{made}");
    let file = stand.lab.dir().join("weir.toml");
    let keeping = std::fs::read_to_string(file).unwrap().replacen("[weir]\n", "[weir]\non_exit = \"keep\"\n", 1);
    for ends in [
        |stand: &mut Stand| assert!(!stand.weir.kill().unwrap().success()),
        |stand: &mut Stand| {
            assert!(stand.weir.stop().unwrap().success());
        },
    ] {
        ends(&mut stand);
        assert_eq!(classes(&stand.lab), made);
        let got = drink(&stand.lab.clients[0].netns, (vip, 80).into(), 1);
        println!("without Weir: {:.1} % of the rate", 100.0 * got / RATE);
        assert!((0.5..1.0).contains(&(got / RATE)), "{got} bit/s of {RATE}");
        stand.write_config(&keeping);
        stand.weir.restart(&stand.lab).unwrap();
        assert_eq!((classes(&stand.lab), stand.status().problems), (made.clone(), vec![]));
    }
    assert_eq!(stand.weir.log().matches("made an htb queue").count(), 1, "{}", stand.weir.log());
    assert!(stand.weir.stop().unwrap().success());
    let said = stand.weir.cli(&["detach"]).unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(queue(&stand.lab).starts_with("qdisc noqueue 0:"), "{}\n{said:?}", queue(&stand.lab));
}

#[test]
fn where_somebody_has_set_up_a_queue_what_is_over_is_dropped() {
    let vip = vip_v4(9);
    let lab = lab(1);
    lab.weir.command("tc", &["qdisc", "add", "dev", FRONT, "root", "handle", "1:", "pfifo"]).unwrap();
    let Waiting { mut stand, _fountains } = stand(lab, service(vip, "service"));
    let problems = stand.status().problems;
    assert!(problems.iter().any(|problem| problem.starts_with("front: found a queue pfifo")), "{problems:?}");
    let got = drink(&stand.lab.clients[0].netns, (vip, 80).into(), 1);
    println!("dropped: {:.1} % of the rate", 100.0 * got / RATE);
    assert!(got < RATE, "{got} bit/s of {RATE}");
    let row = &stand.limits()[0];
    assert!(row.over > 0 && row.delayed == 0, "{row:?}");
    assert!(stand.weir.stop().unwrap().success());
    assert!(queue(&stand.lab).starts_with("qdisc pfifo 1: root"), "{}", queue(&stand.lab));
}
