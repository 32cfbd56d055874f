//! Flows that are more than single packets: those whose source is rewritten, and QUIC connections that move.

use std::collections::BTreeSet;

use lb_common::Refusal;
use lb_common::abi::{Delivery, PORT_WORDS, PathMtu, QuicIds};
use lb_common::tables::WayOut;
use weir_tests::frame::{ACK, End, FIN, Frame, RST, SYN, at, icmp, quic_long, quic_short, tcp, udp};

use crate::both::Both;
use crate::host::Seen;
use crate::stage::{SLOTS, Stage, address};
use crate::tables::cast::{
    BACK_MAC, BACKEND_MAC, CLIENT, CLIENT_MAC, DNS, FRONT_MAC, SNAT, SNAT6, Service, TUNNEL, WEB, named,
};
use crate::tables::error;
use crate::world::namespace;

fn both() -> Both {
    let front = namespace();
    Both::new(&Stage::of_tables(front), front)
}

#[track_caller]
fn sent(both: &mut Both, frame: &Frame) -> Vec<u8> {
    match both.send(&frame.bytes()) {
        Ok((Seen::Redirect(out), None)) => out,
        other => panic!("{other:02x?}"),
    }
}

#[track_caller]
fn refused(both: &mut Both, frame: &Frame) -> Refusal {
    both.send(&frame.bytes()).unwrap_or_else(|said| panic!("{said}")).1.expect("it is refused")
}

/// What leaves for the backend of a service whose flows leave from an address of this host.
fn towards(service: &Service, frame: &Frame, port: u16) -> Frame {
    let own = if service.is_v4() { SNAT } else { SNAT6 };
    Frame { source: at(own, port), destination: service.listens(frame.destination.1), ..frame.clone() }
        .sent(BACKEND_MAC, BACK_MAC)
}

/// The source port of a frame without options and tags.
fn port_of(service: &Service, out: &[u8]) -> u16 {
    let at = if service.is_v4() { 34 } else { 54 };
    u16::from_be_bytes([out[at], out[at + 1]])
}

#[test]
fn both_ends_are_rewritten_and_back() {
    let mut both = both();
    for service in [named("snat"), named("snat, IPv6")] {
        let client = service.client();
        let syn = tcp(client, service.at(WEB), SYN);
        let out = sent(&mut both, &syn);
        let port = port_of(&service, &out);
        assert!(port >= 1024);
        assert_eq!(out, towards(&service, &syn, port).bytes());
        let own = at(if service.is_v4() { SNAT } else { SNAT6 }, port);
        let reply = tcp(service.listens(WEB), own, SYN | ACK);
        let expected = Frame { source: service.at(WEB), destination: client, ..reply.clone() };
        assert_eq!(sent(&mut both, &reply), expected.sent(CLIENT_MAC, FRONT_MAC).bytes());
        let data = tcp(client, service.at(WEB), ACK).sized(1000);
        assert_eq!(sent(&mut both, &data), towards(&service, &data, port).bytes());
        // An error about what left, from the backend: back to the client, as if about what it sent.
        let (kind, code) = if service.is_v4() { (3, 3) } else { (1, 4) };
        let left = towards(&service, &data, port);
        let error = icmp(service.backend, &own.0.to_string(), kind, code, [0; 4], left.quote(200));
        let quoted = Frame { source: client, destination: service.at(WEB), ..left };
        let expected = icmp(service.vip, &client.0.to_string(), kind, code, [0; 4], quoted.quote(200));
        assert_eq!(sent(&mut both, &error), expected.sent(CLIENT_MAC, FRONT_MAC).bytes());
        // An error about a reply, from the client: to the backend, as if about what it sent.
        let back = Frame { source: service.at(WEB), destination: client, ..reply.clone() };
        let error = icmp(&client.0.to_string(), service.vip, kind, code, [0; 4], back.quote(60));
        let expected = icmp(&client.0.to_string(), service.backend, kind, code, [0; 4], reply.quote(60));
        assert_eq!(sent(&mut both, &error), expected.sent(BACKEND_MAC, BACK_MAC).bytes());
    }
    both.compare_state().unwrap();
}

#[test]
fn no_two_flows_have_one_port() {
    let mut both = both();
    let service = named("snat");
    let mut ports = BTreeSet::new();
    for port in 2000..4000 {
        let frame = udp(at(CLIENT, port), service.at(DNS));
        let out = sent(&mut both, &frame);
        let own = port_of(&service, &out);
        assert_eq!(out, towards(&service, &frame, own).bytes());
        assert!(ports.insert(own), "port {own} was given twice");
        // The flow keeps it.
        assert_eq!(sent(&mut both, &frame), out);
    }
    both.compare_state().unwrap();
}

#[test]
fn what_nobody_remembers_is_refused() {
    let mut both = both();
    let service = named("snat");
    for flags in [ACK, ACK | FIN, RST, SYN | ACK] {
        let frame = tcp(at(CLIENT, 3000), service.at(WEB), flags);
        assert_eq!(refused(&mut both, &frame), Refusal::UnknownFlow);
    }
    // Somebody who speaks to a port that nobody has.
    let stray = tcp(service.listens(WEB), at(SNAT, 5555), ACK);
    assert_eq!(refused(&mut both, &stray), Refusal::Direct);
    let stranger = tcp(at(CLIENT, 3000), at(SNAT, 5555), ACK);
    assert_eq!(refused(&mut both, &stranger), Refusal::NoService);
}

#[test]
fn a_connection_that_has_ended_makes_room_for_the_next_between_the_same_ends() {
    let mut both = both();
    let service = named("snat");
    let (client, vip) = (at(CLIENT, 3100), service.at(WEB));
    let port = port_of(&service, &sent(&mut both, &tcp(client, vip, SYN)));
    sent(&mut both, &tcp(service.listens(WEB), at(SNAT, port), SYN | ACK));
    sent(&mut both, &tcp(client, vip, ACK | FIN));
    sent(&mut both, &tcp(service.listens(WEB), at(SNAT, port), ACK | FIN));
    let last = tcp(client, vip, ACK);
    assert_eq!(sent(&mut both, &last), towards(&service, &last, port).bytes());
    let next = tcp(client, vip, SYN);
    let port = port_of(&service, &sent(&mut both, &next));
    let reply = tcp(service.listens(WEB), at(SNAT, port), SYN | ACK);
    let expected = Frame { source: vip, destination: client, ..reply.clone() }.sent(CLIENT_MAC, FRONT_MAC);
    assert_eq!(sent(&mut both, &reply), expected.bytes());
    assert_eq!(both.host.tables.ports.iter().map(|word| word.get().count_ones()).sum::<u32>(), 1);
    both.compare_state().unwrap();
}

#[test]
fn when_every_port_is_taken_it_is_said() {
    let mut both = both();
    let service = named("snat");
    both.fill_ports(PORT_WORDS * 8);
    let frame = udp(at(CLIENT, 3200), service.at(DNS));
    assert_eq!(refused(&mut both, &frame), Refusal::SnatExhausted);
    both.compare_state().unwrap();
}

#[test]
fn replies_in_fragments_go_to_the_client() {
    let mut both = both();
    for service in [named("snat"), named("snat, IPv6")] {
        let client = service.client();
        let port = port_of(&service, &sent(&mut both, &udp(client, service.at(DNS))));
        let own = at(if service.is_v4() { SNAT } else { SNAT6 }, port);
        let reply = udp(service.listens(DNS), own).sized(3000);
        let expected = Frame { source: service.at(DNS), destination: client, ..reply.clone() };
        let mut id = None;
        for (piece, expected) in reply.pieces(&[1200, 2400]).iter().zip(expected.pieces(&[1200, 2400])) {
            let out = sent(&mut both, piece);
            let shown = if service.is_v4() {
                u32::from(u16::from_be_bytes([out[18], out[19]]))
            } else {
                u32::from_be_bytes([out[58], out[59], out[60], out[61]])
            };
            let id = *id.get_or_insert(shown);
            let expected = Frame { id, ..expected }.sent(CLIENT_MAC, FRONT_MAC);
            assert_eq!(out, expected.bytes());
        }
    }
}

#[test]
fn replies_larger_than_the_way_are_answered() {
    let front = namespace();
    let narrow = std::process::Command::new("ip").args(["link", "set", "front", "mtu", "1500"]).status();
    assert!(narrow.expect("ip is installed by cargo xtask setup").success());
    for service in [named("nat"), named("nat, IPv6")] {
        let mut both = Both::new(&Stage::of_tables(front), front);
        let client = service.client();
        let (header, fragment) = if service.is_v4() { (40, 0x4000) } else { (60, 0) };
        let reply = |bytes: usize| Frame { fragment, ..tcp(service.listens(WEB), client, ACK).sized(bytes - header) };
        let fits = reply(1500);
        let expected = Frame { source: service.at(WEB), ..fits.clone() }.sent(CLIENT_MAC, FRONT_MAC);
        assert_eq!(sent(&mut both, &fits), expected.bytes());
        // The host's routes know no lengths.
        both.host.tables.routes.insert(address(&client.0.to_string()), WayOut::TooBig(1500));
        let large = reply(1501);
        let (kind, code) = if service.is_v4() { (3, 4) } else { (2, 0) };
        // From where the packet was sent to, as all that is said: the backend knows the client, and not the VIP.
        let error = Frame { id: 0, ..error(&client.0.to_string(), &large, kind, code, [0, 0, 5, 220]) };
        let seen = both.send(&large.bytes()).unwrap_or_else(|said| panic!("{said}"));
        assert_eq!(seen, (Seen::Transmit(error.bytes()), Some(Refusal::TooBig)));
        if service.is_v4() {
            // The stack fragments what may be cut.
            let large = Frame { fragment: 0, ..large };
            let expected = Frame { source: service.at(WEB), ..large.clone() };
            let seen = both.send(&large.bytes()).unwrap_or_else(|said| panic!("{said}"));
            assert_eq!(seen, (Seen::Pass(expected.bytes()), None));
        }
    }
}

/// A service of three QUIC servers.
fn quic(config: u8, length: u8) -> (Both, Vec<End>) {
    let front = namespace();
    let mut stage = Stage::of_tables(front);
    let id = stage.service("quic", address("203.0.113.170"), 443, 17);
    let rows: Vec<_> = (1..=3)
        .map(|number| {
            let mut row = stage.backend(&named("nat"), 4433);
            row.address = address(&format!("10.0.4.{number}"));
            row
        })
        .collect();
    let ids = stage.join(id, &rows, SLOTS);
    stage.services[id as usize].quic = QuicIds::new(config, length);
    for (number, backend) in (1..).zip(ids) {
        let mut key = lb_common::abi::QuicKey { service: id, length, ..Default::default() };
        key.server_id[..length.into()].fill(number);
        stage.quic_servers.insert(key, backend);
    }
    (Both::new(&stage, front), (1..=3).map(|number| at(&format!("10.0.4.{number}"), 4433)).collect())
}

#[test]
fn quic_connections_are_known_wherever_they_come_from() {
    for (config, length) in [(0, 1), (2, 4), (6, 15)] {
        let (mut both, servers) = quic(config, length);
        let vip = at("203.0.113.170", 443);
        for (number, server) in (1_u8..).zip(&servers) {
            for port in 7000_u16..7040 {
                // The lower five bits of the first byte are the server's own (draft-ietf-quic-load-balancers §3).
                let mut id = vec![config << 5 | port.to_be_bytes()[1] & 0x1f];
                id.extend(vec![number; length.into()]);
                id.extend([0xaa; 3]);
                for payload in [quic_long(1, &id, &[1, 2, 3]), quic_long(0x6b33_43cf, &id, &[]), quic_short(&id)] {
                    let frame = udp(at(CLIENT, port), vip).with(payload);
                    let expected = Frame { destination: *server, ..frame.clone() }.sent(BACKEND_MAC, BACK_MAC);
                    assert_eq!(sent(&mut both, &frame), expected.bytes());
                }
            }
        }
        both.compare_state().unwrap();
    }
}

#[test]
fn connection_ids_of_nobodys_go_where_the_flow_goes() {
    for broken in [
        // Another configuration; a server that is not there; one that ends within the server's id; a version that says
        // that there is no id; nothing at all.
        quic_short(&[0x20, 1, 1, 1, 1, 0, 0]),
        quic_short(&[0x40, 9, 9, 9, 9, 0, 0]),
        quic_long(1, &[0x40, 1, 1, 1], &[]),
        quic_long(0, &[], &[]),
        vec![0x40, 0x40, 1, 1],
        vec![0xc0],
        Vec::new(),
    ] {
        let (mut both, _) = quic(2, 4);
        for port in 7100..7110 {
            let frame = udp(at(CLIENT, port), at("203.0.113.170", 443));
            let plain = sent(&mut both, &frame);
            let out = sent(&mut both, &frame.with(broken.clone()));
            assert_eq!(out[30..34], plain[30..34], "{broken:02x?}");
        }
    }
}

#[test]
fn what_was_told_of_a_path_while_programs_were_replaced_is_heard_when_it_is_said_again() {
    let front = namespace();
    let mut stage = Stage::of_tables(front);
    let service = named("ipip, 4 in 4");
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock").tv_sec();
    let told = PathMtu { mtu: 1400, told_s: u32::try_from(now).expect("not for 136 years") };
    stage.paths.insert(address(service.backend), told);
    let mut both = Both::new(&stage, front);
    both.forget_that_paths_were_told();
    let large = Frame { fragment: 0x4000, ..tcp(service.client(), service.at(WEB), ACK).sized(1400) };
    let quote = service.forwarded(&large).quote(28);
    let said = icmp("198.51.100.77", TUNNEL, 3, 4, [0, 0, 0x05, 0x78], quote);
    assert_eq!(refused(&mut both, &said), Refusal::PathMtuLearnt);
    assert_eq!(refused(&mut both, &large), Refusal::TooBig);
    both.compare_state().unwrap();
}

#[test]
fn what_goes_to_a_container_is_handed_over_with_its_addresses() {
    let front = namespace();
    for (delivery, service) in [(Delivery::PEER, named("nat")), (Delivery::PORT, named("nat, IPv6"))] {
        let mut stage = Stage::of_tables(front);
        for row in &mut stage.backends {
            row.delivery = if row.delivery == Delivery::DEVICE { delivery } else { row.delivery };
        }
        let mut both = Both::new(&stage, front);
        let asked = tcp(service.client(), service.at(WEB), ACK);
        let (seen, refusal) = both.send(&asked.bytes()).unwrap_or_else(|said| panic!("{said}"));
        let expected = Frame { destination: service.listens(WEB), ..asked }.sent(BACKEND_MAC, BACK_MAC);
        assert_eq!((seen, refusal), (Seen::Redirect(expected.bytes()), None));
        both.compare_counters().unwrap_or_else(|said| panic!("{said}"));
    }
}
