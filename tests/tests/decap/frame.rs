//! Packets in packets, built field by field with every checksum computed in full (RFC 791, 8200, 768, 9293, 1071).

use std::net::IpAddr;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
/// IPv4 and IPv6 in IP.
pub(crate) const IPIP: u8 = 4;
pub(crate) const IPV6: u8 = 41;

/// The UDP port of gue that these tests use; not the default.
pub(crate) const GUE: u16 = 6666;

/// Who is who.
pub(crate) const SENDER: &str = "10.0.0.5";
pub(crate) const SENDER6: &str = "fd00::5";
pub(crate) const OURS: &str = "10.0.1.11";
pub(crate) const OURS6: &str = "fd00:1::11";
pub(crate) const CLIENT: &str = "198.51.100.11";
pub(crate) const CLIENT6: &str = "2001:db8:1::11";
pub(crate) const VIP: &str = "203.0.113.10";
pub(crate) const VIP6: &str = "2001:db8:f00d::10";

/// An IP packet to be built.
#[derive(Debug, Clone)]
pub(crate) struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// TOS or traffic class.
    pub class: u8,
    /// The IPv4 fragment field.
    pub fragment: u16,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

pub(crate) fn ip(source: &str, destination: &str, protocol: u8, payload: Vec<u8>) -> Ip {
    let (source, destination) = (source.parse().expect("an address"), destination.parse().expect("an address"));
    Ip { source, destination, protocol, class: 0, fragment: 0, options: Vec::new(), payload }
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("a packet's length").to_be_bytes()
}

impl Ip {
    pub(crate) fn v4(&self) -> bool {
        self.source.is_ipv4()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { class, protocol, options, payload, .. } = self;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let words = u8::try_from(5 + options.len() / 4).expect("at most 15");
                let mut header = vec![0x40 | words, *class];
                header.extend(length(20 + options.len() + payload.len()));
                header.extend([0x12, 0x34]);
                header.extend(self.fragment.to_be_bytes());
                header.extend([64, *protocol, 0, 0]);
                header.extend([source.octets(), destination.octets()].concat());
                header.extend(options);
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum);
                [&header[..], payload].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = vec![0x60 | class >> 4, class << 4 | 0x01, 0x23, 0x45];
                header.extend(length(payload.len()));
                header.extend([*protocol, 64]);
                header.extend([source.octets(), destination.octets()].concat());
                [&header[..], payload].concat()
            }
            mixed => panic!("{mixed:?} are of two families"),
        }
    }

    /// In an Ethernet frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        self.tagged(&[])
    }

    /// In an Ethernet frame with VLAN tags, the outer one first.
    pub(crate) fn tagged(&self, tags: &[[u8; 4]]) -> Vec<u8> {
        let kind: [u8; 2] = if self.v4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &tags.concat(), &kind, &self.bytes()].concat()
    }

    /// In ipip, between these ends.
    pub(crate) fn ipip(&self, source: &str, destination: &str) -> Self {
        ip(source, destination, if self.v4() { IPIP } else { IPV6 }, self.bytes())
    }

    /// In gue variant 1, between these ends.
    pub(crate) fn gue(&self, source: &str, destination: &str) -> Self {
        udp(source, destination, [50_000, GUE], &self.bytes())
    }
}

/// The addresses, the length and the protocol, as TCP and UDP sum them (RFC 9293 §3.1, RFC 8200 §8.1).
fn pseudo(packet: &Ip, long: usize) -> Vec<u8> {
    let octets = |address| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let long = u32::try_from(long).expect("a segment's length").to_be_bytes();
    [octets(packet.source), octets(packet.destination), long.to_vec(), vec![0, 0, 0, packet.protocol]].concat()
}

/// A UDP datagram.
pub(crate) fn udp(source: &str, destination: &str, ports: [u16; 2], payload: &[u8]) -> Ip {
    let mut packet = ip(source, destination, UDP, Vec::new());
    let mut datagram = [ports[0].to_be_bytes(), ports[1].to_be_bytes(), length(8 + payload.len()), [0; 2]].concat();
    datagram.extend(payload);
    let sum = checksum(&[pseudo(&packet, datagram.len()), datagram.clone()].concat());
    datagram[6..8].copy_from_slice(if sum == [0; 2] { &[0xff; 2] } else { &sum });
    packet.payload = datagram;
    packet
}

/// A TCP segment with these flags and options, a multiple of four bytes.
pub(crate) fn tcp(source: &str, destination: &str, flags: u8, options: &[u8]) -> Ip {
    let mut packet = ip(source, destination, TCP, Vec::new());
    let words = u8::try_from(5 + options.len() / 4).expect("at most 15");
    let mut segment = [80_u16.to_be_bytes(), 40_000_u16.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, words << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(options);
    segment.extend(b"hello");
    let sum = checksum(&[pseudo(&packet, segment.len()), segment.clone()].concat());
    segment[16..18].copy_from_slice(&sum);
    packet.payload = segment;
    packet
}

/// What a client says to a VIP, of the family of its address.
pub(crate) fn request(v4: bool) -> Ip {
    let (client, vip) = if v4 { (CLIENT, VIP) } else { (CLIENT6, VIP6) };
    tcp(client, vip, 0x10, &[])
}

/// RFC 1071, by the book.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    [high, low]
}
