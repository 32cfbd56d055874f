//! Frames cut after every byte of every header. What cannot be known to be for a VIP is the host's; what can, ends here.

use weir_tests::frame::{ACK, Extension, Frame, QINQ, Tag, VLAN, sctp, tcp};

use super::Row;
use super::cast::{MODES, SIGNAL, Service, WEB};

pub(super) fn rows() -> Vec<Row> {
    MODES
        .iter()
        .flat_map(|service| kinds(service).into_iter().flat_map(|(what, frame)| cut(service, what, &frame)))
        .collect()
}

fn cut(service: &Service, what: &str, frame: &Frame) -> Vec<Row> {
    let ports_end_at = frame.l4() + 4;
    // An Ethernet header is the least that a device delivers.
    let rows = (14..frame.bytes().len()).map(|bytes| {
        let (what, cut) = (format!("{}: {what} cut after {bytes} bytes", service.name), frame.clone().cut(bytes));
        if bytes < ports_end_at { Row::same(what, cut, "truncated") } else { Row::dropped(what, cut, "malformed") }
    });
    rows.collect()
}

fn kinds(service: &Service) -> Vec<(&'static str, Frame)> {
    let web = tcp(service.client(), service.at(WEB), ACK).with(*b"hi");
    let mut kinds = vec![
        ("TCP", web.clone()),
        ("UDP", service.datagram().with(*b"hi")),
        ("QinQ", Frame { tags: vec![Tag(QINQ, 2), Tag(VLAN, 3)], ..web.clone() }),
    ];
    if service.is_v4() {
        kinds.push(("options", Frame { options: vec![1; 40], ..web }));
    } else {
        let extensions = vec![
            Extension::HopByHop(vec![5, 2, 0, 0]),
            Extension::Destination(vec![0x1e, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Extension::Fragment { field: 0, id: 3 },
        ];
        kinds.push(("extension headers", Frame { extensions, ..web }));
    }
    if service.takes_sctp() {
        kinds.push(("SCTP", sctp(service.client(), service.at(SIGNAL), true)));
    }
    kinds
}
