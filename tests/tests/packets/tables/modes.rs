//! Every kind of packet through every forwarding mode.

use weir_tests::frame::{ACK, FIN, Frame, PSH, RST, SYN, Segment, Transport, mss, sctp, sctp_data, tcp};

use super::cast::{DNS, Forward, MODES, SIGNAL, Service, WEB};
use super::{Free, Row};

pub(super) fn rows() -> Vec<Row> {
    MODES.iter().flat_map(|service| kinds(service).into_iter().map(|(what, frame)| row(service, what, frame))).collect()
}

/// The row for a packet that the service forwards.
pub(super) fn row(service: &Service, what: &str, frame: Frame) -> Row {
    let mut output = service.forwarded(&frame);
    let row = |output| Row::sent(format!("{}: {what}", service.name), frame.clone(), output);
    if service.forward == Forward::Snat {
        output.source.0 = super::cast::snat(service.is_v4());
        return row(output).free(Free::SourcePort);
    }
    row(output)
}

fn kinds(service: &Service) -> Vec<(&'static str, Frame)> {
    let (client, web, dns) = (service.client(), service.at(WEB), service.at(DNS));
    let syn = |options| Frame {
        transport: Transport::Tcp(Segment { flags: SYN, options, ..Segment::default() }),
        ..tcp(client, web, SYN).with([])
    };
    let datagram = service.datagram();
    let room = service.takes() - if service.is_v4() { 20 } else { 40 };
    let mut kinds = vec![
        ("SYN", tcp(client, web, SYN).with([])),
        ("SYN with options", syn([mss(1400), vec![1, 1, 4, 2], vec![1, 3, 3, 7]].concat())),
        ("data", tcp(client, web, ACK | PSH)),
        ("odd data", tcp(client, web, ACK | PSH).sized(1001)),
        ("as much as fits", tcp(client, web, ACK).sized(room - 20)),
        ("FIN", tcp(client, web, ACK | FIN)),
        ("a datagram", datagram.clone()),
        ("a datagram as large as fits", datagram.clone().sized(room - 8)),
        ("an empty datagram", datagram.clone().with([])),
        ("a flow label and an identification", Frame { label: 0xf_ffff, id: 0xffff, ..datagram.clone() }),
        ("padding", Frame { padding: vec![0; 18], ..tcp(client, web, ACK).with([]) }),
        ("padding that is not zero", Frame { padding: vec![0xee; 6], ..datagram.clone().with(*b"x") }),
        ("a reset", Frame { ..tcp(client, web, RST | ACK) }),
        ("another flow", Frame { source: (client.0, 40_001), ..datagram.clone() }),
        ("DNS by TCP is another service's", tcp((client.0, 40_002), web, SYN)),
    ];
    if service.is_v4() {
        kinds.push((
            "no checksum (RFC 768)",
            Frame { transport: Transport::Udp { checksum: false }, ..datagram.clone() },
        ));
        kinds.push(("do not fragment", Frame { fragment: 0x4000, ..tcp(client, web, ACK) }));
        let options = vec![0x94, 0x04, 0, 0, 1, 1, 1, 0];
        kinds.push(("options", Frame { options: options.clone(), ..tcp(client, web, ACK) }));
        kinds.push(("forty bytes of options", Frame { options: vec![1; 40], ..datagram.clone() }));
        kinds.push(("options and data", Frame { options, ..tcp(client, web, ACK).sized(777) }));
    }
    // All four codepoints of ECN (RFC 3168 §5), behind a DSCP.
    for (what, tos) in [("Not-ECT", 0xb8), ("ECT(1)", 0xb9), ("ECT(0)", 0xba), ("CE", 0xbb), ("CE alone", 0x03)] {
        kinds.push((what, Frame { tos, ..datagram.clone() }));
        kinds.push((what, Frame { tos, ..tcp(client, web, ACK) }));
    }
    if service.takes_sctp() {
        let signal = service.at(SIGNAL);
        kinds.push(("INIT", sctp(client, signal, true)));
        kinds.push(("a COOKIE ACK", sctp(client, signal, false)));
        kinds.push(("SCTP's data", sctp_data(client, signal, 1000)));
        kinds.push(("another port is another service's", tcp(client, service.at(WEB), ACK)));
    }
    let _ = dns;
    kinds
}
