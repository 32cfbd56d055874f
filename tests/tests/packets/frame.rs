//! Whole frames, built field by field with every checksum computed in full (RFC 791, 8200, 768, 9293, 1071).

#![expect(clippy::cast_possible_truncation, reason = "lengths of frames that these tests make, and folded sums")]

use std::net::IpAddr;

/// What TCP flags are called here.
pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const RST: u8 = 0x04;
pub(crate) const FIN: u8 = 0x01;

/// The transport header.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Transport {
    Tcp { flags: u8 },
    Udp { checksum: bool },
}

/// A frame to be built.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub mac_destination: [u8; 6],
    pub mac_source: [u8; 6],
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
    pub ttl: u8,
    pub transport: Transport,
    pub payload: Vec<u8>,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// The IPv4 fragment field, or the offset and flag of an IPv6 fragment header.
    pub fragment: u16,
}

/// An address and a port.
pub(crate) fn at(address: &str, port: u16) -> (IpAddr, u16) {
    (address.parse().expect("an address"), port)
}

/// A TCP segment with a payload of `hello`.
pub(crate) fn tcp(source: (IpAddr, u16), destination: (IpAddr, u16), flags: u8) -> Frame {
    Frame {
        mac_destination: [2, 0, 0, 0, 0, 1],
        mac_source: [2, 0, 0, 0, 0, 2],
        source,
        destination,
        ttl: 64,
        transport: Transport::Tcp { flags },
        payload: b"hello".to_vec(),
        options: Vec::new(),
        fragment: 0,
    }
}

/// A UDP datagram with a payload of `hello`.
pub(crate) fn udp(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Frame {
    Frame { transport: Transport::Udp { checksum: true }, ..tcp(source, destination, 0) }
}

impl Frame {
    /// The same frame after a device with these addresses sent it on: to `mac_destination`, from `mac_source`, one
    /// hop later.
    pub(crate) fn sent(self, mac_destination: [u8; 6], mac_source: [u8; 6]) -> Self {
        Self { mac_destination, mac_source, ttl: self.ttl - 1, ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let segment = self.segment();
        let (ether_type, header) = match (self.source.0, self.destination.0) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header_len = 20 + self.options.len();
                let mut header = vec![0x40 | (header_len / 4) as u8, 0x10];
                header.extend(((header_len + segment.len()) as u16).to_be_bytes());
                header.extend([0x12, 0x34]);
                header.extend(self.fragment.to_be_bytes());
                header.extend([self.ttl, self.protocol(), 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                header.extend(&self.options);
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                (0x0800_u16, header)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let extension = if self.fragment == 0 { 0 } else { 8 };
                let mut header = vec![0x60, 0x01, 0x23, 0x45];
                header.extend(((extension + segment.len()) as u16).to_be_bytes());
                header.extend([if extension == 0 { self.protocol() } else { 44 }, self.ttl]);
                header.extend(source.octets());
                header.extend(destination.octets());
                if extension != 0 {
                    header.extend([self.protocol(), 0]);
                    header.extend(self.fragment.to_be_bytes());
                    header.extend([0, 0, 0, 7]);
                }
                (0x86dd, header)
            }
            mixed => panic!("{mixed:?} are of two families"),
        };
        let mut frame = Vec::new();
        frame.extend(self.mac_destination);
        frame.extend(self.mac_source);
        frame.extend(ether_type.to_be_bytes());
        frame.extend(header);
        frame.extend(segment);
        frame
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => 6,
            Transport::Udp { .. } => 17,
        }
    }

    fn segment(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.source.1.to_be_bytes());
        segment.extend(self.destination.1.to_be_bytes());
        let checksum_at = match self.transport {
            Transport::Tcp { flags } => {
                segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
                16
            }
            Transport::Udp { .. } => {
                segment.extend((8 + self.payload.len() as u16).to_be_bytes());
                segment.extend([0, 0]);
                6
            }
        };
        segment.extend(&self.payload);
        if matches!(self.transport, Transport::Udp { checksum: false }) {
            return segment;
        }
        let mut summed = Vec::new();
        for address in [self.source.0, self.destination.0] {
            match address {
                IpAddr::V4(v4) => summed.extend(v4.octets()),
                IpAddr::V6(v6) => summed.extend(v6.octets()),
            }
        }
        summed.extend((segment.len() as u32).to_be_bytes());
        summed.extend([0, 0, 0, self.protocol()]);
        summed.extend(&segment);
        let mut sum = checksum(&summed);
        if sum == 0 && matches!(self.transport, Transport::Udp { .. }) {
            sum = 0xffff;
        }
        segment[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        segment
    }
}

/// RFC 1071, by the book.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
