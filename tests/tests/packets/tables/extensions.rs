//! IPv6 extension headers (RFC 8200 §4), through every mode.

use weir_tests::frame::{ACK, Extension, Frame, SYN, tcp};

use super::Row;
use super::cast::{MODES, Service, WEB};
use super::modes::row;

/// An unknown option that may be ignored (RFC 8200 §4.2), of so many bytes.
fn option(bytes: u8) -> Vec<u8> {
    [vec![0x1e, bytes], vec![0; bytes.into()]].concat()
}

fn routing(kind: u8, left: u8) -> Extension {
    let mut data = vec![0; 4];
    data.extend([0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    Extension::Routing { kind, left, data }
}

fn chains() -> Vec<(&'static str, Vec<Extension>)> {
    use Extension::{Destination, Fragment, HopByHop};
    // RFC 2711: the router alert is what makes hop-by-hop headers common.
    let alert = || HopByHop(vec![5, 2, 0, 0]);
    vec![
        ("hop-by-hop", vec![alert()]),
        ("destination options", vec![Destination(option(4))]),
        ("sixteen bytes of them", vec![Destination(option(10))]),
        ("a long one", vec![Destination(option(200))]),
        ("a routing header at its end", vec![routing(0, 0)]),
        ("a segment routing header at its end", vec![routing(4, 0)]),
        ("an atomic fragment (RFC 6946)", vec![Fragment { field: 0, id: 7 }]),
        ("the recommended order", vec![alert(), Destination(option(4)), routing(2, 0), Destination(option(2))]),
        ("all of them, and whole", vec![alert(), routing(0, 0), Fragment { field: 0, id: 1 }, Destination(option(4))]),
    ]
}

/// What hides where a packet goes: it is the host's.
fn hidden() -> Vec<(&'static str, Vec<Extension>, &'static str)> {
    let raw = |number, length: usize| Extension::Raw(number, vec![0; length]);
    vec![
        ("a routing header with a segment left", vec![routing(0, 1)], "extension_header"),
        ("a segment routing header with one left", vec![routing(4, 1)], "extension_header"),
        ("AH", vec![Extension::Raw(51, [&[0, 4][..], &[0; 22]].concat())], "extension_header"),
        ("ESP", vec![raw(50, 24)], "extension_header"),
        ("mobility", vec![raw(135, 8)], "extension_header"),
        ("HIP", vec![raw(139, 40)], "extension_header"),
        ("Shim6", vec![raw(140, 8)], "extension_header"),
        ("no next header", vec![raw(59, 8)], "other_protocol"),
        ("seven of them", vec![Extension::Destination(option(4)); 7], "extension_header"),
        ("more than a kilobyte of them", vec![Extension::Destination(option(250)); 5], "extension_header"),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let services: Vec<&Service> = MODES.iter().filter(|service| !service.is_v4()).collect();
    let mut rows = Vec::new();
    for service in services {
        for (what, extensions) in chains() {
            let web = tcp(service.client(), service.at(WEB), ACK);
            rows.push(row(service, what, Frame { extensions: extensions.clone(), ..web.sized(99) }));
            rows.push(row(service, what, Frame { extensions, ..service.datagram() }));
        }
        for (what, extensions, refusal) in hidden() {
            let web = tcp(service.client(), service.at(WEB), SYN);
            rows.push(Row::same(format!("{}: {what}", service.name), Frame { extensions, ..web }, refusal));
        }
    }
    rows
}
