//! What may be wrong in a frame.

/// Fields that are not what they ought to be. Checksums are computed over them as they lie, unless they lie themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lies {
    /// The IP version.
    pub version: Option<u8>,
    /// The length of an IPv4 header, in words of four bytes.
    pub header_words: Option<u8>,
    /// IPv4: the total length. IPv6: the payload's.
    pub length: Option<u16>,
    /// The protocol, or the last next header.
    pub protocol: Option<u8>,
    /// The checksum of an IPv4 header.
    pub ip_checksum: Option<u16>,
    /// The length of a TCP header, in words of four bytes.
    pub tcp_words: Option<u8>,
    /// The length in a UDP header.
    pub udp_length: Option<u16>,
    /// The checksum of the transport, or of the ICMP message.
    pub checksum: Option<u16>,
    /// The ether type.
    pub ether_type: Option<u16>,
    /// The frame ends after so many bytes.
    pub cut: Option<usize>,
    /// Bytes that were exchanged when everything else was done: offsets in the frame, and what is there instead.
    pub bent: Vec<(usize, u8)>,
}

impl Lies {
    /// Does to the finished frame what has to be done last.
    pub(super) fn finish(&self, frame: &mut Vec<u8>) {
        for &(at, value) in &self.bent {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        if let Some(cut) = self.cut {
            frame.truncate(cut);
        }
    }
}
