//! Layer 4: TCP (RFC 9293 §3.1), UDP (RFC 768), SCTP (RFC 9260 §3.1), ICMP (RFC 792) and ICMPv6 (RFC 4443 §2.1).

use super::Frame;
use super::sum::{checksum, crc32c};

/// TCP's flags.
pub const FIN: u8 = 0x01;
/// See [`FIN`].
pub const SYN: u8 = 0x02;
/// See [`FIN`].
pub const RST: u8 = 0x04;
/// See [`FIN`].
pub const PSH: u8 = 0x08;
/// See [`FIN`].
pub const ACK: u8 = 0x10;
/// See [`FIN`].
pub const URG: u8 = 0x20;

/// The transport header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Segment),
    /// UDP.
    Udp {
        /// Whether there is a checksum.
        checksum: bool,
    },
    /// SCTP; its chunks are the payload.
    Sctp {
        /// The verification tag.
        tag: u32,
    },
    /// ICMP or ICMPv6, whichever the addresses ask for.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The second word.
        rest: [u8; 4],
    },
    /// Whatever has this number; all of it is the payload.
    Other(u8),
}

/// What is in a TCP header besides ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Flags.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledged: u32,
    /// Window.
    pub window: u16,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
}

impl Default for Segment {
    fn default() -> Self {
        Self { flags: 0, sequence: 1, acknowledged: 2, window: 0xffff, options: Vec::new() }
    }
}

/// The option that says the largest segment that is taken (RFC 9293 §3.7.1).
pub fn mss(bytes: u16) -> Vec<u8> {
    let [high, low] = bytes.to_be_bytes();
    vec![2, 4, high, low]
}

impl Transport {
    pub(super) const fn number(&self, v4: bool) -> u8 {
        match self {
            Self::Tcp(_) => 6,
            Self::Udp { .. } => 17,
            Self::Sctp { .. } => 132,
            Self::Icmp { .. } if v4 => 1,
            Self::Icmp { .. } => 58,
            Self::Other(number) => *number,
        }
    }
}

impl Frame {
    /// What follows the IP headers: transport header and payload, or the part of them that a fragment has.
    pub fn segment(&self) -> Vec<u8> {
        let whole = self.whole_segment();
        match self.part {
            Some((start, end)) => whole[start..end.min(whole.len())].to_vec(),
            None => whole,
        }
    }

    fn whole_segment(&self) -> Vec<u8> {
        let payload = self.inner.as_ref().map_or_else(|| self.payload.clone(), |inner| inner.packet());
        let ports = [self.source.1.to_be_bytes(), self.destination.1.to_be_bytes()].concat();
        let (mut segment, checksum_at) = match &self.transport {
            Transport::Tcp(tcp) => (tcp.header(&ports, self.lies.tcp_words), Some(16)),
            Transport::Udp { checksum } => {
                let length = self.lies.udp_length.unwrap_or((8 + payload.len()) as u16);
                ([&ports[..], &length.to_be_bytes(), &[0, 0]].concat(), checksum.then_some(6))
            }
            Transport::Sctp { tag } => return self.sctp(&ports, *tag, &payload),
            Transport::Icmp { kind, code, rest } => ([&[*kind, *code, 0, 0], &rest[..]].concat(), Some(2)),
            Transport::Other(_) => return payload,
        };
        segment.extend(payload);
        let Some(at) = checksum_at else { return segment };
        let sum = self.lies.checksum.unwrap_or_else(|| self.transport_sum(&segment));
        segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    fn transport_sum(&self, segment: &[u8]) -> u16 {
        let icmp = matches!(self.transport, Transport::Icmp { .. });
        // RFC 792's is over the message alone, RFC 4443 §2.3 has a pseudo-header.
        if icmp && self.is_v4() {
            return checksum(segment);
        }
        let number = self.transport.number(self.is_v4());
        // A datagram that ends before its packet does (RFC 768): the rest is not of it.
        let segment = match self.lies.udp_length {
            Some(length @ 8..) => &segment[..segment.len().min(length.into())],
            _ => segment,
        };
        let sum = checksum(&[&self.pseudo_header(segment.len(), number), segment].concat());
        // RFC 768: zero is for none.
        if sum == 0 && matches!(self.transport, Transport::Udp { .. }) { 0xffff } else { sum }
    }

    fn sctp(&self, ports: &[u8], tag: u32, chunks: &[u8]) -> Vec<u8> {
        let mut packet = [ports, &tag.to_be_bytes(), &[0; 4], chunks].concat();
        let sum = self.lies.checksum.map_or_else(|| crc32c(&packet), u32::from);
        packet[8..12].copy_from_slice(&sum.to_le_bytes());
        packet
    }
}

impl Segment {
    fn header(&self, ports: &[u8], words: Option<u8>) -> Vec<u8> {
        let words = words.unwrap_or((5 + self.options.len() / 4) as u8);
        let mut header = ports.to_vec();
        header.extend(self.sequence.to_be_bytes());
        header.extend(self.acknowledged.to_be_bytes());
        header.extend([words << 4, self.flags]);
        header.extend(self.window.to_be_bytes());
        header.extend([0; 4]);
        header.extend(&self.options);
        header
    }
}
