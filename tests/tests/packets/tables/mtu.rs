//! Packets larger than the way takes (RFC 1191 §4, RFC 8201, RFC 4443 §3.2, RFC 2003 §5.1, RFC 2473 §7).

use weir_tests::frame::{ACK, Frame, icmp, sctp_data, tcp};

use super::Row;
use super::cast::{Forward, MODES, NARROW, SIGNAL, Service, WEB};
use super::modes::row;

/// What a router says to a packet's sender: from the VIP, with as much of the packet as fits into 576 bytes (RFC 1812
/// §4.3.2.3) or 1,280 (RFC 4443 §2.4 (c)). It goes back where it came from.
pub(crate) fn error(vip: &str, input: &Frame, kind: u8, code: u8, rest: [u8; 4]) -> Frame {
    let room = if input.is_v4() { 576 - 20 - 8 } else { 1280 - 40 - 8 };
    let client = input.source.0.to_string();
    Frame {
        mac_destination: input.mac_source,
        mac_source: input.mac_destination,
        tags: input.tags.clone(),
        tos: 0xc0,
        label: 0,
        ..icmp(vip, &client, kind, code, rest, input.quote(room))
    }
}

/// "Fragmentation needed", or "packet too big".
#[expect(clippy::cast_possible_truncation, reason = "an MTU of IPv4")]
pub(super) fn too_big(service: &Service, input: &Frame) -> Frame {
    let mtu = service.takes();
    if service.is_v4() {
        let [high, low] = (mtu as u16).to_be_bytes();
        error(service.vip, input, 3, 4, [0, 0, high, low])
    } else {
        error(service.vip, input, 2, 0, (mtu as u32).to_be_bytes())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "an MTU")]
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let tunnels = MODES.iter().filter(|service| matches!(service.forward, Forward::Ipip | Forward::Gue | Forward::L2));
    for service in NARROW.iter().chain(tunnels) {
        let header = if service.is_v4() { 40 } else { 60 };
        let takes = service.takes();
        let whole = |bytes: usize| tcp(service.client(), service.at(WEB), ACK).sized(bytes - header);
        rows.push(row(service, "just what it takes", whole(takes)));
        let (one_more, full) = (whole(takes + 1), whole(1500.max(takes + 100)));
        let translated = service.forward == Forward::Nat;
        for (what, input) in [("one byte more", one_more), ("a full one", full)] {
            let cut_by_nobody = Frame { fragment: if service.is_v4() { 0x4000 } else { 0 }, ..input.clone() };
            let answer = too_big(service, &cut_by_nobody);
            let name = format!("{}: {what}", service.name);
            rows.push(Row::answered(name.clone(), cut_by_nobody, answer, "too_big"));
            if service.is_v4() && translated {
                // The stack fragments what may be cut.
                let output = Frame { destination: service.listens(WEB), ..input.clone() };
                rows.push(Row::stack(format!("{name}, that may be cut"), input, output));
            } else if service.is_v4() {
                let answer = too_big(service, &input);
                rows.push(Row::answered(format!("{name}, that may be cut"), input, answer, "too_big"));
            }
        }
        if service.takes_sctp() {
            let input = sctp_data(service.client(), service.at(SIGNAL), takes as u16 / 4 * 4);
            let answer = too_big(service, &input);
            rows.push(Row::answered(format!("{}: SCTP", service.name), input, answer, "too_big"));
        }
    }
    rows
}
