//! The lab tests itself: what the other tests rely on, without Weir.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hyper::Method;
use nix::sys::signal::Signal;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use weir_tests::lab::{
    BACK, Consul, FRONT, FrameSocket, HOST_DEVICE, HTTP_PORT, HttpLoad, HttpServer, Kept, Lab, Process, Registration,
    UDP_PORT, UdpEcho, UdpLoad, WEIR_FRONT_V4, WEIR_FRONT_V6, request, run, sweep, wait_until,
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
