//! Searches that begin anew.

use super::*;

fn with_carrier(link: Link, carrier: bool) -> Link {
    Link { flags: if carrier { 0x1_0041 } else { 0x1001 }, ..link }
}

fn bridge(carrier: bool) -> Link {
    with_carrier(link(3, Some("bridge")), carrier)
}

fn port(carrier: bool) -> Link {
    with_carrier(Link { controller: Some(3), ..link(4, Some("veth")) }, carrier)
}

/// What the kernel says of a search that it is at, where it is asked.
const SEARCHED: Option<Neighbour> = Some(Neighbour { state: 0x01, mac: None });

/// A bridge whose only container is replaced loses and gets its carrier; what was sent between is lost.
#[test]
fn who_is_searched_for_when_carrier_comes_is_searched_for_anew() {
    let key = Key { ifindex: 3, address: ip("10.0.0.2") };
    let start = Instant::now();
    let soon = start + ANEW_INTERVAL;
    for events in [[port(true), bridge(false)], [port(false), bridge(true)]] {
        let mut table = table("10.0.0.2");
        table.set_neighbour(key, None);
        assert!(table.set_link(port(false)) && table.set_link(bridge(false)));
        assert_eq!(table.due(start), [in_turn(key)]);
        table.set_neighbour(key, SEARCHED);
        assert!(table.due(start + USE_INTERVAL).is_empty(), "the kernel is at it");
        for event in events.clone() {
            table.set_link(event);
        }
        assert!(table.due(start).is_empty(), "not at once, however often carrier comes");
        let due = [Due { key, anew: true }];
        assert_eq!(table.due(soon), due, "{events:?}");
        assert!(table.due(start + USE_INTERVAL).is_empty(), "once");
        table.not_asked(&due);
        assert_eq!(table.due(soon), due, "the kernel did not answer");
        for event in events {
            table.set_link(event);
        }
        assert!(table.due(start + USE_INTERVAL).is_empty(), "nothing changed");
        table.set_link(port(false));
        table.set_link(port(true));
        table.set_neighbour(key, state(REACHABLE));
        assert!(table.due(start + USE_INTERVAL).is_empty(), "what was found meanwhile is not forgotten");
    }
}

#[test]
fn whoever_has_carrier_come_and_go_has_nobody_asked_for_all_the_time() {
    let key = Key { ifindex: 3, address: ip("10.0.0.2") };
    let mut table = table("10.0.0.2");
    table.set_neighbour(key, SEARCHED);
    let start = Instant::now();
    let asked = (0..2_000).filter(|tick| {
        table.set_link(port(false));
        table.set_link(port(true));
        !table.due(start + Duration::from_millis(10) * *tick).is_empty()
    });
    // Twenty seconds: after 0, 0.1, 0.2, 0.4, 0.8, 1.6 and 3.2 s more, and 5 s after that from the beginning.
    let asked: Vec<u32> = asked.map(|tick| tick * 10).collect();
    assert_eq!(asked[..9], [0, 100, 300, 700, 1500, 3100, 6300, 11_300, 11_400]);
    assert!(asked.len() < 16, "{asked:?}");
}

/// Carrier that no event told of; and a VLAN device on the bridge, which had its carrier all the time.
#[test]
fn whoever_may_be_behind_a_port_is_searched_for_anew_however_it_is_learnt() {
    let vlan = || Link { lower: Some(3), tag: Some(Tags::vlan(100).0[0]), ..link(5, Some("vlan")) };
    let key = |ifindex| Key { ifindex, address: ip("10.0.0.2") };
    let start = Instant::now();
    for ifindex in [3, 5] {
        let mut table = Table::default();
        table.set_links([bridge(true), port(false), vlan()]);
        table.follow(&[ip("10.0.0.2")].into());
        table.set_route(ip("10.0.0.2"), path(ifindex, None));
        assert_eq!(table.unknown_neighbours(), [key(ifindex)]);
        table.set_neighbour(key(ifindex), SEARCHED);
        table.set_links([bridge(true), port(true), vlan()]);
        assert_eq!(table.due(start), [Due { key: key(ifindex), anew: true }]);
        assert!(!table.set_link(port(true)), "the event comes late");
        assert!(table.due(start + USE_INTERVAL).is_empty());
    }
}
