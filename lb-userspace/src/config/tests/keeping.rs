//! Bad configurations of what keeps connections, and the very words they are refused with.

use super::refusals::assert_refused;
use super::{EXAMPLE, parse, refusal};

/// One change of [`EXAMPLE`], and all that is said about it.
const REFUSED: &[(&str, &str, &str)] = &[
    ("on_exit = \"detach\"", "on_exit = \"stay\"", "F:4: weir.on_exit: found \"stay\", expected detach or keep"),
    ("on_exit = \"detach\"", "on_exit = true", "F:4: weir.on_exit: found true, expected detach or keep"),
    (
        "on_exit = \"detach\"",
        "state = \"bpf/weir\"",
        "F:4: weir.state: found \"bpf/weir\", expected the absolute path of a folder in a BPF file system, such as \"/sys/fs/bpf/weir\"",
    ),
    (
        "on_exit = \"detach\"",
        "state = \"/sys/fs/../weir\"",
        "F:4: weir.state: found \"/sys/fs/../weir\", expected the absolute path of a folder in a BPF file system, such as \"/sys/fs/bpf/weir\"",
    ),
    (
        "on_exit = \"detach\"",
        "state = \"/\"",
        "F:4: weir.state: found \"/\", expected the absolute path of a folder in a BPF file system, such as \"/sys/fs/bpf/weir\"",
    ),
    (
        "on_exit = \"detach\"",
        "state = \"\"",
        "F:4: weir.state: found an empty string, expected the absolute path of a folder in a BPF file system, such as \"/sys/fs/bpf/weir\"",
    ),
    (
        "on_exit = \"detach\"",
        "state = 7",
        "F:4: weir.state: found the integer 7, expected the absolute path of a folder in a BPF file system, such as \"/sys/fs/bpf/weir\"",
    ),
    (
        "on_exit = \"detach\"",
        "tcp_idle = \"500ms\"",
        "F:4: weir.tcp_idle: found \"500ms\", expected a duration in whole seconds from 1s to 24h, such as \"30s\", \"10m\" or \"1h30m\"",
    ),
    (
        "on_exit = \"detach\"",
        "tcp_idle = \"0s\"",
        "F:4: weir.tcp_idle: found \"0s\", expected a duration in whole seconds from 1s to 24h, such as \"30s\", \"10m\" or \"1h30m\"",
    ),
    (
        "on_exit = \"detach\"",
        "tcp_idle = \"24h1s\"",
        "F:4: weir.tcp_idle: found \"24h1s\", expected a duration in whole seconds from 1s to 24h, such as \"30s\", \"10m\" or \"1h30m\"",
    ),
    (
        "on_exit = \"detach\"",
        "tcp_idle = 3600",
        "F:4: weir.tcp_idle: found the integer 3600, expected a duration in whole seconds from 1s to 24h, such as \"30s\", \"10m\" or \"1h30m\"",
    ),
    (
        "on_exit = \"detach\"",
        "udp_idle = \"60\"",
        "F:4: weir.udp_idle: found \"60\", expected a duration in whole seconds from 1s to 24h, such as \"30s\", \"10m\" or \"1h30m\"",
    ),
    (
        "on_exit = \"detach\"",
        "upd_idle = \"1m\"",
        "F:4: weir.upd_idle: found an unknown key, expected udp_idle (did you mean that?)",
    ),
    (
        "on_exit = \"detach\"",
        "max_flows = 1023",
        "F:4: weir.max_flows: found 1023, expected an integer from 1024 to 16777216",
    ),
    (
        "on_exit = \"detach\"",
        "max_flows = 16777217",
        "F:4: weir.max_flows: found 16777217, expected an integer from 1024 to 16777216",
    ),
    (
        "on_exit = \"detach\"",
        "max_services = 0",
        "F:4: weir.max_services: found 0, expected an integer from 1 to 16384",
    ),
    (
        "on_exit = \"detach\"",
        "max_services = 16385",
        "F:4: weir.max_services: found 16385, expected an integer from 1 to 16384",
    ),
    (
        "forward = \"nat\"",
        "idle = \"1.5h\"",
        "F:25: service.web.idle: found \"1.5h\", expected a duration in whole seconds from 1s to 24h, such as \"30s\", \"10m\" or \"1h30m\"",
    ),
    (
        "forward = \"nat\"",
        "slow_start = \"30s\"",
        "F:25: service.web.slow_start: found the string \"30s\", expected a table { over, max_moved }",
    ),
    (
        "forward = \"nat\"",
        "slow_start = {}",
        "F:25: service.web.slow_start.over: found nothing, expected a duration in whole seconds from 1s to 24h, such as \"30s\", \"10m\" or \"1h30m\"",
    ),
    (
        "forward = \"nat\"",
        "slow_start = { over = \"25h\" }",
        "F:25: service.web.slow_start.over: found \"25h\", expected a duration in whole seconds from 1s to 24h, such as \"30s\", \"10m\" or \"1h30m\"",
    ),
    (
        "forward = \"nat\"",
        "slow_start = { over = \"30s\", max_moved = \"0.01%\" }",
        "F:25: service.web.slow_start.max_moved: found \"0.01%\", expected a share from 0.1% to 100%, such as \"1%\"",
    ),
    (
        "forward = \"nat\"",
        "slow_start = { over = \"30s\", max_moved = \"101%\" }",
        "F:25: service.web.slow_start.max_moved: found \"101%\", expected a share from 0.1% to 100%, such as \"1%\"",
    ),
    (
        "forward = \"nat\"",
        "slow_start = { over = \"30s\", max_moved = \"1\" }",
        "F:25: service.web.slow_start.max_moved: found \"1\", expected a share from 0.1% to 100%, such as \"1%\"",
    ),
    (
        "forward = \"nat\"",
        "slow_start = { over = \"30s\", max_moved = 0.01 }",
        "F:25: service.web.slow_start.max_moved: found the float 0.01, expected a share from 0.1% to 100%, such as \"1%\"",
    ),
    (
        "forward = \"nat\"",
        "slow_start = { over = \"30s\", max_move = \"1%\" }",
        "F:25: service.web.slow_start.max_move: found an unknown key, expected max_moved (did you mean that?)",
    ),
];

#[test]
fn every_refusal_says_where_what_and_what_instead() {
    assert_refused(REFUSED);
}

/// Too few services are made room for: said where the number stands, with the number that is needed.
#[test]
fn there_is_room_for_every_service() {
    let more = (1..3).map(|n| {
        format!("[[service]]\nname = \"web-{n}\"\nvip = \"192.0.2.1{n}\"\nport = 80\nprotocol = \"tcp\"\nregistry = \"dc1\"\n")
    });
    let text = EXAMPLE.to_owned() + &more.collect::<String>();
    let with = |line: &str| text.replacen("on_exit = \"detach\"", line, 1);
    let expected =
        "F:4: weir.max_services: found 2, expected an integer from 3, the number of services in this file, to 16384";
    assert_eq!(refusal(&with("max_services = 2")), expected);
    assert_eq!(parse(&with("max_services = 3")).map(|config| config.weir.max_services), Ok(3));
}
