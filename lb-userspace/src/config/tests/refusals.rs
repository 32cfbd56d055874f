//! Bad configurations, and the very words they are refused with.

use super::{EXAMPLE, refusal};

/// One change of [`EXAMPLE`], and all that is said about it.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "port = 80",
        "prot = 80",
        "F:18: service.web.port: found nothing, expected an integer from 0 to 65535, where 0 is every port\nF:21: service.web.prot: found an unknown key, expected port (did you mean that?)",
    ),
    (
        "port = 80",
        "port = 70000",
        "F:21: service.web.port: found 70000, expected an integer from 0 to 65535, where 0 is every port",
    ),
    (
        "port = 80",
        "port = -1",
        "F:21: service.web.port: found -1, expected an integer from 0 to 65535, where 0 is every port",
    ),
    (
        "port = 80",
        "port = \"80\"",
        "F:21: service.web.port: found the string \"80\", expected an integer from 0 to 65535, where 0 is every port",
    ),
    (
        "port = 80",
        "port = 80.0",
        "F:21: service.web.port: found the float 80.0, expected an integer from 0 to 65535, where 0 is every port",
    ),
    (
        "port = 80",
        "port = 99999999999999999999999",
        "F:21: service.web.port: found 99999999999999999999999, expected an integer from 0 to 65535, where 0 is every port",
    ),
    (
        "vip = \"192.0.2.10\"",
        "",
        "F:18: service.web.vip: found nothing, expected an IPv4 or IPv6 address that clients can reach",
    ),
    (
        "vip = \"192.0.2.10\"",
        "vip = \"192.0.2.300\"",
        "F:20: service.web.vip: found \"192.0.2.300\", expected an IPv4 or IPv6 address that clients can reach",
    ),
    (
        "vip = \"192.0.2.10\"",
        "vip = \"::ffff:192.0.2.10\"",
        "F:20: service.web.vip: found ::ffff:192.0.2.10, an IPv4-mapped address: write 192.0.2.10, expected an IPv4 or IPv6 address that clients can reach",
    ),
    (
        "vip = \"192.0.2.10\"",
        "vip = \"224.0.0.1\"",
        "F:20: service.web.vip: found 224.0.0.1, a multicast address, expected an IPv4 or IPv6 address that clients can reach",
    ),
    (
        "vip = \"192.0.2.10\"",
        "vip = \"0.0.0.0\"",
        "F:20: service.web.vip: found 0.0.0.0, the unspecified address, expected an IPv4 or IPv6 address that clients can reach",
    ),
    (
        "vip = \"192.0.2.10\"",
        "vip = \"::1\"",
        "F:20: service.web.vip: found ::1, a loopback address, expected an IPv4 or IPv6 address that clients can reach",
    ),
    (
        "vip = \"192.0.2.10\"",
        "vip = \"fe80::1\"",
        "F:20: service.web.vip: found fe80::1, a link-local address, expected an IPv4 or IPv6 address that clients can reach",
    ),
    (
        "protocol = \"tcp\"",
        "protocol = \"tpc\"",
        "F:22: service.web.protocol: found \"tpc\", expected tcp, udp or sctp",
    ),
    (
        "protocol = \"tcp\"",
        "protocol = 6",
        "F:22: service.web.protocol: found the integer 6, expected tcp, udp or sctp",
    ),
    (
        "registry = \"local\"",
        "registry = \"locla\"",
        "F:23: service.web.registry: found \"locla\" (did you mean local?), expected the name of a registry: dc1 or local",
    ),
    (
        "registry = \"local\"",
        "registry = \"zookeeper\"",
        "F:23: service.web.registry: found \"zookeeper\", expected the name of a registry: dc1 or local",
    ),
    (
        "registry = \"local\"",
        "",
        "F:18: service.web.registry: found nothing, expected the name of a registry: dc1 or local",
    ),
    (
        "registry = \"local\"",
        "registry_tags = [\"a\"]\nregistry = \"local\"",
        "F:23: service.web.registry_tags: found with a registry of type \"file\", expected only with \"consul\": files have no tags",
    ),
    (
        "registry = \"local\"",
        "registry_tags = [\"a#b\"]\nregistry = \"dc1\"",
        "F:23: service.web.registry_tags: found a '#', expected none in what Consul is asked for: Weir separates tags by it",
    ),
    (
        "registry_service = \"web\"",
        "registry_service = \"\"",
        "F:24: service.web.registry_service: found an empty string, expected a name of 1 to 255 bytes: what the registry calls the service",
    ),
    (
        "forward = \"nat\"",
        "forward = \"dsr\"",
        "F:25: service.web.forward: found \"dsr\", expected nat, snat, l2, ipip or gue",
    ),
    ("rate = 1000", "rate = 0", "F:26: service.web.limit.rate: found 0, expected an integer from 1 to 100000000"),
    (
        "rate = 1000",
        "rate = 10000000001",
        "F:26: service.web.limit.rate: found 10000000001, expected an integer from 1 to 100000000",
    ),
    ("rate = 1000, ", "", "F:26: service.web.limit.rate: found nothing, expected an integer from 1 to 100000000"),
    (
        "burst = 50",
        "burst = 0",
        "F:26: service.web.limit.burst: found 0, expected a positive integer; without a burst the limit is strict",
    ),
    (
        "burst = 50",
        "burst = 86400001",
        "F:26: service.web.limit.burst: found 86400001, expected an integer from 1 to 86400000 packets: a day's worth of the rate; without a burst the limit is strict",
    ),
    (
        "burst = 50",
        "brust = 50",
        "F:26: service.web.limit.brust: found an unknown key, expected burst (did you mean that?)",
    ),
    (
        "per = \"source\"",
        "per = \"client\"",
        "F:26: service.web.limit.per: found \"client\", expected service, source, source-prefix or backend",
    ),
    (
        "unit = \"packets/s\"",
        "unit = \"pps\"",
        "F:26: service.web.limit.unit: found \"pps\", expected packets/s, bytes/s, bits/s, kbit/s, Mbit/s, Gbit/s, new-connections/s or connections",
    ),
    (
        "limit = { per = \"source\", rate = 1000, unit = \"packets/s\", burst = 50 }",
        "limit = 1000",
        "F:26: service.web.limit: found the integer 1000, expected a table { per, rate, unit, burst, … } or an array of such tables",
    ),
    (
        "limit = { per = \"source\", rate = 1000, unit = \"packets/s\", burst = 50 }",
        "limit = [1]",
        "F:26: service.web.limit: found the integer 1 in the array, expected a table { per, rate, unit, burst, … } or an array of such tables",
    ),
    (
        "limit = { per = \"source\", rate = 1000, unit = \"packets/s\", burst = 50 }",
        "limit = [\n{ per = \"source\", rate = 1, unit = \"packets/s\" },\n{ per = \"source\", rate = 0, unit = \"bytes/s\" }]",
        "F:28: service.web.limit[2].rate: found 0, expected an integer from 1 to 100000000000",
    ),
    ("mode = \"auto\"", "mode = \"drv\"", "F:8: interface.eth0.mode: found \"drv\", expected auto, native or skb"),
    (
        "name = \"eth0\"",
        "name = \"a-name-of-16-byt\"",
        "F:7: interface[1].name: found \"a-name-of-16-byt\", 16 bytes, expected the name of a network device, as `ip link` shows it, of at most 15 bytes",
    ),
    (
        "name = \"eth0\"",
        "name = \"eth 0\"",
        "F:7: interface[1].name: found \"eth 0\", expected the name of a network device, as `ip link` shows it, of at most 15 bytes",
    ),
    (
        "name = \"eth0\"",
        "name = \"eth0\"\n[[interface]]\nname = \"eth0\"",
        "F:9: interface[2].name: found \"eth0\", which line 7 names too, expected every device once",
    ),
    (
        "[[interface]]\nname = \"eth0\"\nmode = \"auto\"",
        "",
        "F:1: interface: found nothing, expected at least one [[interface]], each with a name",
    ),
    (
        "[[interface]]\nname = \"eth0\"\nmode = \"auto\"",
        "interfaces = []",
        "F:1: interface: found nothing, expected at least one [[interface]], each with a name\nF:6: weir.interfaces: found an unknown key, expected socket, state, on_exit, tcp_idle, udp_idle, hash_seed, table_size, max_sources, max_services, max_backends, max_flows, snat_addresses, tunnel_sources, gue_port, echo, closed_ports, max_snat_flows, max_snat_backends or max_fragments",
    ),
    ("[weir]\n", "interface = []\n[weir]\n", "F:7: not TOML: found \"interface\": duplicate key"),
    (
        "on_exit = \"detach\"",
        "table_size = 65536",
        "F:4: weir.table_size: found 65536, which is no prime, expected a prime from 251 to 1048573: the nearest is 65537",
    ),
    (
        "on_exit = \"detach\"",
        "table_size = 250",
        "F:4: weir.table_size: found 250, expected a prime from 251 to 1048573",
    ),
    (
        "on_exit = \"detach\"",
        "max_sources = 0",
        "F:4: weir.max_sources: found 0, expected an integer from 1 to 16777216",
    ),
    (
        "on_exit = \"detach\"",
        "hash_seed = -1",
        "F:4: weir.hash_seed: found -1, expected an integer from 0 to 18446744073709551615",
    ),
    (
        "[registry.local]\ntype = \"file\"",
        "[registry.local]\ntype = \"etcd\"",
        "F:11: registry.local.type: found \"etcd\", expected file, consul, docker or swarm",
    ),
    (
        "path = \"services.d\"",
        "",
        "F:10: registry.local.path: found nothing, expected the path of a TOML file or of a directory of them",
    ),
    (
        "path = \"services.d\"",
        "address = \"x\"\npath = \"services.d\"",
        "F:12: registry.local.address: found an unknown key, expected type or path",
    ),
    (
        "address = \"http://127.0.0.1:8500\"",
        "address = \"127.0.0.1:8500\"",
        "F:16: registry.dc1.address: found \"127.0.0.1:8500\" (relative URL without a base), expected the agent's URL, such as \"http://127.0.0.1:8500\" or \"https://consul.example:8501\"",
    ),
    (
        "address = \"http://127.0.0.1:8500\"",
        "address = \"http://127.0.0.1:8500/v1\"",
        "F:16: registry.dc1.address: found \"http://127.0.0.1:8500/v1\", with a path, a query or a fragment, expected the agent's URL, such as \"http://127.0.0.1:8500\" or \"https://consul.example:8501\"",
    ),
    (
        "address = \"http://127.0.0.1:8500\"",
        "address = \"http://me:pw@127.0.0.1\"",
        "F:16: registry.dc1.address: found a URL with a user or a password in it, expected the agent's URL, such as \"http://127.0.0.1:8500\" or \"https://consul.example:8501\"",
    ),
    (
        "address = \"http://127.0.0.1:8500\"",
        "address = \"http://[::1]:8500\"\ntoken = \"a b\"\nca_file = \"ca.pem\"\nkey_file = \"key.pem\"",
        "F:14: registry.dc1.cert_file: found nothing, expected the path of a PEM certificate, as there is a key_file\nF:17: registry.dc1.token: found a string that cannot be one, expected an ACL token of 1 to 4096 visible ASCII characters\nF:18: registry.dc1.ca_file: found beside an http:// address, expected only with https://: without TLS it has no use\nF:19: registry.dc1.key_file: found beside an http:// address, expected only with https://: without TLS it has no use",
    ),
    (
        "address = \"http://127.0.0.1:8500\"",
        "address = \"http://127.0.0.1:8500\"\ntoken = \"secret\"\ntoken_file = \"token\"",
        "F:18: registry.dc1.token_file: found beside token, expected only one of the two",
    ),
    (
        "[[service]]\n",
        "[service]\n",
        "F:18: service: found a table, expected an array of tables, each written [[service]]",
    ),
    ("[registry.local]", "[registry.local", "F:10: not TOML: unclosed table, expected `]`"),
    ("port = 80", "port = ", "F:21: not TOML: string values must be quoted, expected literal string"),
    ("port = 80", "port = 80\nport = 81", "F:22: not TOML: found \"port\": duplicate key"),
    (
        "forward = \"nat\"",
        "forward = \"nat\"\n[extra]\nkey = 1",
        "F:26: extra: found an unknown key, expected weir, interface, registry or service",
    ),
    (
        "forward = \"nat\"",
        "forward = \"nat\"\n[[service]]\nname = \"web\"\nvip = \"192.0.2.10\"\nport = 80\nprotocol = \"tcp\"\nregistry = \"dc1\"",
        "F:27: service[2].name: found \"web\", which line 19 names too, expected every name once\nF:28: service.web.vip: found 192.0.2.10:80/tcp, which service \"web\" on line 20 has, expected every VIP once",
    ),
    ("name = \"web\"\n", "", "F:18: service[1].name: found nothing, expected a name of 1 to 255 bytes"),
    (
        "name = \"web\"\n",
        "name = \"a b\"\ncolour = 1\n",
        "F:20: service.\"a b\".colour: found an unknown key, expected name, vip, port, protocol, registry, registry_service, registry_tags, forward, quic, idle, slow_start or limit",
    ),
];

/// Each of these changes of [`EXAMPLE`] is refused in these words.
pub(super) fn assert_refused(rows: &[(&str, &str, &str)]) {
    for (from, to, expected) in rows {
        let text = EXAMPLE.replacen(from, to, 1);
        assert_ne!(text, EXAMPLE, "{from:?} is in the example");
        assert_eq!(&refusal(&text), expected, "{to:?} in place of {from:?}");
    }
}

#[test]
fn every_refusal_says_where_what_and_what_instead() {
    assert_refused(REFUSED);
}
