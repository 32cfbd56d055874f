//! Layer 3: IPv4 (RFC 791 §3.1) and IPv6 (RFC 8200 §3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::sum::checksum;
use super::{Extension, Frame};

impl Frame {
    /// The IP packet, without its Ethernet header.
    pub fn packet(&self) -> Vec<u8> {
        match (self.source.0, self.destination.0) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(source, destination),
            mixed => panic!("{mixed:?} are of two families"),
        }
    }

    /// Where the transport header begins in the frame, or a fragment's data.
    pub fn l4(&self) -> usize {
        self.l3() + self.header_len()
    }

    /// Bytes of layer 3.
    pub fn length(&self) -> usize {
        self.packet().len()
    }

    fn header_len(&self) -> usize {
        if self.is_v4() {
            20 + self.options.len()
        } else {
            40 + self.chain().iter().map(|extension| extension.bytes(0).len()).sum::<usize>()
        }
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let segment = self.segment();
        let header_len = 20 + self.options.len();
        let words = self.lies.header_words.unwrap_or((header_len / 4) as u8);
        let mut header = vec![self.lies.version.unwrap_or(4) << 4 | words, self.tos];
        header.extend(self.lies.length.unwrap_or((header_len + segment.len()) as u16).to_be_bytes());
        header.extend((self.id as u16).to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol(), 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(&self.options);
        let sum = self.lies.ip_checksum.unwrap_or_else(|| checksum(&header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(segment);
        header
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let segment = self.segment();
        let chain = self.chain();
        let numbers = || chain.iter().map(Extension::number).chain([self.protocol()]);
        let extensions: Vec<u8> =
            chain.iter().zip(numbers().skip(1)).flat_map(|(extension, next)| extension.bytes(next)).collect();
        let version = u32::from(self.lies.version.unwrap_or(6));
        let first = version << 28 | u32::from(self.tos) << 20 | self.label & 0x000f_ffff;
        let mut header = first.to_be_bytes().to_vec();
        header.extend(self.lies.length.unwrap_or((extensions.len() + segment.len()) as u16).to_be_bytes());
        header.extend([numbers().next().unwrap_or_default(), self.ttl]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(extensions);
        header.extend(segment);
        header
    }

    /// The extension headers, the fragment header last.
    fn chain(&self) -> Vec<Extension> {
        let mut chain = self.extensions.clone();
        if self.fragment != 0 && !self.is_v4() {
            chain.push(Extension::Fragment { field: self.fragment, id: self.id });
        }
        chain
    }

    /// The protocol number of what follows the IP headers.
    pub fn protocol(&self) -> u8 {
        self.lies.protocol.unwrap_or_else(|| self.transport.number(self.is_v4()))
    }

    /// The pseudo-header that checksums are over (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1), for so many bytes.
    pub(super) fn pseudo_header(&self, length: usize, protocol: u8) -> Vec<u8> {
        let mut header = Vec::with_capacity(40);
        match (self.source.0, self.destination.0) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header.extend(source.octets());
                header.extend(destination.octets());
                header.extend([0, protocol]);
                header.extend((length as u16).to_be_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let last = self.extensions.iter().find_map(Extension::destination);
                header.extend(source.octets());
                header.extend(last.unwrap_or(destination.octets()));
                header.extend((length as u32).to_be_bytes());
                header.extend([0, 0, 0, protocol]);
            }
            mixed => panic!("{mixed:?} are of two families"),
        }
        header
    }
}
