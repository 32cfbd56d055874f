//! A long cable delays, and loses nothing.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use weir_tests::lab::traffic::{ANSWER_PORT, Answerer, UdpStream};
use weir_tests::lab::{DelayLine, Lab, UDP_PORT, UdpEcho, wait_until};

const DELAY: Duration = Duration::from_millis(10);
const FRAMES: u64 = 16_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// From the first byte sent to the answer.
fn round_trip(lab: &Lab, target: SocketAddr) -> Duration {
    let socket = lab.clients[0].netns.run(|| {
        let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
        UdpSocket::bind(any).unwrap()
    });
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket.connect(target).unwrap();
    let started = Instant::now();
    socket.send(b"far away").unwrap();
    socket.recv(&mut [0; 512]).unwrap();
    started.elapsed()
}

#[test]
fn what_goes_over_a_long_cable_arrives_later_and_whole() {
    let lab = Lab::builder().backends(1).build().unwrap();
    let backend = &lab.backends[0];
    let _echo = UdpEcho::start(&backend.netns, &backend.name, UDP_PORT).unwrap();
    let line = DelayLine::on(&lab.switch, &lab.clients[0].name, DELAY).unwrap();
    for address in [IpAddr::from(backend.v4), IpAddr::from(backend.v6)] {
        let target = SocketAddr::from((address, UDP_PORT));
        // The first one waits for its neighbour, too.
        round_trip(&lab, target);
        let trips: Vec<Duration> = (0..20).map(|_| round_trip(&lab, target)).collect();
        let (least, most) = (trips.iter().min().unwrap(), trips.iter().max().unwrap());
        println!("{address}: from {least:?} to {most:?}");
        assert!(*least >= 2 * DELAY && *least < 2 * DELAY + Duration::from_millis(2), "{trips:?}");
    }
    // As many frames a second as 97 Mbit/s of full ones, each way, in both families in turn.
    let server = Answerer::start(&backend.netns, &backend.name).unwrap();
    let targets = [(backend.v4, ANSWER_PORT).into(), (backend.v6, ANSWER_PORT).into()];
    let stream = UdpStream::start(&lab.clients[0].netns, &targets, 8_000, 16).unwrap();
    wait_until("two seconds of datagrams", PATIENCE, || (stream.sent() >= FRAMES).then_some(())).unwrap();
    let report = stream.stop();
    println!("{} datagrams in {:?}, {} lost", report.sent, report.sending, report.lost());
    assert_eq!(line.lost(), 0);
    assert_eq!((server.streamed(), report.lost(), report.wrong), (report.sent, 0, 0), "{report:?}");
    assert!(line.carried() >= 2 * FRAMES);
}
