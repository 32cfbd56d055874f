//! The one kind of frame that is sent here: UDP over IPv4, without a checksum of its own.

use std::net::Ipv4Addr;

/// Where it goes.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
pub(crate) const PORT: u16 = 53;

/// Bytes of the headers: Ethernet, IPv4 (RFC 791 §3.1) and UDP (RFC 768).
const ETHERNET: usize = 14;
const HEADERS: u16 = 20 + 8;
const SOURCE_AT: usize = ETHERNET + 12;
const SUM_AT: usize = ETHERNET + 10;

/// A frame of so many bytes of layer 3, at least its headers'.
pub(crate) fn of_length(source: Ipv4Addr, length: u16) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET + usize::from(length)];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 9, 1, 2, 0, 0, 0, 9, 2]);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let [a, b] = length.to_be_bytes();
    frame[ETHERNET..ETHERNET + 10].copy_from_slice(&[0x45, 0, a, b, 0, 1, 0x40, 0, 64, 17]);
    frame[ETHERNET + 16..ETHERNET + 20].copy_from_slice(&VIP.octets());
    let [a, b] = (length - HEADERS + 8).to_be_bytes();
    let [c, d] = PORT.to_be_bytes();
    frame[ETHERNET + 20..ETHERNET + 28].copy_from_slice(&[0x30, 0x39, c, d, a, b, 0, 0]);
    from(&mut frame, source);
    frame
}

/// Gives it another source.
pub(crate) fn from(frame: &mut [u8], source: Ipv4Addr) {
    frame[SOURCE_AT..SOURCE_AT + 4].copy_from_slice(&source.octets());
    frame[SUM_AT..SUM_AT + 2].fill(0);
    // RFC 1071.
    let words =
        frame[ETHERNET..ETHERNET + 20].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).expect("folded to sixteen bits");
    frame[SUM_AT..SUM_AT + 2].copy_from_slice(&sum.to_be_bytes());
}
