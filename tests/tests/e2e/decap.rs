//! `weir decap` on a backend's host: tunnels made by hand, real connections in them.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sys::signal::Signal;
use weir_tests::lab::{
    FRONT, FrameSocket, HOST_DEVICE, Lab, Process, WEIR_BACK_V4, WEIR_BACK_V6, vip_v4, vip_v6, wait_until, weir_binary,
};

use crate::stand::SOON;
use crate::tunnel::{Balancer, MTU, Tunnel};

const PORT: u16 = 80;
/// More than a window of segments, so that many are full.
const UPLOAD: usize = 300_000;

/// A lab whose backend has the VIPs on `lo`, and whose balancer's host forwards nothing to them by itself.
fn lab() -> Lab {
    let lab = Lab::builder().backends(1).build().unwrap();
    // As they are on the wire, not merged.
    lab.weir.command("ethtool", &["-K", FRONT, "gro", "off"]).unwrap();
    lab.weir.ip_batch("route add blackhole 203.0.113.0/24\nroute add blackhole 2001:db8:f00d::/64\n").unwrap();
    let backend = &lab.backends[0].netns;
    backend
        .ip_batch(&format!("addr add {}/32 dev lo\naddr add {}/128 dev lo nodad\n", vip_v4(10), vip_v6(10)))
        .unwrap();
    for netns in [backend, &lab.weir] {
        for scope in ["all", "default", "lo"] {
            netns.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0").unwrap();
        }
    }
    lab
}

/// The MSS of a SYN-ACK from a VIP, and the sum over its segment, which is to be all ones.
fn mss(frame: &[u8]) -> Option<u16> {
    let (l4, from_vip) = match frame.get(12..14)? {
        [0x08, 0x00] => (34, frame[23] == 6 && IpAddr::from(<[u8; 4]>::try_from(&frame[26..30]).ok()?) == vip_v4(10)),
        [0x86, 0xdd] => (54, frame[20] == 6 && IpAddr::from(<[u8; 16]>::try_from(&frame[22..38]).ok()?) == vip_v6(10)),
        _ => return None,
    };
    if !from_vip || frame[l4 + 13] & 0x12 != 0x12 {
        return None;
    }
    // Linux puts the option first.
    assert_eq!(frame[l4 + 20..l4 + 22], [2, 4], "{frame:02x?}");
    Some(u16::from_be_bytes([frame[l4 + 22], frame[l4 + 23]]))
}

fn decap(lab: &Lab, more: &[&str]) -> Process {
    let mut command = Command::new(weir_binary());
    let (v4, v6) = (WEIR_BACK_V4.to_string(), WEIR_BACK_V6.to_string());
    command.args(["decap", "--iface", HOST_DEVICE, "--from", &v4, "--from", &v6, "-o", "json"]).args(more);
    let mut process = Process::start(lab, &lab.backends[0].netns, "decap", &mut command).unwrap();
    wait_until("weir decap to be attached", SOON, || {
        assert!(process.ended().unwrap().is_none(), "{}", process.log());
        process.log().contains("tunnels").then_some(())
    })
    .unwrap();
    process
}

/// The last report that the process printed.
fn counted(process: &Process) -> serde_json::Value {
    let log = process.log();
    let last = log.lines().rfind(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no report in {log}"));
    serde_json::from_str(last).unwrap()
}

fn packets(report: &serde_json::Value, list: &str, name: &str) -> u64 {
    let rows = report[list].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap()["packets"].as_u64().unwrap()
}

/// A server on the VIP that says how much it was sent.
fn serve(lab: &Lab, vip: IpAddr) -> JoinHandle<()> {
    let listener = lab.backends[0].netns.run(|| TcpListener::bind((vip, PORT))).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(2 * SOON)).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert!(bytes.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
        stream.write_all(bytes.len().to_string().as_bytes()).unwrap();
    })
}

fn upload(lab: &Lab, vip: IpAddr) {
    let mut stream = lab.clients[0].netns.run(|| TcpStream::connect_timeout(&(vip, PORT).into(), SOON)).unwrap();
    stream.set_read_timeout(Some(2 * SOON)).unwrap();
    stream.set_write_timeout(Some(2 * SOON)).unwrap();
    let bytes: Vec<u8> = (0..UPLOAD).map(|at| u8::try_from(at % 251).unwrap()).collect();
    stream.write_all(&bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, UPLOAD.to_string());
}

/// A datagram to the VIP and back.
fn ask(lab: &Lab, vip: IpAddr) {
    let server = lab.backends[0].netns.run(|| UdpSocket::bind((vip, 53))).unwrap();
    let any: SocketAddr = if vip.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let client = lab.clients[0].netns.run(|| UdpSocket::bind(any)).unwrap();
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(SOON)).unwrap();
    }
    let mut buffer = [0; 64];
    client.send_to(b"question", (vip, 53)).unwrap();
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from.port()), (&b"question"[..], client.local_addr().unwrap().port()));
    server.send_to(b"answer", from).unwrap();
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"answer"[..], (vip, 53).into()));
}

/// Whether a program is on the backend's device.
fn programs(lab: &Lab) -> (bool, bool) {
    let backend = &lab.backends[0].netns;
    let link = backend.ip(&format!("-details link show dev {HOST_DEVICE}")).unwrap();
    let net = backend.command("bpftool", &["net", "show"]).unwrap_or_default();
    (link.contains("xdp"), net.contains("weir_clamp"))
}

fn carries(tunnel: Tunnel) {
    let lab = Arc::new(lab());
    if tunnel.gue {
        // The device finishes checksums: here the balancer's host, on the way out, and the client looks at them.
        lab.backends[0].netns.command("ethtool", &["-K", HOST_DEVICE, "tx", "on"]).unwrap();
    }
    let mut process = decap(&lab, &[]);
    assert!(programs(&lab).0);
    let _balancer = Balancer::start(&lab, tunnel);
    for (vip, headers) in [(vip_v4(10), 40), (vip_v6(10), 60)] {
        let wire = FrameSocket::open(&lab.clients[0].netns, HOST_DEVICE).unwrap();
        let server = serve(&lab, vip);
        upload(&lab, vip);
        server.join().unwrap();
        let syn_ack = wire.expect(SOON, |frame| mss(frame).is_some()).unwrap();
        assert_eq!(usize::from(mss(&syn_ack).unwrap()), MTU - tunnel.overhead() - headers, "{tunnel:?} to {vip}");
        ask(&lab, vip);
    }
    process.signal(Signal::SIGUSR1).unwrap();
    wait_until("a report", SOON, || process.log().lines().any(|line| line.starts_with('{')).then_some(())).unwrap();
    assert!(process.stop(SOON).unwrap().success(), "{}", process.log());
    let report = counted(&process);
    let name = if tunnel.gue { "gue" } else { "ipip" };
    assert!(packets(&report, "outcomes", name) > 2 * (UPLOAD / MTU) as u64, "{report:#}");
    assert!(packets(&report, "syn_acks", "mss_lowered") >= 2, "{report:#}");
    assert_eq!(programs(&lab), (false, false), "nothing is left behind");
}

#[test]
fn ipip_over_v4_reaches_a_vip_on_lo() {
    carries(Tunnel { outer_v4: true, gue: false });
}

#[test]
fn ipip_over_v6_reaches_a_vip_on_lo() {
    carries(Tunnel { outer_v4: false, gue: false });
}

#[test]
fn gue_over_v4_reaches_a_vip_on_lo() {
    carries(Tunnel { outer_v4: true, gue: true });
}

#[test]
fn gue_over_v6_reaches_a_vip_on_lo() {
    carries(Tunnel { outer_v4: false, gue: true });
}

#[test]
fn an_mss_is_left_alone_when_that_is_asked_and_the_stack_unwraps_as_well() {
    let lab = Arc::new(lab());
    let mut process = decap(&lab, &["--no-clamp", "--mode", "skb"]);
    let _balancer = Balancer::start(&lab, Tunnel { outer_v4: true, gue: false });
    let wire = FrameSocket::open(&lab.clients[0].netns, HOST_DEVICE).unwrap();
    let listener = lab.backends[0].netns.run(|| TcpListener::bind((vip_v4(10), PORT))).unwrap();
    let client = lab.clients[0].netns.run(|| TcpStream::connect_timeout(&(vip_v4(10), PORT).into(), SOON)).unwrap();
    drop((client, listener));
    let syn_ack = wire.expect(SOON, |frame| mss(frame).is_some()).unwrap();
    assert_eq!(mss(&syn_ack), Some(1460));
    ask(&lab, vip_v4(10));
    // A dead process leaves nothing either.
    process.kill().unwrap();
    wait_until("the program to be off", SOON, || (programs(&lab) == (false, false)).then_some(())).unwrap();
}

#[test]
fn a_device_with_another_mtu_or_address_is_followed() {
    let lab = Arc::new(lab());
    let backend = &lab.backends[0];
    let process = decap(&lab, &[]);
    backend.netns.ip(&format!("addr add 10.0.1.99/24 dev {HOST_DEVICE}")).unwrap();
    wait_until("the new address", SOON, || process.log().contains("10.0.1.99").then_some(())).unwrap();
    backend.netns.ip(&format!("link del dev {HOST_DEVICE}")).unwrap();
    let mut process = process;
    let status = process.wait(SOON).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(process.log().contains("is gone"), "{}", process.log());
}

/// Runs `weir decap` on the backend's host to an end that comes soon.
fn refused(lab: &Lab, before: &[&str], words: &[&str]) -> (Option<i32>, String) {
    let binary = weir_binary();
    let mut command = Command::new("timeout");
    command.args(["--signal=TERM", "10"]).args(before).arg(binary).arg("decap").args(words);
    let output = lab.backends[0].netns.output(&mut command).unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_be_is_refused_with_what_would_be() {
    let lab = lab();
    let with = |before: &[&str], words: &[&str], code, says: &[&str]| {
        let (found, text) = refused(&lab, before, words);
        assert_eq!(found, Some(code), "{words:?}: {text}");
        for part in says {
            assert!(text.contains(part), "{part:?} is not said: {text}");
        }
    };
    let device = ["--iface", HOST_DEVICE];
    let from = ["--from", "10.0.1.1"];
    with(&[], &[&["--iface", "eth7"][..], &from].concat(), 1, &["eth7", "no such device", HOST_DEVICE]);
    with(&[], &device, 2, &["--from"]);
    with(&[], &[&device[..], &["--from", "10.0.1.1/8"]].concat(), 2, &["10.0.0.0/8"]);
    with(&[], &[&device[..], &from, &["--no-clamp", "--mtu", "1400"]].concat(), 2, &["--mtu"]);
    let without = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"];
    with(&without, &[&device[..], &from].concat(), 1, &["privileges"]);
    let first = decap(&lab, &[]);
    let holder = format!("process {}", first.pid());
    with(&[], &[&device[..], &from].concat(), 1, &["another XDP program", "weir_decap", &holder]);
    assert!(programs(&lab).0, "the first one's is still there");
}
