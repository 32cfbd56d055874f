//! What the reader accepts, and the very words it refuses with.

mod docker;
mod forwarding;
mod keeping;
mod limits;
mod refusals;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::vip::{Protocol, Vip};

/// The issue's example, as a person would begin with.
const EXAMPLE: &str = r#"
[weir]
socket = "/run/weir/weir.sock"
on_exit = "detach"

[[interface]]
name = "eth0"
mode = "auto"

[registry.local]
type = "file"
path = "services.d"

[registry.dc1]
type = "consul"
address = "http://127.0.0.1:8500"

[[service]]
name = "web"
vip = "192.0.2.10"
port = 80
protocol = "tcp"
registry = "local"
registry_service = "web"
forward = "nat"
limit = { per = "source", rate = 1000, unit = "packets/s", burst = 50 }
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/weir/weir.toml"))
}

fn refusal(text: &str) -> String {
    parse(text).expect_err("refused").to_string().replace("/etc/weir/weir.toml", "F")
}

#[test]
fn the_example_is_understood() {
    let config = parse(EXAMPLE).expect("the example is good");
    assert_eq!(config.weir, Weir::default());
    assert_eq!(config.interfaces, [Interface { name: "eth0".into(), mode: Mode::Auto, peer_has_xdp: false, line: 7 }]);
    let local = Registry::File(FileRegistry { path: "/etc/weir/services.d".into() });
    assert_eq!(config.registries.get("local"), Some(&local));
    let Some(Registry::Consul(dc1)) = config.registries.get("dc1") else { panic!("{:?}", config.registries) };
    assert_eq!((dc1.address.as_str(), &dc1.token, &dc1.datacenter), ("http://127.0.0.1:8500", &None, &None));
    let limit = Limit::strict(Per::Source, 1000, Unit::Packets).with_burst(50);
    let vip = Vip { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), port: 80, protocol: Protocol::Tcp };
    let service = Service {
        name: "web".into(),
        vip,
        registry: "local".into(),
        registry_service: "web".into(),
        registry_tags: Vec::new(),
        forward: Forward::Nat,
        quic: None,
        idle: Duration::from_secs(3600),
        slow_start: None,
        allow: None,
        limits: vec![limit],
    };
    assert_eq!(config.services, [service]);
}

#[test]
fn what_is_left_out_has_defaults() {
    let text = "
        interface = [{ name = 'eth0' }]
        registry.only = { path = '/srv/backends.toml' }
        [[service]]
        name = 'dns'
        vip = '2001:db8::53'
        port = 53
        protocol = 'udp'
        [[service.limit]]
        per = 'service'
        rate = 10_000_000_000
        unit = 'bytes/s'
        [[service.limit]]
        per = 'source'
        rate = 1
        unit = 'packets/s'
        burst = 86400";
    let config = parse(text).expect("good");
    let service = config.services.first().expect("one service");
    assert_eq!((service.registry.as_str(), service.registry_service.as_str()), ("only", "dns"));
    assert_eq!(service.limits.iter().map(|limit| limit.burst).collect::<Vec<_>>(), [None, Some(86_400)]);
    assert_eq!((service.idle, service.slow_start), (Duration::from_secs(60), None));
    assert_eq!(config.weir.socket, Path::new(DEFAULT_SOCKET));
    assert_eq!((config.weir.state.as_path(), config.weir.on_exit), (Path::new(DEFAULT_STATE), OnExit::Detach));
}

#[test]
fn how_long_flows_are_believed_is_the_services_or_the_protocols() {
    let text = "
        interface = [{ name = 'eth0' }]
        registry.only = { path = '/srv/backends.toml' }
        weir = { on_exit = 'keep', state = '/run/bpf/weir', tcp_idle = '1h30m', udp_idle = '2s', max_flows = 1024 }
        service = [
          { name = 'a', vip = '192.0.2.1', port = 1, protocol = 'tcp', slow_start = { over = '30s' } },
          { name = 'b', vip = '192.0.2.1', port = 1, protocol = 'udp', slow_start = { over = '24h', max_moved = '0.5%' } },
          { name = 'c', vip = '192.0.2.1', port = 2, protocol = 'udp', idle = '1m' },
        ]";
    let config = parse(text).expect("good");
    assert_eq!(config.services.iter().map(|service| service.idle.as_secs()).collect::<Vec<_>>(), [5400, 2, 60]);
    let (half_a_minute, day) = (Duration::from_secs(30), Duration::from_secs(86_400));
    let expected = [
        Some(SlowStart { over: half_a_minute, max_moved: Share::percent(1) }),
        Some(SlowStart { over: day, max_moved: Share(5_000) }),
        None,
    ];
    assert_eq!(config.services.iter().map(|service| service.slow_start).collect::<Vec<_>>(), expected);
    assert_eq!((config.weir.on_exit, config.weir.state.as_path()), (OnExit::Keep, Path::new("/run/bpf/weir")));
    assert_eq!(config.weir.max_flows, 1024);
}

#[test]
fn room_is_made_for_twice_the_services() {
    let with = |services: usize, line: &str| {
        let services = (0..services).map(|n| {
            format!(
                "[[service]]\nname = '{n}'\nvip = '192.0.2.1'\nport = {}\nprotocol = 'tcp'\nregistry = 'dc1'\n",
                n + 1
            )
        });
        let text = EXAMPLE.replacen("on_exit = \"detach\"", line, 1) + &services.collect::<String>();
        parse(&text).expect("good").weir
    };
    assert_eq!(with(0, "").max_services, 16);
    assert_eq!(with(8, "").max_services, 18);
    assert_eq!(with(9000, "").max_services, 16_384);
    assert_eq!(with(8, "max_services = 9").max_services, 9);
    let weir = with(0, "table_size = 251");
    assert_eq!(weir.table_bytes(), 8 * 251 * (16 + 8) + 4 * 251 * 16);
}

#[test]
fn consul_keys_are_understood_and_the_token_is_not_shown() {
    let text = "
        interface = [{ name = 'eth0' }]
        [weir]
        hash_seed = 18446744073709551615
        socket = 'weir.sock'
        [registry.dc1]
        type = 'consul'
        address = 'https://consul.example:8501/'
        token = 'b1gs33cr3t'
        ca_file = 'ca.pem'
        cert_file = 'tls/me.pem'
        key_file = 'tls/me.key'
        datacenter = 'east'
        [[service]]
        name = 'web'
        vip = '192.0.2.1'
        port = 1
        protocol = 'tcp'
        registry_tags = ['b', 'a', 'b']";
    let config = parse(text).expect("good");
    assert_eq!(config.weir.hash_seed, u64::MAX);
    assert_eq!(config.weir.socket, Path::new("/etc/weir/weir.sock"));
    let Some(Registry::Consul(dc1)) = config.registries.get("dc1") else { panic!("{:?}", config.registries) };
    assert_eq!(dc1.address, "https://consul.example:8501");
    assert_eq!(dc1.token, Some(Token::Inline(Secret::new("b1gs33cr3t"))));
    let identity = Identity { cert_file: "/etc/weir/tls/me.pem".into(), key_file: "/etc/weir/tls/me.key".into() };
    assert_eq!(dc1.identity, Some(identity));
    assert_eq!(config.services[0].registry_tags, ["a", "b"]);
    assert_eq!(config.services[0].wanted().key(), "web#a#b");
    assert!(!format!("{config:?}").contains("b1gs33cr3t"));
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_lines() {
    let text = EXAMPLE.replace("port = 80", "port = 70000").replace("on_exit", "onexit").replace("eth0", "");
    let lines: Vec<usize> =
        parse(&text).expect_err("refused").problems.iter().filter_map(|problem| problem.line).collect();
    assert_eq!(lines, [4, 7, 21]);
}

#[test]
fn a_long_list_of_problems_is_cut() {
    let text = format!("{EXAMPLE}\n{}", "[[interface]]\n".repeat(60));
    let problems = parse(&text).expect_err("refused").problems;
    assert_eq!(problems.len(), MAX_PROBLEMS + 1);
    assert_eq!(problems.last().map(ToString::to_string).as_deref(), Some("/etc/weir/weir.toml: and 10 more problems"));
}

#[test]
fn a_token_is_in_no_message() {
    for text in ["token = \"s33cr3t", "token = \"s33\\ncr3t\"", "token = [\"s33cr3t\"]", "token = \"s33cr3t é\""] {
        let text = EXAMPLE.replace("address =", &format!("{text}\naddress ="));
        let refusal = refusal(&text);
        assert!(!refusal.contains("cr3t"), "{refusal}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let refusal = |path: &Path| Config::load(path).expect_err("refused").to_string();
    let missing = directory.path().join("weir.toml");
    let expected =
        "cannot be read: No such file or directory (os error 2), expected a configuration: a readable TOML file";
    assert_eq!(refusal(&missing), format!("{}: {expected}", missing.display()));
    let expected = "found a directory, expected a configuration: a readable TOML file";
    assert_eq!(refusal(directory.path()), format!("{}: {expected}", directory.path().display()));
    let binary = directory.path().join("binary");
    std::fs::write(&binary, b"[weir]\n\xff").expect("written");
    let expected = "found bytes that are not UTF-8, expected a configuration: a readable TOML file";
    assert_eq!(refusal(&binary), format!("{}:2: {expected}", binary.display()));
    let huge = directory.path().join("huge");
    std::fs::File::create(&huge).and_then(|file| file.set_len(20 << 20)).expect("made");
    assert!(refusal(&huge).contains("found more than 16777216 bytes"), "{}", refusal(&huge));
}
