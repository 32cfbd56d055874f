//! Frames made by hand.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// The internet checksum (RFC 1071) of all parts, each of even length but the last.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap().to_be_bytes()
}

/// What a frame is addressed with, and from whom to whom its packet goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way<A> {
    pub(crate) ethernet: [[u8; 6]; 2],
    pub(crate) source: A,
    pub(crate) destination: A,
}

pub(crate) fn ethernet(destination: [u8; 6], source: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&destination[..], &source, &kind.to_be_bytes(), payload].concat()
}

impl Way<Ipv4Addr> {
    /// An IPv4 packet with options, of 4 bytes each line, and the flags and offset of a fragment.
    pub(crate) fn packet(&self, protocol: u8, options: &[u8], fragment: u16, payload: &[u8]) -> Vec<u8> {
        let words = u8::try_from(5 + options.len() / 4).unwrap();
        let mut header = [&[0x40 | words, 0][..], &length(20 + options.len() + payload.len()), &[0x12, 0x34]].concat();
        header.extend(fragment.to_be_bytes());
        header.extend([64, protocol, 0, 0]);
        header.extend([self.source.octets(), self.destination.octets()].concat());
        header.extend(options);
        let sum = checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        let [destination, source] = self.ethernet;
        ethernet(destination, source, 0x0800, &[header, payload.to_vec()].concat())
    }

    pub(crate) fn udp(&self, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
        self.packet(UDP, &[], 0, &udp(&self.pseudo(), ports, payload))
    }

    pub(crate) fn pseudo(&self) -> Vec<u8> {
        [self.source.octets(), self.destination.octets()].concat()
    }
}

impl Way<Ipv6Addr> {
    /// An IPv6 packet; `next` is what follows the header.
    pub(crate) fn packet(&self, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = [&[0x60, 0, 0, 0][..], &length(payload.len()), &[next, 64]].concat();
        packet.extend([self.source.octets(), self.destination.octets()].concat());
        packet.extend(payload);
        let [destination, source] = self.ethernet;
        ethernet(destination, source, 0x86dd, &packet)
    }

    pub(crate) fn pseudo(&self) -> Vec<u8> {
        [self.source.octets(), self.destination.octets()].concat()
    }
}

/// A UDP datagram between the addresses of `pseudo`.
pub(crate) fn udp(pseudo: &[u8], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let long = length(8 + payload.len());
    let header = [ports[0].to_be_bytes(), ports[1].to_be_bytes(), long, [0; 2]].concat();
    let sum = checksum(&[pseudo, &[0, UDP], &long, &header, payload]);
    [&header[..6], &sum.to_be_bytes(), payload].concat()
}

/// A TCP segment with these flags.
pub(crate) fn tcp(pseudo: &[u8], ports: [u16; 2], flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [ports[0].to_be_bytes(), ports[1].to_be_bytes()].concat();
    header.extend([1, 2, 3, 4, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = checksum(&[pseudo, &[0, TCP], &length(20 + payload.len()), &header, payload]);
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    [&header[..], payload].concat()
}

/// An echo request of ICMP (kind 8) or ICMPv6 (kind 128), which sums the addresses too.
pub(crate) fn echo_request(kind: u8, pseudo: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0, 0x77, 0x77, 0, 1][..], payload].concat();
    let sum = match kind {
        8 => checksum(&[&message]),
        _ => checksum(&[pseudo, &[0, 58], &length(message.len()), &message]),
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// A message whose checksum, in its third and fourth byte, sums a pseudo-header too.
pub(crate) fn summed(pseudo: &[u8], protocol: u8, mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&[pseudo, &[0, protocol], &length(message.len()), &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// An ICMP error about a packet, or what is quoted of it.
pub(crate) fn error(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0][..], quoted].concat();
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The same of ICMPv6.
pub(crate) fn error6(pseudo: &[u8], kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    summed(pseudo, 58, [&[kind, code, 0, 0, 0, 0, 0, 0][..], quoted].concat())
}
