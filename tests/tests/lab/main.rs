//! The lab tests itself: what the other tests rely on, without Weir.

mod delay_line;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hyper::Method;
use nix::sys::signal::Signal;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use weir_tests::lab::{
    BACK, Consul, FRONT, FrameSocket, HOST_DEVICE, HTTP_PORT, HttpLoad, HttpServer, Kept, Lab, Process, Registration,
    Tag, Trunk, UDP_PORT, UdpEcho, UdpLoad, WAY_DEVICE, WEIR_FRONT_V4, WEIR_FRONT_V6, request, run, sweep, vip_v4,
    vip_v6, wait_until,
};

const SECOND: Duration = Duration::from_secs(1);

fn mounted_below(dir: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|point| Path::new(point).starts_with(dir)))
}

fn namespaces() -> Vec<String> {
    let listed = run(Command::new("ip").args(["netns", "list"])).unwrap();
    let own = format!("weir-{}-", std::process::id());
    listed.lines().filter(|line| line.starts_with(&own)).map(str::to_owned).collect()
}

#[test]
fn clients_reach_backends_through_weirs_host_over_tcp_v4_and_v6() {
    let lab = Lab::builder().clients(2).backends(2).build().unwrap();
    for backend in &lab.backends {
        let server = HttpServer::start(&backend.netns, &backend.name, HTTP_PORT).unwrap();
        for address in [IpAddr::from(backend.v4), IpAddr::from(backend.v6)] {
            for client in &lab.clients {
                let report = HttpLoad::new((address, HTTP_PORT).into(), 100).run(&client.netns);
                assert_eq!((report.failed(), report.answered()), (0, 100), "{report:?}");
                assert_eq!(report.answers.keys().collect::<Vec<_>>(), [&backend.name]);
            }
        }
        assert_eq!((server.requests(), server.connections()), (400, 400));
    }
}

#[test]
fn a_flow_can_be_had_again_from_the_same_port() {
    let lab = Lab::builder().backends(1).build().unwrap();
    let backend = &lab.backends[0];
    let _server = HttpServer::start(&backend.netns, &backend.name, HTTP_PORT).unwrap();
    let target = SocketAddr::from((backend.v4, HTTP_PORT));
    let load = HttpLoad { source_ports: (2_000..2_500).collect(), ..HttpLoad::new(target, 500) };
    for _ in 0..3 {
        let report = load.run(&lab.clients[0].netns);
        assert_eq!(report.answered(), 500, "{:?}", report.errors);
    }
}

#[test]
fn udp_is_paced_exactly_and_nothing_is_lost() {
    let lab = Lab::builder().backends(1).build().unwrap();
    let backend = &lab.backends[0];
    let echo = UdpEcho::start(&backend.netns, &backend.name, UDP_PORT).unwrap();
    for address in [IpAddr::from(backend.v4), IpAddr::from(backend.v6)] {
        let before = echo.received();
        let report = UdpLoad::new((address, UDP_PORT).into(), 5_000, SECOND).run(&lab.clients[0].netns).unwrap();
        assert_eq!((report.sent, report.send_errors, report.answered()), (5_000, 0, 5_000));
        assert_eq!(echo.received() - before, 5_000);
        // The last of 5,000 is due 200 µs before the second is over; a busy machine is late, never early.
        let milliseconds = report.sending.as_millis();
        assert!((999..1_100).contains(&milliseconds), "sent for {milliseconds} ms");
    }
}

#[test]
fn frames_arrive_byte_for_byte_tagged_or_not() {
    let lab = Lab::builder().build().unwrap();
    let (client, front) = (&lab.clients[0].netns, lab.weir.mac(FRONT).unwrap());
    let sender = FrameSocket::open(client, HOST_DEVICE).unwrap();
    let receiver = FrameSocket::open(&lab.weir, FRONT).unwrap();
    let elsewhere = FrameSocket::open(&lab.weir, BACK).unwrap();
    let source = client.mac(HOST_DEVICE).unwrap();
    let payload: Vec<u8> = (0..200).collect();
    for kind in [&[0x88, 0xb5][..], &[0x81, 0x00, 0x60, 0x2a, 0x88, 0xb5], &[0x88, 0xa8, 0x00, 0x07, 0x88, 0xb5]] {
        let frame = [&front[..], &source, kind, &payload].concat();
        sender.send(&frame).unwrap();
        // The client's kernel sends too: it reports to the link which multicast groups it is in (RFC 3810).
        let received = receiver.expect(SECOND, |candidate| candidate.ends_with(&payload)).unwrap();
        assert_eq!(received, frame);
    }
    let missing = elsewhere.expect(Duration::from_millis(50), |candidate| candidate.ends_with(&payload)).unwrap_err();
    assert!(missing.to_string().contains("did not arrive at back"), "{missing}");
}

#[test]
fn neighbours_are_learnt_not_given() {
    let lab = Lab::builder().build().unwrap();
    assert_eq!(lab.clients[0].netns.ip("neigh show").unwrap(), "");
    for address in [IpAddr::from(WEIR_FRONT_V4), IpAddr::from(WEIR_FRONT_V6)] {
        let server = SocketAddr::from((address, 1));
        let refused = request(&lab.clients[0].netns, Method::GET, server, "/", "", SECOND).unwrap_err();
        assert!(format!("{refused:#}").contains("refused"), "{refused:#}");
    }
    let learnt = lab.clients[0].netns.ip("neigh show").unwrap();
    assert!(learnt.contains(&WEIR_FRONT_V4.to_string()) && learnt.contains(&WEIR_FRONT_V6.to_string()), "{learnt}");
}

#[test]
fn links_leave_no_work_for_a_nic_that_is_not_there_and_take_what_xdp_sends() {
    let lab = Lab::builder().build().unwrap();
    let ends = [(&lab.weir, FRONT), (&lab.weir, BACK), (&lab.switch, "weir-front"), (&lab.switch, "weir-back")];
    let ends = ends.into_iter().chain([(&lab.clients[0].netns, HOST_DEVICE), (&lab.backends[0].netns, HOST_DEVICE)]);
    for (netns, device) in ends {
        let features = netns.command("ethtool", &["--show-features", device]).unwrap();
        for feature in ["tx-checksumming: off", "tcp-segmentation-offload: off", "generic-receive-offload: on"] {
            assert!(features.lines().any(|line| line == feature), "{device} lacks {feature}:\n{features}");
        }
    }
}

#[test]
fn a_lab_leaves_nothing() {
    let lab = Lab::builder().build().unwrap();
    let process = Process::start(&lab, &lab.weir, "sleeper", Command::new("sleep").arg("600")).unwrap();
    process.signal(Signal::SIGSTOP).unwrap();
    let (pid, dir, name) = (process.pid(), lab.dir().to_owned(), lab.weir.name().to_owned());
    std::fs::create_dir(lab.state()).unwrap();
    assert_eq!(statfs(&lab.state()).unwrap().filesystem_type(), BPF_FS_MAGIC);
    assert!(mounted_below(&dir));
    assert!(namespaces().iter().any(|line| line.starts_with(&name)));

    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _owned = (process, lab);
        panic!("on purpose");
    }));
    assert!(outcome.is_err());
    assert!(!namespaces().iter().any(|line| line.starts_with(&name)));
    assert!(!dir.exists() && !mounted_below(&dir));
    assert_eq!(nix::sys::signal::kill(pid, None), Err(nix::errno::Errno::ESRCH));
}

#[test]
fn what_a_killed_lab_had_mounted_is_swept() {
    // No lab of this process has this number: it is taken for one of a dead process that had this one's id.
    let dir = std::env::temp_dir().join(format!("weir-{}-4000", std::process::id()));
    let bpffs = dir.join("bpf");
    std::fs::create_dir_all(&bpffs).unwrap();
    run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&bpffs)).unwrap();
    std::fs::create_dir(bpffs.join("weir")).unwrap();
    assert!(mounted_below(&dir));
    sweep(Kept::Stays).unwrap();
    assert!(!dir.exists() && !mounted_below(&dir));
}

#[test]
fn waiting_has_an_end() {
    let error = wait_until("a miracle", Duration::from_millis(20), || None::<()>).unwrap_err();
    assert!(error.to_string().ends_with("in vain for a miracle"), "{error}");
}

#[test]
fn consul_is_real() {
    let lab = Lab::builder().backends(0).build().unwrap();
    let mut consul = Consul::start(&lab, &lab.weir).unwrap();
    let registration = Registration {
        id: "web-1".to_owned(),
        service: "web".to_owned(),
        address: "10.0.1.11".to_owned(),
        port: HTTP_PORT,
        tags: vec!["lab".to_owned()],
        weights: (300, 30),
    };
    consul.register(&registration).unwrap();
    let passing = |consul: &Consul| {
        let answer = consul.call(Method::GET, "/v1/health/service/web?passing", None).unwrap();
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()
    };
    let seen = passing(&consul);
    assert_eq!(seen[0]["Service"]["Weights"]["Passing"], 300, "{seen}");
    consul.set_health("web-1", "fail").unwrap();
    assert_eq!(passing(&consul), serde_json::json!([]));
    consul.set_health("web-1", "pass").unwrap();
    consul.deregister("web-1").unwrap();
    assert_eq!(passing(&consul), serde_json::json!([]));
    consul.leave().unwrap();
}

/// Both families, 100 KB up and down.
fn carries(lab: &Lab, requests: usize) {
    for backend in &lab.backends {
        let _server = HttpServer::start(&backend.netns, &backend.name, HTTP_PORT).unwrap();
        for address in [IpAddr::from(backend.v4), IpAddr::from(backend.v6)] {
            let load = HttpLoad { body: 100_000, ..HttpLoad::new((address, HTTP_PORT).into(), requests) };
            let report = load.run(&lab.clients[0].netns);
            assert_eq!((report.failed(), report.share(&backend.name)), (0, 1.0), "{report:?}");
            println!("{requests} requests of 100 KB to {address} in {:?}", report.elapsed);
        }
    }
}

#[test]
fn bodies_go_up_and_come_back() {
    carries(&Lab::builder().backends(1).build().unwrap(), 200);
}

#[test]
fn a_hop_says_what_is_too_large_for_it() {
    let lab = Lab::builder().backends(1).hop_mtu(1_400).build().unwrap();
    let backend = &lab.backends[0];
    // Otherwise the kernel joins frames before the socket sees them.
    backend.netns.command("ethtool", &["-K", HOST_DEVICE, "gro", "off"]).unwrap();
    let wire = FrameSocket::open(&backend.netns, HOST_DEVICE).unwrap();
    carries(&lab, 50);
    let (mut longest, mut frames) = (0, 0);
    while let Some(frame) = wire.receive(Duration::from_millis(50)).unwrap() {
        longest = longest.max(frame.len());
        frames += 1;
    }
    assert!(frames > 100 && longest == 1_414, "{frames} frames, the longest of {longest} bytes");
    for (address, family) in [(IpAddr::from(backend.v4), "-4"), (backend.v6.into(), "-6")] {
        let learnt = lab.clients[0].netns.ip(&format!("{family} route get {address}")).unwrap();
        assert!(learnt.contains("mtu 1400"), "{learnt}");
    }
}

#[test]
fn trunks_tag_what_they_send_and_take_nothing_without_a_tag() {
    let lab = Lab::builder().backends(1).build().unwrap();
    let (client, backend) = (&lab.clients[0], &lab.backends[0]);
    let tags = [Tag::provider(7), Tag::customer(100)];
    let _trunk = Trunk::on(&lab.switch, "weir-front", &tags).unwrap();
    let wire = FrameSocket::open(&lab.weir, FRONT).unwrap();
    let echo = UdpEcho::start(&backend.netns, &backend.name, UDP_PORT).unwrap();
    for address in [IpAddr::from(backend.v4), backend.v6.into()] {
        let load = UdpLoad { flows: 1, ..UdpLoad::new((address, UDP_PORT).into(), 10, SECOND / 2) };
        // Weir's host has no such VLAN: nothing gets any further.
        assert_eq!(load.run(&client.netns).unwrap().answered(), 0);
        let inner = if address.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        wire.expect(SECOND, |frame| frame[12..22] == [&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 100][..], &inner].concat())
            .unwrap();
    }
    assert_eq!(echo.received(), 0);
    // The other way: what has these tags arrives without, all else does not arrive.
    let arrives = FrameSocket::open(&client.netns, HOST_DEVICE).unwrap();
    let addresses = [client.netns.mac(HOST_DEVICE).unwrap(), lab.weir.mac(FRONT).unwrap()].concat();
    let frame = |tags: &[u8], mark: &[u8]| [&addresses[..], tags, &[0x88, 0xb5], mark].concat();
    for (tags, mark) in [
        (&[][..], &b"without"[..]),
        (&[0x81, 0, 0, 100], b"one"),
        (&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 101], b"another"),
        (&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 100, 0x81, 0, 0, 100], b"three"),
        (&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 100], b"right"),
    ] {
        wire.send(&frame(tags, mark)).unwrap();
    }
    let first = arrives.expect(SECOND, |found| found[12..14] == [0x88, 0xb5]).unwrap();
    assert_eq!(first[14..], *b"right");
    // Weir's host has learnt its neighbours all the same.
    assert!(lab.weir.ip("neigh show").unwrap().contains(&client.v4.to_string()));
}

#[test]
fn backends_answer_from_a_vip_past_weirs_host() {
    let lab = Lab::builder().backends(2).build().unwrap();
    let (client, vips) = (&lab.clients[0], [vip_v4(10), vip_v6(10)]);
    lab.return_directly(&lab.backends[1], &vips).unwrap();
    let start = |vip| UdpEcho::start_at(&lab.backends[1].netns, "b2", SocketAddr::new(vip, UDP_PORT)).unwrap();
    let echoes = vips.map(start);
    // Weir's host stands in for Weir: it routes the VIPs to the backend that has them.
    let (v4, v6) = (lab.backends[1].v4, lab.backends[1].v6);
    let [vip, vip6] = vips;
    lab.weir.ip_batch(&format!("route add {vip} via {v4}\nroute add {vip6} via {v6}\n")).unwrap();
    let wire = FrameSocket::open(&lab.weir, BACK).unwrap();
    for vip in vips {
        let load = UdpLoad { flows: 4, ..UdpLoad::new((vip, UDP_PORT).into(), 100, SECOND / 2) };
        let report = load.run(&client.netns).unwrap();
        assert_eq!(report.answered(), report.sent, "{report:?}");
    }
    assert_eq!(echoes.iter().map(UdpEcho::received).sum::<u64>(), 100);
    while let Some(frame) = wire.receive(Duration::from_millis(50)).unwrap() {
        assert!(!frame.ends_with(b"..."), "an answer came by Weir's host: {frame:02x?}");
    }
    let direct = lab.backends[1].netns.ip(&format!("-s -json link show dev {WAY_DEVICE}")).unwrap();
    assert!(direct.contains("\"packets\""), "{direct}");
    // Of the other one, only who stands for the snat address hears.
    lab.return_only_to(&lab.backends[0], &[IpAddr::from([192, 0, 2, 5])]).unwrap();
    let route = |to: &str| lab.backends[0].netns.ip(&format!("route get {to}"));
    assert!(route("192.0.2.5").unwrap().contains("via 10.0.1.1"));
    assert!(route("198.51.100.11").is_err());
}
