//! Flows both ends of which are rewritten: ports, their end, drains and restarts.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Array, HashMap as BpfHashMap, Map, MapData};
use lb_common::abi;
use weir_tests::lab::{Client, HttpLoad, UDP_PORT, UdpLoad, vip_v4, vip_v6, wait_until};

use crate::conversation::Conversation;
use crate::keeping::{stop, write_config};
use crate::lasting::{Lasting, PATIENCE, services};
use crate::stand::{SOON, Service, Stand, config};

/// The ports that one address has to give: all but those below 1,024.
const PORTS: usize = 64_512;
/// Where the server of the first test listens.
const RECORDER_PORT: u16 = 9_002;
/// How long an answer may take on a busy machine.
const ANSWER: Duration = Duration::from_secs(2);

/// A server that notes from where which client's port came, and answers with what it was sent.
#[derive(Default)]
struct Recorder {
    seen: Mutex<HashMap<SocketAddr, Vec<u8>>>,
    collisions: Mutex<Vec<SocketAddr>>,
    ends: AtomicBool,
}

impl Recorder {
    fn serve(&self, socket: &UdpSocket) {
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut buffer = [0; 64];
        while !self.ends.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let before = self.seen.lock().unwrap().insert(from, buffer[..length].to_vec());
            if before.is_some_and(|before| before != buffer[..length]) {
                self.collisions.lock().unwrap().push(from);
            }
            socket.send_to(&buffer[..length], from).unwrap();
        }
    }
}

/// One flow from a client's port: whether it is answered.
fn flow(client: &Client, port: u16, vip: SocketAddr, within: Duration) -> bool {
    let socket = UdpSocket::bind((client.v4, port)).unwrap();
    socket.connect(vip).unwrap();
    socket.set_read_timeout(Some(within)).unwrap();
    let said = format!("{} {port}", client.name);
    socket.send(said.as_bytes()).unwrap();
    let mut buffer = [0; 64];
    // Whatever else is wrong, such as an ICMP error, is no answer.
    socket.recv(&mut buffer).is_ok_and(|length| buffer[..length] == *said.as_bytes())
}

/// Flows from all these ports, by two threads; all have to be answered.
fn flows(client: &Client, ports: std::ops::RangeInclusive<u16>, vip: SocketAddr) {
    std::thread::scope(|scope| {
        for half in 0..2 {
            let ports = ports.clone();
            scope.spawn(move || {
                client.netns.run(|| {
                    for port in ports.filter(|port| port % 2 == half) {
                        assert!(flow(client, port, vip, ANSWER), "no answer to port {port}");
                    }
                });
            });
        }
    });
}

#[test]
fn all_ports_towards_a_backend_are_used_once_and_then_flows_are_refused() {
    let vip = SocketAddr::from((vip_v4(10), 7));
    let service = Service::udp("many", vip).forward("snat").at(RECORDER_PORT).with("idle = \"10m\"");
    let mut stand = Stand::new(2, 1, std::slice::from_ref(&service));
    // One address of either family.
    stand.await_backends("many", "the way out", |rows| rows.iter().all(|row| row.delivery.starts_with("xdp ")));
    let recorder = Recorder::default();
    let backend = &stand.lab.backends[0];
    let server = backend.netns.run(|| UdpSocket::bind((backend.v4, RECORDER_PORT))).unwrap();
    let [first, second] = &stand.lab.clients[..] else { panic!("two clients") };
    std::thread::scope(|scope| {
        scope.spawn(|| recorder.serve(&server));
        let begun = Instant::now();
        flows(first, 1_024..=65_023, vip);
        assert_eq!(recorder.seen.lock().unwrap().len(), 64_000);
        println!("64,000 flows at once in {:.1} s", begun.elapsed().as_secs_f64());
        assert_eq!(stand.refused("snat_exhausted"), 0);
        flows(first, 65_024..=65_535, vip);
        println!("{PORTS} flows at once in {:.1} s", begun.elapsed().as_secs_f64());
        let seen = recorder.seen.lock().unwrap().clone();
        assert_eq!(seen.len(), PORTS);
        assert!(seen.keys().all(|from| from.ip() == IpAddr::from([192, 0, 2, 5]) && from.port() >= 1_024));
        // One more finds no port.
        let answered = second.netns.run(|| flow(second, 5_000, vip, Duration::from_millis(300)));
        assert!(!answered, "{:?}", stand.weir.cli(&["refusals"]));
        assert_eq!(stand.refused("snat_exhausted"), 1);
        let said = stand.weir.cli(&["refusals"]).unwrap();
        println!("{}", said.stdout.lines().find(|line| line.contains("snat_exhausted")).unwrap());
        // Those that have one keep it.
        flows(first, 1_024..=2_023, vip);
        assert_eq!(*recorder.seen.lock().unwrap(), seen);
        assert_eq!(*recorder.collisions.lock().unwrap(), []);
        recorder.ends.store(true, Ordering::Relaxed);
    });
    let rows = stand.backends("many");
    assert_eq!(rows[0].packets, (PORTS + 1_000) as u64, "{rows:#?}");
    assert_eq!(rows[0].reply_packets, rows[0].packets, "{rows:#?}");
    stop(&mut stand);
}

/// Flows that are remembered, from either side, and ports that are taken.
fn held(stand: &Stand) -> [usize; 3] {
    let open = |name: &str| MapData::from_pin(stand.lab.state().join("maps").join(name)).unwrap();
    let flows: BpfHashMap<_, abi::FlowKey, abi::Snat> = Map::HashMap(open(abi::map::SNATS)).try_into().unwrap();
    let replies: BpfHashMap<_, abi::SnatReplyKey, abi::SnatReply> =
        Map::HashMap(open(abi::map::SNAT_REPLIES)).try_into().unwrap();
    let words: Array<_, u64> = Map::Array(open(abi::map::PORTS)).try_into().unwrap();
    let taken = (0..words.len()).filter(|word| word % abi::PORT_WORDS >= abi::FIRST_PORT_WORD);
    let taken = taken.map(|word| words.get(&word, 0).unwrap().count_ones() as usize).sum();
    [flows.keys().count(), replies.keys().count(), taken]
}

#[test]
fn ports_come_back_by_the_end_of_a_connection_and_by_silence() {
    let (web, web6, echo): (SocketAddr, SocketAddr, SocketAddr) =
        ((vip_v4(10), 80).into(), (vip_v6(10), 80).into(), (vip_v4(20), 7).into());
    let services = [
        Service::tcp("web", web).with("idle = \"1h\""),
        Service::tcp("web6", web6).with("idle = \"1h\""),
        Service::udp("echo", echo).at(UDP_PORT).with("idle = \"2s\""),
    ];
    let stand = Stand::new(1, 2, &services.map(|service| service.forward("snat")));
    let client = &stand.lab.clients[0].netns;
    let load = HttpLoad { targets: vec![web, web6], ..HttpLoad::new(web, 500) };
    let report = load.run(client);
    assert_eq!((report.failed(), report.answers.len()), (0, 2), "{:?}", report.errors);
    let mut connection = Conversation::begin(client, web);
    let backend = connection.ask();
    let load = UdpLoad { flows: 300, ..UdpLoad::new(echo, 1_000, Duration::from_secs(1)) };
    let report = load.run(client).unwrap();
    assert_eq!(report.answered(), 1_000, "{report:?}");
    let [flows, _, taken] = held(&stand);
    assert!(flows >= 301 && taken >= 301, "{flows} {taken}");
    // FIN or RST ended those of TCP, but for one; silence those of UDP.
    let mut last = [0; 3];
    wait_until("all but one to be forgotten", PATIENCE, || {
        last = held(&stand);
        (last == [1, 1, 1]).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {last:?}\n{}", stand.weir.log()));
    assert_eq!(connection.ask(), backend);
}

#[test]
fn a_drain_waits_for_flows_and_no_longer() {
    let services: Vec<Service> = services().into_iter().map(|service| service.forward("snat")).collect();
    let lasting = Lasting::with_services(3, 60, &services);
    let before = lasting.by_backend();
    assert!(lasting.with("b1").iter().all(|connections| *connections > 0), "{before:?}");
    let said = lasting.stand.weir.cli(&["drain", "b1", "--wait", "--deadline", "4s"]).unwrap();
    assert_eq!(said.code, Some(1), "it has connections: {said:?}");
    let newcomers = lasting.newcomers(60);
    assert!(newcomers.iter().all(|with| !with.contains_key("b1") && with.len() == 2), "{newcomers:?}");
    lasting.goes_on();
    assert_eq!(lasting.by_backend(), before);
    lasting.tcp.end();
    lasting.udp.end();
    wait_until("the fleets to end", PATIENCE, || (lasting.tcp.ended() && lasting.udp.ended()).then_some(())).unwrap();
    let said = lasting.stand.weir.cli(&["drain", "b1", "--wait", "--deadline", "30s"]).unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    lasting.assert_unbroken();
}

#[test]
fn connections_survive_a_restart_and_a_crash() {
    let vips: [SocketAddr; 2] = [(vip_v4(10), 80).into(), (vip_v6(10), 80).into()];
    let services = [Service::tcp("web", vips[0]), Service::tcp("web6", vips[1])].map(|service| service.forward("snat"));
    let mut stand = Stand::new(1, 2, &services);
    let keeps = config(&stand.lab, &services).replacen("[weir]\n", "[weir]\non_exit = \"keep\"\n", 1);
    write_config(&stand, &keeps);
    stop(&mut stand);
    stand.weir.restart(&stand.lab).unwrap();
    let client = stand.lab.clients[0].netns.clone();
    let mut connections: Vec<_> = (0..20).map(|number| Conversation::begin(&client, vips[number % 2])).collect();
    let mut ask = || connections.iter_mut().map(Conversation::ask).collect::<Vec<_>>();
    let before = ask();
    stop(&mut stand);
    assert_eq!(ask(), before, "without a controller");
    stand.weir.restart(&stand.lab).unwrap();
    assert_eq!(ask(), before, "with another controller");
    stand.weir.kill().unwrap();
    assert_eq!(ask(), before, "after a crash");
    stand.weir.restart(&stand.lab).unwrap();
    assert_eq!(ask(), before, "after the crash was mended");
    let [flows, replies, taken] = held(&stand);
    assert_eq!((flows, replies, taken), (20, 20, 20));
    // Ports that living flows have are given to nobody else.
    let report = HttpLoad { targets: vips.to_vec(), ..HttpLoad::new(vips[0], 1_000) }.run(&client);
    assert_eq!(report.failed(), 0, "{:?}", report.errors);
    assert_eq!(ask(), before);
    drop(connections);
    wait_until("their ports to come back", SOON * 2, || (held(&stand) == [0; 3]).then_some(())).unwrap();
}
