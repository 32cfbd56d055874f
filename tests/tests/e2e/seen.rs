//! What a person or a program on a client's side sees: ping, traceroute, ports at which nobody listens.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use weir_tests::lab::{HTTP_PORT, HttpLoad, Lab, Netns, vip_v4, vip_v6};

use crate::modes::{MODES, Mode, Yard};
use crate::stand::{SOON, Service, Stand};

/// A port at which no backend listens, although a service has it.
const NOBODY: u16 = 9_009;

fn modes(forwards: &[&str]) -> Vec<Mode> {
    MODES.into_iter().filter(|mode| forwards.contains(&mode.forward)).collect()
}

/// `ping`'s words about three requests of so many bytes.
fn ping(client: &Netns, address: IpAddr, bytes: usize) -> String {
    let arguments = ["-n", "-c", "3", "-i", "0.2", "-W", "1", "-s", &bytes.to_string(), &address.to_string()];
    let output = client.output(Command::new("ping").args(arguments)).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn pings_are_answered() {
    let yard = Yard::new(Lab::builder(), &modes(&["nat", "ipip"]), "", &[]);
    let client = &yard.stand.lab.clients[0].netns;
    for (number, mode) in (1..).zip(&yard.modes) {
        let said = ping(client, mode.vip(), 1_400);
        assert!(said.contains("3 received") && said.contains(&format!("from {}", mode.vip())), "{said}");
        assert_eq!(yard.stand.refused("echo_answered"), 3 * number);
        println!("{}", said.lines().nth(1).unwrap());
    }
}

/// Then the VIP is the host's as far as pings are concerned.
#[test]
fn pings_are_the_hosts_business_if_so_configured() {
    let yard = Yard::new(Lab::builder(), &modes(&["nat"]), "echo = false\n", &[]);
    let (lab, weir) = (&yard.stand.lab, &yard.stand.lab.weir);
    let received = || {
        let text = weir.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp")).unwrap();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        pairs.find(|(name, _)| *name == "InEchos").map(|(_, value)| value.parse::<u64>().unwrap()).unwrap()
    };
    for mode in &yard.modes {
        assert!(ping(&lab.clients[0].netns, mode.vip(), 56).contains(" 0 received"));
        let (length, more) = if mode.v6 { (128, " nodad") } else { (32, "") };
        weir.ip(&format!("addr add {}/{length} dev lo{more}", mode.vip())).unwrap();
        let before = received();
        let said = ping(&lab.clients[0].netns, mode.vip(), 56);
        assert!(said.contains("3 received"), "{said}");
        if !mode.v6 {
            assert_eq!(received() - before, 3);
        }
    }
    assert_eq!(yard.stand.refused("echo_answered"), 0);
}

/// Each hop's address, as traceroute has them.
fn trace(client: &Netns, kind: &[&str], address: IpAddr) -> Vec<String> {
    let address = address.to_string();
    let arguments = [&["-n", "-q", "1", "-w", "2", "-m", "6"], kind, &[address.as_str()]].concat();
    let said = client.command("traceroute", &arguments).unwrap();
    println!("traceroute {}:\n{said}", arguments.join(" "));
    let hops = said.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap_or_default().to_owned());
    hops.collect()
}

#[test]
fn traceroute_ends_at_the_vip() {
    let yard = Yard::new(Lab::builder(), &modes(&["nat", "snat", "gue"]), "closed_ports = \"refuse\"\n", &[]);
    let client = &yard.stand.lab.clients[0].netns;
    let port = HTTP_PORT.to_string();
    let tcp = ["-T", "-p", &port];
    for mode in &yard.modes {
        for kind in [&[][..], &["-I"], &tcp] {
            let hops = trace(client, kind, mode.vip());
            // The VIP is at Weir's host, but for connections, which end a hop behind.
            let most = if kind == tcp { 2 } else { 1 };
            assert!((1..=most).contains(&hops.len()), "{kind:?}: {hops:?}");
            assert!(hops.iter().all(|hop| *hop == mode.vip().to_string()), "{kind:?}: {hops:?}");
        }
    }
}

/// The error that a client's socket has after it sent a datagram.
fn error_of(client: &Netns, target: SocketAddr) -> ErrorKind {
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = client.run(|| UdpSocket::bind(any)).unwrap();
    // The kernel gives the error to a socket that is connected to where the quoted packet went, from its own port.
    socket.connect(target).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send(b"is anybody there?").unwrap();
    socket.recv(&mut [0; 64]).unwrap_err().kind()
}

#[test]
fn a_port_at_which_nobody_listens_is_refused_to_the_client() {
    let places = [("nat", vip_v4(60)), ("nat", vip_v6(60)), ("snat", vip_v4(61)), ("snat", vip_v6(61))];
    let names = ["nobody-nat", "nobody-nat6", "nobody-snat", "nobody-snat6"];
    let services = places
        .iter()
        .zip(names)
        .map(|((forward, vip), name)| Service::udp(name, (*vip, 7).into()).at(NOBODY).forward(forward));
    let stand = Stand::new(1, 1, &services.collect::<Vec<_>>());
    for (_, vip) in places {
        // A second flow has its own port.
        for _ in 0..2 {
            let error = error_of(&stand.lab.clients[0].netns, (vip, 7).into());
            assert_eq!(error, ErrorKind::ConnectionRefused, "{vip}: {:?}", stand.weir.cli(&["refusals"]));
        }
    }
}

#[test]
fn ports_without_a_service_are_refused_if_so_configured() {
    let yard = Yard::new(Lab::builder(), &modes(&["nat"]), "closed_ports = \"refuse\"\n", &[]);
    let client = &yard.stand.lab.clients[0].netns;
    for mode in &yard.modes {
        let closed = SocketAddr::new(mode.vip(), 81);
        assert_eq!(error_of(client, closed), ErrorKind::ConnectionRefused);
        let error = client.run(|| TcpStream::connect_timeout(&closed, SOON)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        println!("{closed}: {} so far", yard.stand.refused("closed_port"));
    }
    // One for each try; TCP's first may be sent again before the answer is there.
    assert!((4..=6).contains(&yard.stand.refused("closed_port")), "{:?}", yard.stand.weir.cli(&["refusals"]));
}

/// A path MTU behind a backend's way: what the hop says is translated back, so that the client believes it.
#[test]
fn a_hop_behind_nat_tells_the_client() {
    let yard = Yard::new(Lab::builder().hop_mtu(1_400), &modes(&["nat", "snat"]), "", &[]);
    let client = &yard.stand.lab.clients[0].netns;
    for mode in &yard.modes {
        let load = HttpLoad { body: 100_000, timeout: Duration::from_secs(5), ..HttpLoad::new(mode.http(), 16) };
        let report = load.run(client);
        assert_eq!(report.failed(), 0, "{}: {:?}", mode.names[0], report.errors);
        let family = if mode.v6 { "-6" } else { "-4" };
        let route = client.ip(&format!("{family} route get {}", mode.vip())).unwrap();
        assert!(route.contains("mtu 1400"), "{}: {route}", mode.names[0]);
    }
}
