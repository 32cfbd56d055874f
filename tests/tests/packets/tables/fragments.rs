//! Datagrams in fragments (RFC 791 §3.2, RFC 815, RFC 8200 §4.5, RFC 5722, RFC 6864): the later ones follow the first.

use weir_tests::frame::{ACK, Extension, Frame, QINQ, Tag, VLAN, sctp_data, tcp, udp};

use super::cast::{CLIENT_MAC, DNS, FRONT_MAC, Forward, MODES, SIGNAL, Service, TAGGED, WEB, named};
use super::mtu::too_big;
use super::{Free, Row};

/// Where datagrams are cut: their fragments fit into every tunnel.
const CUTS: [usize; 2] = [1200, 2400];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut ids = 1000..;
    for service in MODES.iter().chain(&TAGGED) {
        let mut whole = || Frame { id: ids.next().expect("endless"), ..service.datagram().sized(3000) };
        rows.extend(orders(service, &mut whole));
        rows.extend(overlaps(service, &mut whole));
        rows.extend(bad_ones(service, &mut whole));
        rows.extend(others(service, &mut whole));
        if service.forward == Forward::Nat {
            rows.extend(replies(service, whole().id));
        }
    }
    rows.extend(closed());
    rows
}

/// A fragment of a datagram that the service forwards.
fn sent(service: &Service, what: &str, piece: &Frame) -> Row {
    let what = format!("{}: {what}", service.name);
    if service.forward != Forward::Snat {
        return Row::sent(what, piece.clone(), service.forwarded(piece));
    }
    // It leaves from an address where somebody else's datagram may have the same identification.
    let mut output = service.forwarded(piece);
    output.source.0 = super::cast::snat(service.is_v4());
    let row = Row::sent(what, piece.clone(), output).free(Free::Identification);
    if piece.part.is_some_and(|(start, _)| start == 0) { row.free(Free::SourcePort) } else { row }
}

fn dropped(service: &Service, what: &str, piece: &Frame, refusal: &'static str) -> Row {
    Row::dropped(format!("{}: {what}", service.name), piece.clone(), refusal)
}

fn orders(service: &Service, whole: &mut impl FnMut() -> Frame) -> Vec<Row> {
    let early = "fragment_without_first";
    let [a, b, c] = three(&whole());
    let mut rows = vec![
        sent(service, "the first", &a),
        sent(service, "the second", &b),
        sent(service, "the last", &c),
        dropped(service, "the second again, when all have come", &b, early),
    ];
    let [a, b, c] = three(&whole());
    rows.extend([
        sent(service, "the first of three", &a),
        sent(service, "the last before the second", &c),
        sent(service, "the second after the last", &b),
    ]);
    let [a, b, c] = three(&whole());
    rows.extend([
        dropped(service, "the second before the first", &b, early),
        dropped(service, "the last before the first", &c, early),
        sent(service, "the first after them", &a),
        sent(service, "the second, sent once more", &b),
        sent(service, "the last, sent once more", &c),
    ]);
    let ([a, b, _], [d, e, _]) = (three(&whole()), three(&whole()));
    rows.extend([
        sent(service, "one datagram's first", &a),
        sent(service, "another's first", &d),
        sent(service, "the other's second", &e),
        sent(service, "the one's second", &b),
    ]);
    let stranger = Frame {
        source: (
            weir_tests::frame::at(if service.is_v4() { "198.51.100.77" } else { "2001:db8:1::77" }, 1).0,
            b.source.1,
        ),
        ..b
    };
    rows.push(dropped(service, "somebody else's with the same identification", &stranger, early));
    rows
}

fn overlaps(service: &Service, whole: &mut impl FnMut() -> Frame) -> Vec<Row> {
    let overlap = "fragment_overlap";
    let datagram = whole();
    let [a, b, c] = three(&datagram);
    let mut rows = vec![
        sent(service, "the first", &a),
        sent(service, "the second", &b),
        dropped(service, "the second once more, while others are missing", &b, overlap),
        dropped(service, "the first once more", &a, overlap),
        sent(service, "the last after them", &c),
    ];
    for (what, start, end) in [
        ("eight bytes of the first", 1192, 2400),
        ("all of the first and more", 8, 2000),
        ("a part of the first (RFC 1858)", 8, 64),
        ("the end of the first", 1192, 1200),
    ] {
        let datagram = whole();
        let [a, _, c] = three(&datagram);
        rows.extend([sent(service, "the first", &a), dropped(service, what, &datagram.piece(start, end), overlap)]);
        // RFC 5722 §4: the others are discarded, also those that come later. One that only repeats what came is no attack.
        if end != 64 && end != 1200 {
            rows.push(dropped(service, "the last of an overlapping one", &c, overlap));
        }
    }
    let datagram = whole();
    let [a, b, c] = three(&datagram);
    rows.extend([
        sent(service, "the first", &a),
        sent(service, "the last", &c),
        dropped(service, "into the last", &datagram.piece(1600, 2408), overlap),
        dropped(service, "the second of an overlapping one", &b, overlap),
    ]);
    rows
}

fn bad_ones(service: &Service, whole: &mut impl FnMut() -> Frame) -> Vec<Row> {
    let bad = "bad_fragment";
    let mut rows = Vec::new();
    let mut after_first = |what: &str, make: &dyn Fn(&Frame) -> Frame| {
        let datagram = whole();
        rows.push(sent(service, "the first", &datagram.piece(0, 1200)));
        rows.push(dropped(service, what, &make(&datagram), bad));
    };
    after_first("not of eight-byte blocks", &|datagram| datagram.piece_that(1200, 2399, true));
    after_first("of no length", &|datagram| datagram.piece_that(1200, 1200, true).odd());
    after_first("of no length, the last", &|datagram| datagram.piece_that(1200, 1200, false).odd());
    after_first("past 65,535 bytes", &|datagram| datagram.piece_that(1200, 1216, false).said_to_be_at(65_528));
    let datagram = whole();
    let [a, b, c] = three(&datagram);
    rows.extend([
        sent(service, "the first", &a),
        sent(service, "the last", &c),
        dropped(service, "another last", &datagram.piece_that(1200, 1208, false), bad),
        dropped(service, "the second of two ends", &b, "fragment_overlap"),
    ]);
    let datagram = whole();
    let [a, _, c] = three(&datagram);
    let behind = datagram.piece_that(1200, 1600, true).said_to_be_at(4000);
    rows.extend([
        sent(service, "the first", &a),
        sent(service, "the last", &c),
        dropped(service, "behind the end", &behind, bad),
    ]);
    // RFC 1858 §3: a first fragment has the whole transport header.
    let web = Frame { id: whole().id, ..tcp(service.client(), service.at(WEB), ACK).sized(2000) };
    for end in [8, 16] {
        rows.push(dropped(service, "half a TCP header", &web.piece(0, end), "malformed"));
    }
    rows
}

fn others(service: &Service, whole: &mut impl FnMut() -> Frame) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut all = |what: &str, frame: &Frame, cuts: &[usize]| {
        rows.extend(frame.pieces(cuts).iter().map(|piece| sent(service, what, piece)));
    };
    all("in eight-byte blocks", &whole().sized(32), &[8, 16, 24]);
    all("twenty of them", &whole().sized(8000), &(1..20).map(|n| n * 400).collect::<Vec<_>>());
    all("of a priority", &Frame { tos: 0xb9, ..whole() }, &CUTS);
    all("with tags", &Frame { tags: vec![Tag(QINQ, 3), Tag(VLAN, 4)], ..whole() }, &CUTS);
    if service.forward != Forward::Snat {
        all("TCP", &Frame { id: whole().id, ..tcp(service.client(), service.at(WEB), ACK).sized(3000) }, &CUTS);
    }
    if service.takes_sctp() {
        all("SCTP", &Frame { id: whole().id, ..sctp_data(service.client(), service.at(SIGNAL), 3000) }, &CUTS);
    }
    if service.is_v4() {
        all("with options", &Frame { options: vec![0x94, 4, 0, 0], ..whole() }, &CUTS);
    } else {
        all(
            "behind a hop-by-hop header",
            &Frame { extensions: vec![Extension::HopByHop(vec![5, 2, 0, 0])], ..whole() },
            &CUTS,
        );
    }
    if matches!(service.forward, Forward::Ipip | Forward::Gue) {
        let fit = service.takes() / 8 * 8;
        let large = whole().piece(0, fit);
        rows.push(Row::answered(
            format!("{}: too large", service.name),
            large.clone(),
            too_big(service, &large),
            "too_big",
        ));
    }
    rows
}

/// From a backend: the source changes, and with it the identification.
fn replies(service: &Service, id: u32) -> Vec<Row> {
    let whole = Frame { id, ..udp(service.listens(DNS), service.client()).sized(3000) };
    let output = Frame { source: service.at(DNS), ..whole.clone() }.sent(CLIENT_MAC, FRONT_MAC);
    let rows = whole.pieces(&CUTS).into_iter().zip(output.pieces(&CUTS));
    rows.map(|(input, output)| {
        Row::sent(format!("{}: a reply", service.name), input, output).free(Free::Identification)
    })
    .collect()
}

/// For a port where no service is: the host's, all of it.
fn closed() -> Vec<Row> {
    let service = named("nat");
    let [a, b, c] = three(&Frame { id: 77, ..udp(service.client(), service.at(9)).sized(3000) });
    vec![
        Row::same("a closed port", a, "no_service"),
        Row::same("a closed port, a later one", b, "later_fragment"),
        Row::same("a closed port, the last one", c, "later_fragment"),
    ]
}

fn three(whole: &Frame) -> [Frame; 3] {
    whole.pieces(&CUTS).try_into().expect("three of them")
}
