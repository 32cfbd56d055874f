//! Whole frames, built field by field with every checksum computed in full.
//!
//! Everything here is written from the RFCs that are named beside it, with the standard library alone: what these tests
//! expect of Weir must not come from Weir. tshark and scapy check that it is right.

#![expect(clippy::cast_possible_truncation, reason = "lengths of frames that tests make, and folded sums")]

mod extension;
mod fact;
mod icmp;
mod ip;
mod lies;
mod link;
mod pieces;
mod quic;
mod sum;
mod transport;
mod tunnel;

use std::net::IpAddr;

pub use extension::Extension;
pub use fact::Fact;
pub use icmp::{echo, icmp};
pub use lies::Lies;
pub use link::{QINQ, Tag, VLAN, other};
pub use quic::{quic_long, quic_short};
pub use transport::{ACK, FIN, PSH, RST, SYN, Segment, Transport, URG, mss};
pub use tunnel::{gue, ipip};

/// An address and a port.
pub type End = (IpAddr, u16);

/// Who sends the frames that are made here.
pub const FROM_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Whom they are sent to.
pub const TO_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A frame to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The Ethernet address it goes to.
    pub mac_destination: [u8; 6],
    /// The Ethernet address it comes from.
    pub mac_source: [u8; 6],
    /// VLAN tags, the outer one first.
    pub tags: Vec<Tag>,
    /// Where it comes from.
    pub source: End,
    /// Where it goes.
    pub destination: End,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Identification: sixteen bits of it for IPv4, all of it in an IPv6 fragment header.
    pub id: u32,
    /// IPv6: the flow label.
    pub label: u32,
    /// The IPv4 flags and fragment offset, or the offset and flag of an IPv6 fragment header, which is there when this is
    /// not 0.
    pub fragment: u16,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers. One for `fragment` comes behind them.
    pub extensions: Vec<Extension>,
    /// The transport header.
    pub transport: Transport,
    /// What it carries.
    pub payload: Vec<u8>,
    /// A packet that is carried instead of `payload`; its own Ethernet header does not count.
    pub inner: Option<Box<Self>>,
    /// Which bytes of transport header and payload there are: of a fragment, those from one to before the other.
    pub part: Option<(usize, usize)>,
    /// What follows the packet in the frame: the link's padding.
    pub padding: Vec<u8>,
    /// An ether type and what it announces, instead of an IP packet.
    pub other: Option<(u16, Vec<u8>)>,
    /// What is not as it ought to be.
    pub lies: Lies,
}

/// An address and a port.
///
/// # Panics
///
/// When the address is none.
pub fn at(address: &str, port: u16) -> End {
    (address.parse().expect("an address"), port)
}

/// A TCP segment with a payload of `hello`.
pub fn tcp(source: End, destination: End, flags: u8) -> Frame {
    packet(source, destination, Transport::Tcp(Segment { flags, ..Segment::default() }))
}

/// A UDP datagram with a payload of `hello`.
pub fn udp(source: End, destination: End) -> Frame {
    packet(source, destination, Transport::Udp { checksum: true })
}

/// An SCTP packet with one chunk (RFC 9260 §3.2): INIT (§3.3.2) when `opens`, or else COOKIE ACK (§3.3.12).
pub fn sctp(source: End, destination: End, opens: bool) -> Frame {
    let (tag, chunk) = if opens {
        // Initiate tag, window, streams out and in, first transmission sequence number.
        (0, [&[1, 0, 0, 20, 9, 8, 7, 6, 0, 1, 0, 0, 0, 10, 0, 10][..], &[5, 4, 3, 2]].concat())
    } else {
        (0x0102_0304, vec![11, 0, 0, 4])
    };
    packet(source, destination, Transport::Sctp { tag }).with(chunk)
}

/// An SCTP packet with a DATA chunk (RFC 9260 §3.3.1) of so many bytes, at least 17 and a multiple of four.
pub fn sctp_data(source: End, destination: End, bytes: u16) -> Frame {
    let [high, low] = bytes.to_be_bytes();
    let header = [0, 3, high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let chunk = header.into_iter().chain((16..bytes).map(|n| n as u8)).collect::<Vec<_>>();
    sctp(source, destination, false).with(chunk)
}

/// A packet of any protocol, with a payload of `hello` behind the IP header.
pub fn protocol(source: &str, destination: &str, number: u8) -> Frame {
    packet(at(source, 0), at(destination, 0), Transport::Other(number))
}

fn packet(source: End, destination: End, transport: Transport) -> Frame {
    Frame {
        mac_destination: TO_MAC,
        mac_source: FROM_MAC,
        tags: Vec::new(),
        source,
        destination,
        ttl: 64,
        tos: 0x10,
        id: 0x1234,
        label: 0x1_2345,
        fragment: 0,
        options: Vec::new(),
        extensions: Vec::new(),
        transport,
        payload: b"hello".to_vec(),
        inner: None,
        part: None,
        padding: Vec::new(),
        other: None,
        lies: Lies::default(),
    }
}

impl Frame {
    /// The same frame after a device with these addresses sent it on: to `mac_destination`, from `mac_source`, one
    /// hop later.
    #[must_use]
    pub fn sent(self, mac_destination: [u8; 6], mac_source: [u8; 6]) -> Self {
        Self { mac_destination, mac_source, ttl: self.ttl.wrapping_sub(1), ..self }
    }

    /// The same frame with another payload.
    #[must_use]
    pub fn with(self, payload: impl Into<Vec<u8>>) -> Self {
        Self { payload: payload.into(), ..self }
    }

    /// The same frame with so many bytes of payload.
    #[must_use]
    pub fn sized(self, bytes: usize) -> Self {
        // A pattern, so that bytes which move are seen.
        self.with((0..bytes).map(|n| (n * 7 + n / 256) as u8).collect::<Vec<_>>())
    }

    /// The same frame with these lies.
    #[must_use]
    pub fn lying(self, lies: Lies) -> Self {
        Self { lies, ..self }
    }

    /// The same frame cut after so many bytes.
    #[must_use]
    pub fn cut(mut self, bytes: usize) -> Self {
        self.lies.cut = Some(bytes);
        self
    }

    /// The same frame, of which nobody expects that another implementation can make sense of all of it.
    #[must_use]
    pub fn odd(self) -> Self {
        let length = self.bytes().len();
        self.cut(length)
    }

    /// Whether it is of IPv4.
    pub const fn is_v4(&self) -> bool {
        self.source.0.is_ipv4()
    }

    /// Whether everything in it is as it ought to be.
    pub fn is_sound(&self) -> bool {
        self.lies == Lies::default() && self.inner.as_ref().is_none_or(|inner| inner.is_sound())
    }
}
