//! What the reader makes of forwarding modes, of addresses of Weir's own, and of connection ids.

use super::refusals::assert_refused;
use super::*;

/// What a duration, and an array of addresses, is expected to be.
const SNAT: &str = "an array of IPv4 and IPv6 addresses, each a string, at most 8 of a family, which are routed to this host \
                    and are no VIPs";

#[test]
fn everything_is_understood() {
    let text = "
        interface = [{ name = 'eth0' }]
        registry.only = { path = '/srv/backends.toml' }
        [weir]
        snat_addresses = ['192.0.2.5', '2001:db8::5', '192.0.2.6']
        tunnel_sources = ['192.0.2.7', '2001:db8::7']
        gue_port = 7000
        echo = false
        closed_ports = 'refuse'
        max_snat_flows = 1024
        max_fragments = 64
        [[service]]
        name = 'all'
        vip = '192.0.2.1'
        port = 0
        protocol = 'udp'
        forward = 'snat'
        quic = { server_id_length = 4, config = 2 }
        [[service]]
        name = 'sigtran'
        vip = '192.0.2.1'
        port = 2905
        protocol = 'sctp'
        forward = 'gue'
        idle = '5m'
        [[service]]
        name = 'web'
        vip = '192.0.2.1'
        port = 443
        protocol = 'udp'
        quic = { server_id_length = 15 }";
    let config = parse(text).expect("good");
    let weir = &config.weir;
    assert_eq!(weir.snat_addresses.len(), 3);
    assert_eq!((weir.snat_stride(), weir.max_snat_backends), (2, 64));
    assert_eq!((weir.gue_port, weir.echo, weir.closed_ports), (7000, false, ClosedPorts::Refuse));
    assert_eq!((weir.max_snat_flows, weir.max_fragments, weir.tunnel_sources.len()), (1024, 64, 2));
    let seen: Vec<_> = config.services.iter().map(|one| (one.vip.to_string(), one.forward.name(), one.quic)).collect();
    let quic = |server_id_length, config| Some(Quic { server_id_length, config });
    assert_eq!(
        seen,
        [
            ("192.0.2.1:0/udp".to_owned(), "snat", quic(4, 2)),
            ("192.0.2.1:2905/sctp".to_owned(), "gue", None),
            ("192.0.2.1:443/udp".to_owned(), "nat", quic(15, 0)),
        ]
    );
    assert_eq!(config.services[1].idle, Duration::from_secs(300));
}

#[test]
fn room_for_snat_is_made_where_it_is_used() {
    let with = |line: &str, forward: &str| {
        let text = EXAMPLE.replacen("on_exit = \"detach\"", line, 1);
        parse(&text.replacen("forward = \"nat\"", forward, 1)).expect("good").weir.max_snat_backends
    };
    let own = "snat_addresses = [\"192.0.2.5\"]";
    assert_eq!(with("", "forward = \"nat\""), 1);
    assert_eq!(with(own, "forward = \"nat\""), 64, "a registry may say so");
    assert_eq!(with(own, "forward = \"snat\""), 64);
    assert_eq!(with(&format!("{own}\nmax_snat_backends = 3"), "forward = \"snat\""), 3);
}

#[test]
fn every_refusal_says_where_what_and_what_instead() {
    let no_array = format!("F:4: weir.snat_addresses: found the string \"192.0.2.5\", expected {SNAT}");
    let host = format!("F:6: weir.snat_addresses: found \"host\", expected {SNAT}");
    let loopback = format!("F:4: weir.snat_addresses: found 127.0.0.1, a loopback address, expected {SNAT}");
    let nine = format!(
        "F:4: weir.snat_addresses: found 192.0.2.9, one more of its family than the 8 there may be, expected {SNAT}"
    );
    let eight: String = (1..9).map(|last| format!("\"192.0.2.10{last}\", ")).collect();
    let nine_of = format!("snat_addresses = [{eight}\"192.0.2.9\"]");
    assert_refused(&[
        ("on_exit = \"detach\"", "snat_addresses = \"192.0.2.5\"", &no_array),
        ("on_exit = \"detach\"", "snat_addresses = [\n\"192.0.2.5\",\n\"host\"]", &host),
        ("on_exit = \"detach\"", "snat_addresses = [\"127.0.0.1\"]", &loopback),
        ("on_exit = \"detach\"", &nine_of, &nine),
        (
            "on_exit = \"detach\"",
            "snat_addresses = [\"192.0.2.5\",\n\"192.0.2.5\"]",
            "F:5: weir.snat_addresses: found 192.0.2.5, which line 4 has too, expected every address once",
        ),
        (
            "on_exit = \"detach\"",
            "tunnel_sources = [\"192.0.2.5\",\n\"192.0.2.6\"]",
            "F:5: weir.tunnel_sources: found 192.0.2.6, one more of its family than the 1 there may be, expected an array of at most one IPv4 and one IPv6 address, each a string, which are this host's",
        ),
        (
            "on_exit = \"detach\"",
            "snat_addresses = [\"192.0.2.5\"]\ntunnel_sources = [\"192.0.2.5\"]",
            "F:5: weir.tunnel_sources: found 192.0.2.5, which `snat_addresses` on line 4 has too, expected an address of its own: what comes back to a tunnel is no reply of a flow's",
        ),
        (
            "on_exit = \"detach\"",
            "snat_addresses = [\"192.0.2.10\"]",
            "F:20: service.web.vip: found 192.0.2.10, which `snat_addresses` on line 4 has too, expected an address that packets to backends do not come from",
        ),
        (
            "on_exit = \"detach\"",
            "tunnel_sources = [\"192.0.2.10\"]",
            "F:20: service.web.vip: found 192.0.2.10, which `tunnel_sources` on line 4 has too, expected an address that packets to backends do not come from",
        ),
        ("on_exit = \"detach\"", "gue_port = 0", "F:4: weir.gue_port: found 0, expected an integer from 1 to 65535"),
        ("on_exit = \"detach\"", "echo = \"no\"", "F:4: weir.echo: found the string \"no\", expected true or false"),
        (
            "on_exit = \"detach\"",
            "closed_ports = \"drop\"",
            "F:4: weir.closed_ports: found \"drop\", expected pass or refuse",
        ),
        (
            "on_exit = \"detach\"",
            "max_snat_backends = 4097",
            "F:4: weir.max_snat_backends: found 4097, expected an integer from 1 to 4096",
        ),
        (
            "on_exit = \"detach\"",
            "max_fragments = 1",
            "F:4: weir.max_fragments: found 1, expected an integer from 64 to 65536",
        ),
        (
            "forward = \"nat\"",
            "forward = \"dsr\"",
            "F:25: service.web.forward: found \"dsr\", expected nat, snat, l2, ipip or gue",
        ),
        (
            "forward = \"nat\"",
            "forward = \"snat\"",
            "F:25: service.web.forward: found snat, expected an IPv4 address in `snat_addresses` under [weir], which packets to the backends come from",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"sctp\"",
            "F:25: service.web.forward: found nat, expected l2, ipip or gue: SCTP packets carry addresses inside, which are not rewritten",
        ),
        (
            "protocol = \"tcp\"\nregistry = \"local\"\nregistry_service = \"web\"\nforward = \"nat\"\n",
            "protocol = \"sctp\"\nregistry = \"local\"\n",
            "F:18: service.web.forward: found nat, the default, expected l2, ipip or gue: SCTP packets carry addresses inside, which are not rewritten",
        ),
        (
            "forward = \"nat\"",
            "quic = { server_id_length = 4 }",
            "F:25: service.web.quic: found with protocol tcp, expected only with udp, which QUIC runs over",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"udp\"\nquic = { config = 7 }",
            "F:23: service.web.quic.server_id_length: found nothing, expected an integer from 1 to 15: the bytes of a server id in connection ids\nF:23: service.web.quic.config: found 7, expected an integer from 0 to 6: what connection ids begin with",
        ),
        (
            "protocol = \"tcp\"",
            "protocol = \"udp\"\nquic = { server_id_length = 16 }",
            "F:23: service.web.quic.server_id_length: found 16, expected an integer from 1 to 15: the bytes of a server id in connection ids",
        ),
    ]);
}
