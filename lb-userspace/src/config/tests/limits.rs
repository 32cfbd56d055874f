//! What the reader makes of limits.

use super::*;
use crate::config::{Direction, Over};

/// A service with a VIP, a way of forwarding and limits.
fn with(vip: &str, forward: &str, limits: &str) -> String {
    format!(
        "weir.snat_addresses = ['192.0.2.5']
        interface = [{{ name = 'eth0' }}]
        registry.only = {{ path = '/srv/backends.toml' }}
        [[service]]
        name = 'web'
        vip = '{vip}'
        port = 80
        protocol = 'tcp'
        forward = '{forward}'
        limit = [{limits}]"
    )
}

fn limits(forward: &str, limits: &str) -> Vec<Limit> {
    parse(&with("192.0.2.1", forward, limits)).expect("good").services.remove(0).limits
}

fn refused(vip: &str, forward: &str, limits: &str) -> String {
    let problems = parse(&with(vip, forward, limits)).expect_err(limits).problems;
    let told: Vec<String> = problems.iter().map(|problem| format!("{}: {}", problem.key, problem.text)).collect();
    told.join("\n")
}

#[test]
fn every_kind_is_understood() {
    let all = limits(
        "nat",
        "{ per = 'source', rate = '50 Mbit/s', burst = 1500, over = 'mark' },
        { per = 'source-prefix', prefix_v4 = 24, prefix_v6 = 56, rate = 20, unit = 'new-connections/s' },
        { per = 'source', rate = 100, unit = 'connections', over = 'count' },
        { per = 'service', rate = 10, unit = 'Gbit/s', burst = 1000000, share = 'fair' },
        { per = 'service', rate = 8, unit = 'kbits/s', direction = 'out', over = 'delay' },
        { per = 'backend', rate = 1000, unit = 'packets/s', direction = 'out', burst = 64 },
        { per = 'backend', rate = 1000, unit = 'packets/s', direction = 'in', over = 'drop', share = 'first' }",
    );
    let strict = Limit::strict;
    let prefix = Per::SourcePrefix { v4: Some(24), v6: Some(56) };
    let (out, over) = (Direction::Out, Over::Mark);
    let expected = [
        Limit { over, ..strict(Per::Source, 50_000_000, Unit::Bits).with_burst(1500) },
        strict(prefix, 20, Unit::NewConnections),
        Limit { over: Over::Count, ..strict(Per::Source, 100, Unit::Connections) },
        Limit { fair: true, ..strict(Per::Service, 10_000_000_000, Unit::Bits).with_burst(1_000_000) },
        Limit { direction: out, over: Over::Delay, ..strict(Per::Service, 8_000, Unit::Bits) },
        Limit { direction: out, ..strict(Per::Backend, 1000, Unit::Packets).with_burst(64) },
        strict(Per::Backend, 1000, Unit::Packets),
    ];
    assert_eq!(all, expected);
    let shown: Vec<String> = all.iter().map(Limit::to_string).collect();
    assert_eq!(
        shown,
        [
            "50 Mbit/s per source, burst 1500 bytes, over: mark",
            "20 new-connections/s per source-prefix /24 /56, strict",
            "100 connections per source, over: count",
            "10 Gbit/s per service, burst 1000000 bytes, shared fairly",
            "8 kbit/s per service, out, over: delay",
            "1000 packets/s per backend, out, burst 64 packets",
            "1000 packets/s per backend, strict",
        ]
    );
}

#[test]
fn of_a_prefix_the_vips_family_will_do() {
    let limit = |key| format!("{{ per = 'source-prefix', {key} = 24, rate = 1, unit = 'packets/s' }}");
    let per = limits("nat", &limit("prefix_v4")).first().map(|limit| limit.per);
    assert_eq!(per, Some(Per::SourcePrefix { v4: Some(24), v6: None }));
    assert!(parse(&with("2001:db8::1", "nat", &limit("prefix_v6"))).is_ok());
    assert_eq!(
        refused("2001:db8::1", "nat", &limit("prefix_v4")),
        "service.web.limit[1].prefix_v6: found nothing, expected an integer from 1 to 128: how many first bits of a \
         source's address say whose bucket it is"
    );
}

#[test]
fn what_makes_no_sense_is_refused_by_its_key() {
    for (forward, limit, expected) in [
        (
            "nat",
            "per = 'service', rate = 0, unit = 'packets/s'",
            "rate: found 0, expected an integer from 1 to 100000000",
        ),
        ("nat", "per = 'service', rate = '0 Mbit/s'", "rate: found \"0 Mbit/s\", expected 8 bits/s to 800 Gbit/s"),
        ("nat", "per = 'service', rate = '801 Gbit/s'", "rate: found \"801 Gbit/s\", expected 8 bits/s to 800 Gbit/s"),
        (
            "nat",
            "per = 'service', rate = '1.5 packets/s'",
            "rate: found \"1.5 packets/s\", expected 1 packets/s to 100000000 packets/s, in whole packets/s",
        ),
        (
            "nat",
            "per = 'service', rate = '50'",
            "rate: found \"50\", expected a number and its unit, such as \"50 Mbit/s\"",
        ),
        (
            "nat",
            "per = 'service', rate = 7, unit = 'bits/s'",
            "rate: found 7, expected an integer from 8 to 800000000000",
        ),
        ("nat", "per = 'service', rate = 801, unit = 'Gbit/s'", "rate: found 801, expected an integer from 1 to 800"),
        ("nat", "per = 'service', rate = 1.5, unit = 'Gbit/s'", "rate: found the float 1.5, expected an integer"),
        ("nat", "per = 'service', rate = '1 Mbit/s', unit = 'bits/s'", "unit: found beside a rate that is a text"),
        ("nat", "per = 'service', rate = 1", "unit: found nothing, expected packets/s, bytes/s, bits/s, kbit/s"),
        ("nat", "per = 'service', rate = 1, unit = 'mbit/s'", "unit: found \"mbit/s\" (did you mean "),
        ("nat", "per = 'service', rate = 1, unit = 'Mbit/s', over = 'shape'", "over: found \"shape\", expected drop, "),
        (
            "nat",
            "per = 'service', rate = 1, unit = 'Mbit/s', burst = 1499",
            "burst: found 1499, expected an integer from 1500 to 10800000000 bytes: a packet of the usual MTU has 1500 bytes",
        ),
        (
            "nat",
            "per = 'service', rate = 1, unit = 'Mbit/s', burst = 1500, direction = 'out'",
            "burst: found 1500, expected an integer from 65536 to 10800000000 bytes: what containers send comes merged",
        ),
        (
            "nat",
            "per = 'backend', rate = 1000000, unit = 'packets/s', burst = 4000001, direction = 'out', over = 'delay'",
            "burst: found 4000001, expected an integer from 64 to 4000000 packets: what waits longer than 4 s",
        ),
        (
            "l2",
            "per = 'service', rate = 1, unit = 'packets/s', direction = 'out'",
            "direction: found out with forward = l2",
        ),
        (
            "gue",
            "per = 'service', rate = 1, unit = 'packets/s', direction = 'out'",
            "direction: found out with forward = gue",
        ),
        (
            "nat",
            "per = 'source', rate = 1, unit = 'new-connections/s', direction = 'out'",
            "direction: found out with new-connections/s, expected in",
        ),
        (
            "nat",
            "per = 'service', rate = 1, unit = 'packets/s', over = 'mark'",
            "over: found mark without a burst, expected one",
        ),
        (
            "nat",
            "per = 'service', rate = 1, unit = 'new-connections/s', burst = 5, over = 'mark'",
            "over: found mark with new-connections/s, expected drop or count: packets that open connections are never",
        ),
        (
            "nat",
            "per = 'source', rate = 1, unit = 'connections', burst = 5",
            "burst: found 5 with connections, expected none",
        ),
        (
            "nat",
            "per = 'service', rate = 1, unit = 'Mbit/s', over = 'delay'",
            "over: found delay with direction in, expected direction = \"out\"",
        ),
        (
            "nat",
            "per = 'source', rate = 1, unit = 'Mbit/s', over = 'delay', direction = 'out'",
            "over: found delay per source, expected per service or backend",
        ),
        (
            "snat",
            "per = 'service', rate = 1, unit = 'Mbit/s', over = 'delay', direction = 'out'",
            "over: found delay with forward = snat, expected nat, to containers of this host",
        ),
        (
            "nat",
            "per = 'source', rate = 1, unit = 'packets/s', burst = 5, share = 'fair'",
            "share: found fair on a limit per source of what comes in, expected one per service of what comes in",
        ),
        ("nat", "per = 'service', rate = 1, unit = 'packets/s', share = 'fair'", "share: found fair without a burst"),
        (
            "nat",
            "per = 'service', rate = '10 Gbit/s', burst = 624999, share = 'fair'",
            "burst: found less than 625000 with share = \"fair\", expected 625000 or more",
        ),
        (
            "nat",
            "per = 'service', rate = 1, unit = 'connections', share = 'fair'",
            "share: found fair with connections, expected packets/s, bytes/s or bits/s",
        ),
        (
            "nat",
            "per = 'source-prefix', rate = 1, unit = 'packets/s'",
            "per: found source-prefix alone, expected prefix_v4 and prefix_v6",
        ),
        (
            "nat",
            "per = 'source-prefix', prefix_v4 = 33, rate = 1, unit = 'packets/s'",
            "prefix_v4: found 33, expected an integer from 1 to 32",
        ),
        (
            "nat",
            "per = 'source', prefix_v4 = 24, rate = 1, unit = 'packets/s'",
            "prefix_v4: found with per = \"source\", expected only with source-prefix",
        ),
    ] {
        let told = refused("192.0.2.1", forward, &format!("{{ {limit} }}"));
        let expected = format!("service.web.limit[1].{expected}");
        assert!(told.starts_with(&expected), "{told}\ninstead of\n{expected}");
    }
}

#[test]
fn one_mistake_is_told_once() {
    for (prefix, told) in [
        ("", "per: found source-prefix alone, expected"),
        ("prefix_v4 = 0,", "prefix_v4: found 0, expected an integer from 1 to 32"),
        ("prefix_v4 = 33, prefix_v6 = 56,", "prefix_v4: found 33, expected an integer from 1 to 32"),
        ("prefix_v4 = 24, prefix_v6 = 129,", "prefix_v6: found 129, expected an integer from 1 to 128"),
    ] {
        let limit = format!("{{ per = 'source-prefix', {prefix} rate = 1, unit = 'packets/s' }}");
        let all = refused("192.0.2.1", "nat", &limit);
        assert!(all.starts_with(&format!("service.web.limit[1].{told}")) && !all.contains('\n'), "{all}");
    }
}

#[test]
fn what_is_wrong_only_beside_others_is_refused_by_its_own_key() {
    let delay = "{ per = 'service', rate = '1 Mbit/s', direction = 'out', over = 'delay' },";
    let all = refused("192.0.2.1", "nat", &delay.repeat(3));
    assert!(all.starts_with("service.web.limit[2].over: found delay a second time, expected"), "{all}");
    assert!(!all.contains('\n'), "{all}");
}

#[test]
fn of_udp_nothing_opens_a_connection() {
    let text = with("192.0.2.1", "nat", "{ per = 'source', rate = 1, unit = 'new-connections/s' }");
    let problems = parse(&text.replace("'tcp'", "'udp'")).expect_err("refused").problems;
    assert_eq!(problems[0].key, "service.web.limit[1].unit");
    assert!(
        problems[0].text.starts_with("found new-connections/s with protocol udp, expected tcp or sctp"),
        "{problems:?}"
    );
}

#[test]
fn there_may_be_eight() {
    let limit = "{ per = 'service', rate = 1, unit = 'packets/s' },";
    assert_eq!(limits("nat", &limit.repeat(8)).len(), 8);
    let told = refused("192.0.2.1", "nat", &limit.repeat(9));
    assert_eq!(told, "service.web.limit: found 9 limits, expected at most 8");
}
