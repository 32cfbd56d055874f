//! Packets in packets.

use super::{End, Frame, Transport, packet};

/// A packet in an IP header of its own (RFC 2003 §3.1, RFC 2473 §3, RFC 4213 §3), as a tunnel's entry makes it: DSCP and
/// ECN copied (RFC 2983, RFC 6040 §4.1), and of IPv4 neither to be fragmented nor, therefore, with an identification
/// (RFC 6864 §4.1).
pub fn ipip(source: &str, destination: &str, inner: &Frame) -> Frame {
    let number = if inner.is_v4() { 4 } else { 41 };
    around(super::at(source, 0), super::at(destination, 0), Transport::Other(number), inner)
}

/// A packet in UDP: GUE's variant 1 (draft-ietf-intarea-gue-09 §4), which has no header of its own. Checksums are not
/// needed over IPv4 (§5.7); over IPv6 RFC 6935 lets tunnels go without.
pub fn gue(source: End, destination: End, inner: &Frame, checksum: bool) -> Frame {
    around(source, destination, Transport::Udp { checksum }, inner)
}

fn around(source: End, destination: End, transport: Transport, inner: &Frame) -> Frame {
    let v4 = source.0.is_ipv4();
    Frame {
        mac_destination: inner.mac_destination,
        mac_source: inner.mac_source,
        tags: inner.tags.clone(),
        tos: inner.tos,
        id: 0,
        label: 0,
        fragment: if v4 { 0x4000 } else { 0 },
        inner: Some(Box::new(inner.clone())),
        payload: Vec::new(),
        ..packet(source, destination, transport)
    }
}
