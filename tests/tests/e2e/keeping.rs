//! What is pinned outlives the controller, and the next one adopts it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aya::maps::{Array, MapData};
use weir::config::{Interface, Mode};
use weir::dataplane::Capacity;
use weir::dataplane::kernel::{Pins, TakeOver, pins};
use weir::nexthop::Device;
use weir_tests::lab::{BACK, FRONT, HttpLoad, Lab, Netns, UdpLoad, vip_v4, weir_binary};

use crate::conversation::Conversation;
use crate::held::Held;
use crate::host_state::HostState;
use crate::keeping_refused::refused;
use crate::stand::{Service, Stand, config};

/// Packets a second, for how long, of a stream that no packet may be missing of.
const RATE_PER_S: u32 = 10_000;
const STREAM: Duration = Duration::from_secs(6);

pub(crate) fn web() -> SocketAddr {
    (vip_v4(10), 80).into()
}

fn echo() -> SocketAddr {
    (vip_v4(10), 7).into()
}

pub(crate) fn services() -> [Service; 2] {
    [Service::tcp("web", web()), Service::udp("echo", echo())]
}

/// The configuration of a Weir that keeps, with more keys under `[weir]`.
pub(crate) fn keeping(lab: &Lab, more: &str) -> String {
    config(lab, &services()).replacen("[weir]\n", &format!("[weir]\non_exit = \"keep\"\n{more}"), 1)
}

pub(crate) fn stand() -> Stand {
    let mut stand = Stand::new(1, 2, &services());
    restart(&mut stand, "");
    stand
}

/// Ends it if it runs, and starts it with the keeping configuration.
pub(crate) fn restart(stand: &mut Stand, more: &str) {
    write_config(stand, &keeping(&stand.lab, more));
    if stand.weir.ended().unwrap().is_none() {
        stop(stand);
    }
    stand.weir.restart(&stand.lab).unwrap();
}

pub(crate) fn write_config(stand: &Stand, config: &str) {
    std::fs::write(stand.lab.dir().join("weir.toml"), config).unwrap();
}

pub(crate) fn stop(stand: &mut Stand) {
    assert_eq!(stand.weir.stop().unwrap().code(), Some(0), "{}", stand.weir.log());
}

pub(crate) fn works(stand: &Stand) {
    let report = HttpLoad::new(web(), 200).run(&stand.lab.clients[0].netns);
    assert_eq!((report.failed(), report.answered(), report.answers.len()), (0, 200, 2), "{:?}", report.errors);
}

/// A stream through the VIP, of which nothing may be missing but what a socket had no room for.
struct Stream {
    client: Netns,
    hosts: Vec<Netns>,
}

impl Stream {
    fn of(lab: &Lab) -> Self {
        let clients = lab.clients.iter().map(|client| client.netns.clone());
        let backends = lab.backends.iter().map(|backend| backend.netns.clone());
        Self { client: lab.clients[0].netns.clone(), hosts: clients.chain(backends).collect() }
    }

    #[track_caller]
    fn loses_nothing(&self, duration: Duration, through: &str) {
        let before = self.overrun();
        let report = UdpLoad::new(echo(), RATE_PER_S, duration).run(&self.client).unwrap();
        let (lost, overrun) = (report.sent - report.answered(), self.overrun() - before);
        println!("{} datagrams sent through {through}: {lost} lost, {overrun} of them by sockets", report.sent);
        assert_eq!((report.send_errors, lost), (0, overrun));
    }

    /// How many datagrams the sockets of clients and backends had no room for (RFC 4113, udpInErrors; proc_net(5), snmp).
    fn overrun(&self) -> u64 {
        let read = || std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        self.hosts.iter().map(|host| errors(&host.run(read))).sum()
    }
}

fn errors(snmp: &str) -> u64 {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let (_, value) = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "RcvbufErrors").unwrap();
    value.parse().unwrap()
}

pub(crate) fn names(stand: &Stand, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(stand.lab.state().join(folder)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Programs, maps and links at work after an end: those of a process, without what is made anew with each load.
pub(crate) fn kept(held: &Held) -> Held {
    let left = held.left();
    assert_eq!((left.programs.len(), left.links.len()), (2, 4), "{left:?}");
    left
}

#[test]
fn a_start_after_an_end_that_kept_replaces_the_programs_in_place_and_loses_nothing() {
    let mut stand = stand();
    let before = Held::by(stand.weir.pid());
    let client = stand.lab.clients[0].netns.clone();
    let mut connection = Conversation::begin(&client, web());
    let backend = connection.ask();
    let stream = Stream::of(&stand.lab);
    std::thread::scope(|scope| {
        scope.spawn(|| stream.loses_nothing(STREAM, "an end and two starts"));
        stop(&mut stand);
        kept(&before);
        assert_eq!(connection.ask(), backend);
        works(&stand);
        stand.weir.restart(&stand.lab).unwrap();
        let after = Held::by(stand.weir.pid());
        assert_eq!(after.links, before.links, "the links are the same");
        assert!(after.programs.is_disjoint(&before.programs), "the programs are others");
        assert!(after.maps.intersection(&before.maps).count() >= 19, "{after:?} {before:?}");
        // Killed without a chance to do anything, and once more.
        stand.weir.kill().unwrap();
        kept(&after);
        assert_eq!(connection.ask(), backend);
        stand.weir.restart(&stand.lab).unwrap();
        assert_eq!(Held::by(stand.weir.pid()).links, before.links);
    });
    assert_eq!(connection.ask(), backend);
    works(&stand);
    assert!(stand.status().adopted, "{}", stand.weir.log());
}

/// The data plane alone, without a controller: programs replaced and maps moved, ten times.
#[test]
fn programs_and_maps_are_replaced_without_the_loss_of_a_packet() {
    let mut stand = stand();
    let host = stand.lab.weir.clone();
    let device = |name: &str| Device {
        bridge: None,
        has_peer_elsewhere: false,
        name: name.to_owned(),
        can_transmit: true,
        mtu: 1500,
        ethernet: None,
        kind: None,
        is_up: true,
        can_scatter: true,
        link: host.index(name).unwrap(),
        tags: lb_common::abi::Tags::NONE,
    };
    let devices = [FRONT, BACK].map(|name| (host.index(name).unwrap(), device(name)));
    let interfaces =
        [FRONT, BACK].map(|name| Interface { name: name.to_owned(), mode: Mode::Auto, peer_has_xdp: false, line: 1 });
    stand.weir.kill().unwrap();
    let stream = Stream::of(&stand.lab);
    stream.loses_nothing(STREAM / 3, "calm");
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| stream.loses_nothing(STREAM, "replacements"));
        let mut rounds = 0;
        while !stream.is_finished() {
            host.run(|| {
                let pins = Pins::open(&stand.lab.state()).unwrap();
                let (_, found) = pins.found().unwrap();
                let wanted = if rounds % 2 == 0 { found } else { Capacity { flows: found.flows + 1000, ..found } };
                let takeover = TakeOver::load(pins, wanted, 0, false).unwrap();
                takeover.commit(interfaces.to_vec(), &devices.clone().into(), Instant::now()).unwrap();
            });
            rounds += 1;
        }
        println!("{rounds} replacements");
        assert!(rounds > 1);
    });
    stand.weir.restart(&stand.lab).unwrap();
    works(&stand);
}

#[test]
fn after_sigkill_traffic_goes_on_and_the_next_end_leaves_nothing() {
    let lab = Lab::builder().backends(2).build().unwrap();
    let before = HostState::of(&lab);
    let mut stand = Stand::in_lab(lab, &services());
    let held = Held::by(stand.weir.pid());
    stand.weir.kill().unwrap();
    kept(&held);
    works(&stand);
    let dead = stand.weir.cli(&["status"]).unwrap();
    assert_eq!(dead.code, Some(1), "{dead:?}");
    stand.weir.restart(&stand.lab).unwrap();
    // What was adopted is looked up, too: the stack is slower, and may not let pass what XDP sends.
    stand.await_backends("web", "the way out", |rows| rows.iter().all(|row| row.delivery.starts_with("xdp ")));
    works(&stand);
    stop(&mut stand);
    held.await_gone();
    before.assert_same(&HostState::of(&stand.lab));
}

/// Killed at every moment of a start, be it one that adopts or one that moves to maps of another size: from the first
/// thing that it does until it is ready.
#[test]
fn a_start_that_is_killed_at_any_moment_leaves_the_kernel_forwarding() {
    const STEP: Duration = Duration::from_millis(300);
    const READY: &str = "weir::run: ready";
    let mut stand = stand();
    let client = stand.lab.clients[0].netns.clone();
    let mut connection = Conversation::begin(&client, web());
    let backend = connection.ask();
    stand.weir.kill().unwrap();
    let mut rounds = 0;
    for more in ["", "max_flows = 4096\n"] {
        for wait in 0.. {
            // Always another size than the one before, so that a start that moved leaves the next one to move again.
            let more = if wait % 2 == 0 { more } else { "" };
            write_config(&stand, &keeping(&stand.lab, more));
            let readies = stand.weir.log().matches(READY).count();
            stand.weir.restart_unready(&stand.lab, &weir_binary()).unwrap();
            let killed_at = Instant::now() + STEP * wait;
            let is_ready = loop {
                assert_eq!(connection.ask(), backend);
                if stand.weir.log().matches(READY).count() > readies {
                    break true;
                }
                if Instant::now() >= killed_at {
                    break false;
                }
            };
            stand.weir.kill().unwrap();
            assert_eq!(connection.ask(), backend, "killed after {:?}", STEP * wait);
            rounds += 1;
            if is_ready {
                break;
            }
        }
    }
    println!("killed {rounds} times");
    works(&stand);
    stand.weir.restart(&stand.lab).unwrap();
    assert_eq!(connection.ask(), backend);
    assert_eq!(names(&stand, "links").len(), 4);
    assert!(!stand.lab.state().join("next").exists());
    works(&stand);
}

#[test]
fn what_is_kept_can_be_taken_off_without_a_controller() {
    let lab = Lab::builder().backends(2).build().unwrap();
    let before = HostState::of(&lab);
    let mut stand = Stand::in_lab(lab, &services());
    restart(&mut stand, "");
    let (held, state) = (Held::by(stand.weir.pid()), stand.lab.state());
    let pid = u32::try_from(stand.weir.pid().as_raw()).unwrap();
    let found = pins::Found::Pinned { version: lb_common::abi::VERSION, maps: 30, links: 4, holder: Some(pid) };
    assert_eq!(pins::look(&state), found);
    let error = pins::detach(&state).unwrap_err().to_string();
    assert!(error.contains(&format!("process {} has it", stand.weir.pid())), "{error}");
    works(&stand);
    stop(&mut stand);
    let stranger: Array<MapData, u64> = Array::create(1, 0).unwrap();
    stranger.pin(state.join("maps/STRANGER")).unwrap();
    let said = pins::detach(&state).unwrap().join("\n");
    assert!(said.contains("xdp_native_") && said.contains("maps of version"), "{said}");
    assert!(said.contains(&format!("left {}", state.join("maps/STRANGER").display())), "{said}");
    held.await_gone();
    std::fs::remove_file(state.join("maps/STRANGER")).unwrap();
    let said = pins::detach(&state).unwrap();
    assert_eq!(said, [format!("the folder {}", state.display())]);
    assert_eq!(pins::detach(&state).unwrap(), Vec::<String>::new());
    assert_eq!(pins::look(&state), pins::Found::Nothing);
    // The socket was taken away at the end.
    before.assert_same(&HostState::of(&stand.lab));
}

#[test]
fn maps_of_other_sizes_keep_connections() {
    let mut stand = stand();
    let client = stand.lab.clients[0].netns.clone();
    let mut connections: Vec<_> = (0..20).map(|_| Conversation::begin(&client, web())).collect();
    let backends: Vec<_> = connections.iter_mut().map(Conversation::ask).collect();
    let links = Held::by(stand.weir.pid()).links;
    let stream = Stream::of(&stand.lab);
    std::thread::scope(|scope| {
        scope.spawn(|| stream.loses_nothing(STREAM, "maps of other sizes"));
        restart(&mut stand, "max_flows = 65536\nmax_services = 40\nmax_sources = 1000\n");
        let again: Vec<_> = connections.iter_mut().map(Conversation::ask).collect();
        assert_eq!(again, backends);
    });
    assert_eq!(Held::by(stand.weir.pid()).links, links);
    assert_eq!(names(&stand, "").len(), 2, "no set is left behind");
    works(&stand);
    // The tables' size is what decides where flows go.
    write_config(&stand, &keeping(&stand.lab, "table_size = 251\n"));
    stop(&mut stand);
    refused(&mut stand, &["tables of 65537 slots", "expected 251", "weir detach"]);
    works(&stand);
}
