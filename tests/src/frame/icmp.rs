//! ICMP (RFC 792, RFC 1191 §4) and ICMPv6 (RFC 4443) messages.

use super::{Frame, Transport, at, packet};

/// A message: type, code, the second word, and what follows it. For an error that is the packet it complains of, or as
/// much of it as is quoted.
pub fn icmp(source: &str, destination: &str, kind: u8, code: u8, rest: [u8; 4], body: impl Into<Vec<u8>>) -> Frame {
    packet(at(source, 0), at(destination, 0), Transport::Icmp { kind, code, rest }).with(body)
}

/// An echo request, or the reply to one (RFC 792, RFC 4443 §4).
pub fn echo(source: &str, destination: &str, request: bool, id: u16, sequence: u16, data: impl Into<Vec<u8>>) -> Frame {
    let v4 = at(source, 0).0.is_ipv4();
    let kind = match (v4, request) {
        (true, true) => 8,
        (true, false) => 0,
        (false, true) => 128,
        (false, false) => 129,
    };
    let ([a, b], [c, d]) = (id.to_be_bytes(), sequence.to_be_bytes());
    icmp(source, destination, kind, 0, [a, b, c, d], data)
}

impl Frame {
    /// The first `bytes` bytes of the packet, or all of it: what an ICMP error quotes.
    pub fn quote(&self, bytes: usize) -> Vec<u8> {
        let mut packet = self.packet();
        packet.truncate(bytes);
        packet
    }

    /// The IP header and eight bytes more, which is what RFC 792 promises.
    pub fn short_quote(&self) -> Vec<u8> {
        self.quote(self.l4() - self.l3() + 8)
    }
}
