//! ICMP errors: each goes to whom the packet that it quotes belongs to, changed inside and out (RFC 5508 §4 says how for
//! translators).

use weir_tests::frame::{ACK, Frame, Lies, echo, icmp, tcp, udp};

use super::Row;
use super::cast::{CLIENT_MAC, DNS, FRONT_MAC, Forward, MODES, Service, TUNNEL, TUNNEL6, WEB, named};
use super::modes::row;
use super::mtu::error;

/// Errors by type and code, with what their second word says.
const ERRORS: [(u8, u8, [u8; 4]); 8] = [
    (3, 0, [0; 4]),
    (3, 1, [0; 4]),
    (3, 3, [0; 4]),
    (3, 4, [0, 0, 5, 0]),
    (3, 13, [0; 4]),
    (11, 0, [0; 4]),
    (11, 1, [0; 4]),
    (12, 0, [20, 0, 0, 0]),
];
const ERRORS6: [(u8, u8, [u8; 4]); 7] = [
    (1, 0, [0; 4]),
    (1, 4, [0; 4]),
    (2, 0, [0, 0, 5, 0]),
    (3, 0, [0; 4]),
    (3, 1, [0; 4]),
    (4, 0, [0, 0, 0, 6]),
    (4, 1, [0, 0, 0, 40]),
];

/// Routers on the way.
const ROUTER: &str = "198.18.0.1";
const ROUTER6: &str = "2001:db8:7::1";

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for service in MODES.iter().filter(|service| service.forward != Forward::Snat) {
        rows.extend(about_replies(service));
        if service.forward == Forward::Nat {
            rows.extend(about_requests(service));
        }
        rows.extend(bad_ones(service));
    }
    rows.extend(path_mtu());
    rows
}

fn kinds(v4: bool) -> &'static [(u8, u8, [u8; 4])] {
    if v4 { &ERRORS } else { &ERRORS6 }
}

fn router(v4: bool) -> &'static str {
    if v4 { ROUTER } else { ROUTER6 }
}

/// How much is quoted: what RFC 792 promises, what RFC 1812 asks for, and odd amounts.
fn quotes(frame: &Frame) -> [usize; 5] {
    let least = frame.l4() - frame.l3() + 8;
    // Half a checksum is nothing that can be changed: one that ends within TCP's is not among them.
    [least, least + 1, least + 7, least + 12, 508]
}

/// From somewhere between here and the client, or from the client, about what a backend said.
fn about_replies(service: &Service) -> Vec<Row> {
    let mut rows = Vec::new();
    let client = service.client();
    for quoted in [udp(service.at(DNS), client).sized(600), tcp(service.at(WEB), client, ACK).sized(600)] {
        let listens = service.listens(quoted.source.1);
        let inside =
            if service.forward == Forward::Nat { Frame { source: listens, ..quoted.clone() } } else { quoted.clone() };
        for &(kind, code, rest) in kinds(service.is_v4()) {
            for bytes in quotes(&quoted) {
                for from in [router(service.is_v4()), &client.0.to_string()] {
                    let input = icmp(from, service.vip, kind, code, rest, quoted.quote(bytes));
                    let output = if service.forward == Forward::Nat {
                        Frame { payload: inside.quote(bytes), ..service.forwarded(&input) }
                    } else {
                        service.forwarded(&input)
                    };
                    rows.push(Row::sent(format!("{}: {kind}/{code} quoting {bytes}", service.name), input, output));
                }
            }
        }
    }
    rows
}

/// From somewhere between here and the backend, or from the backend, about what a client said.
fn about_requests(service: &Service) -> Vec<Row> {
    let mut rows = Vec::new();
    let client = service.client();
    for quoted in [udp(client, service.listens(DNS)).sized(600), tcp(client, service.listens(WEB), ACK).sized(600)] {
        let port = if quoted.destination.1 == super::cast::DNS_AT { DNS } else { WEB };
        let inside = Frame { destination: service.at(port), ..quoted.clone() };
        for &(kind, code, rest) in kinds(service.is_v4()) {
            for bytes in quotes(&quoted) {
                // The backend's own address is nobody's whom the client knows.
                for (from, shown) in
                    [(router(service.is_v4()), router(service.is_v4())), (service.backend, service.vip)]
                {
                    let to = client.0.to_string();
                    let input = icmp(from, &to, kind, code, rest, quoted.quote(bytes));
                    let output = icmp(shown, &to, kind, code, rest, inside.quote(bytes)).sent(CLIENT_MAC, FRONT_MAC);
                    rows.push(Row::sent(
                        format!("{}: to the client, {kind}/{code} quoting {bytes}", service.name),
                        input,
                        output,
                    ));
                }
            }
        }
    }
    rows
}

fn bad_ones(service: &Service) -> Vec<Row> {
    let v4 = service.is_v4();
    let (kind, code) = if v4 { (3, 3) } else { (1, 4) };
    let from = router(v4);
    let quoted = udp(service.at(DNS), service.client()).sized(100);
    let client = service.client().0.to_string();
    let unreachable = |body: Vec<u8>| icmp(from, service.vip, kind, code, [0; 4], body);
    let name = |what: &str| format!("{}: {what}", service.name);
    let mut rows = Vec::new();
    let ip = quoted.l4() - quoted.l3();
    for bytes in 0..ip + 4 {
        rows.push(Row::same(
            name(&format!("a quote of {bytes} bytes")),
            unreachable(quoted.quote(bytes)).odd(),
            "icmp_short",
        ));
    }
    let nested = unreachable(unreachable(quoted.quote(64)).quote(200));
    rows.push(Row::same(name("an error about an error"), nested, "icmp_nested"));
    let own = icmp(service.vip, &client, kind, code, [0; 4], quoted.quote(64));
    rows.push(Row::same(name("an error about an error of ours"), unreachable(own.quote(90)), "icmp_nested"));
    let deep = icmp(service.vip, &client, kind, code, [0; 4], own.quote(120));
    rows.push(Row::same(name("errors in errors in errors"), unreachable(deep.quote(200)), "icmp_nested"));
    let pong = echo(service.vip, &client, false, 1, 1, b"pong");
    rows.push(Row::same(name("an error about an echo reply"), unreachable(pong.quote(64)), "other_protocol"));
    let later = Frame { id: 9, ..quoted.clone() }.sized(1000).piece(400, 800);
    rows.push(Row::same(name("an error about a later fragment"), unreachable(later.quote(400)), "icmp_short"));
    let foreign = udp(service.client(), service.at(DNS));
    rows.push(Row::same(name("a quote of what we did not send"), unreachable(foreign.quote(64)), "other_protocol"));
    let closed = udp(service.at(4321), service.client());
    rows.push(Row::same(name("about a port where no service is"), unreachable(closed.quote(64)), "no_service"));
    let all = Frame { mac_destination: [0xff; 6], ..unreachable(quoted.quote(64)) };
    rows.push(Row::same(name("to all on the link"), all, "link_group"));
    let nobody = if v4 { "0.0.0.0" } else { "::" };
    let martian = icmp(nobody, service.vip, kind, code, [0; 4], quoted.quote(64));
    rows.push(Row::dropped(name("from nobody"), martian, "martian_source"));
    let long = unreachable(quoted.quote(64)).lying(Lies { length: Some(1400), ..Lies::default() });
    rows.push(Row::dropped(name("longer than its frame"), long, "malformed"));
    if service.forward == Forward::Nat {
        let last = Frame { ttl: 1, ..unreachable(quoted.quote(64)) };
        // RFC 1122 §3.2.2, RFC 4443 §2.4 (e.1): nothing is said about an error.
        rows.push(Row::dropped(name("on its last hop"), last, "ttl_expired"));
    }
    rows
}

/// What routers say of the paths to tunnels' far ends (RFC 1191, RFC 8201): senders are told as their packets come.
fn path_mtu() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in ["ipip, 4 in 4", "gue, 4 in 4", "ipip, 6 in 4", "ipip, 4 in 6", "gue, 6 in 6", "gue, 4 in 6"] {
        let service = named(name);
        let header = if service.is_v4() { 20 + 20 } else { 40 + 20 };
        let frame = |bytes: usize| Frame {
            fragment: if service.is_v4() { 0x4000 } else { 0 },
            ..tcp(service.client(), service.at(WEB), ACK).sized(bytes - header)
        };
        let overhead = 1500 - service.takes();
        let outer = service.forwarded(&frame(1400));
        let told = 1400_u16;
        let [high, low] = told.to_be_bytes();
        let (begin, from) = if outer.is_v4() { (TUNNEL, ROUTER) } else { (TUNNEL6, ROUTER6) };
        let (kind, code) = if outer.is_v4() { (3, 4) } else { (2, 0) };
        rows.push(row(&service, "before a router spoke", frame(service.takes())));
        let quote = outer.quote(if outer.is_v4() { 28 } else { 56 });
        rows.push(Row::dropped(
            format!("{name}: a router says 1,400 bytes"),
            icmp(from, begin, kind, code, [0, 0, high, low], quote).odd(),
            "path_mtu_learnt",
        ));
        let takes = usize::from(told) - overhead;
        rows.push(row(&service, "just as much", frame(takes)));
        let input = frame(takes + 1);
        #[expect(clippy::cast_possible_truncation, reason = "an MTU")]
        let [high, low] = (takes as u16).to_be_bytes();
        let (kind, code) = if service.is_v4() { (3, 4) } else { (2, 0) };
        let answer = error(service.vip, &input, kind, code, [0, 0, high, low]);
        rows.push(Row::answered(format!("{name}: one byte more"), input, answer, "too_big"));
        let stranger = icmp(from, begin, 3, 1, [0; 4], outer.quote(60));
        if outer.is_v4() {
            rows.push(Row::same(format!("{name}: another error about a tunnel"), stranger, "other_protocol"));
        }
    }
    rows
}
