//! IPv6 extension headers (RFC 8200 §4).

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// Options for every node on the way (§4.3): whole options; padding is added.
    HopByHop(Vec<u8>),
    /// Options for the destination (§4.6): the same.
    Destination(Vec<u8>),
    /// A routing header (§4.4).
    Routing {
        /// Its type: 0 (deprecated, RFC 5095), 2 (RFC 6275 §6.4), 4 (RFC 8754), …
        kind: u8,
        /// Segments left.
        left: u8,
        /// What follows, a multiple of eight bytes and four more.
        data: Vec<u8>,
    },
    /// A fragment header (§4.5) elsewhere than at the end.
    Fragment {
        /// Offset and flag.
        field: u16,
        /// Identification.
        id: u32,
    },
    /// Any other header, with its number; its first byte is made the next header's.
    Raw(u8, Vec<u8>),
}

impl Extension {
    /// Its number in the header before it.
    pub const fn number(&self) -> u8 {
        match self {
            Self::HopByHop(_) => 0,
            Self::Routing { .. } => 43,
            Self::Fragment { .. } => 44,
            Self::Destination(_) => 60,
            Self::Raw(number, _) => *number,
        }
    }

    /// The header, followed by one with the number `next`.
    pub(super) fn bytes(&self, next: u8) -> Vec<u8> {
        match self {
            Self::HopByHop(options) | Self::Destination(options) => {
                let mut header = vec![next, 0];
                header.extend(options);
                pad(&mut header);
                header[1] = (header.len() / 8 - 1) as u8;
                header
            }
            Self::Routing { kind, left, data } => {
                assert_eq!(data.len() % 8, 4, "a routing header is of eight-byte units");
                let mut header = vec![next, ((4 + data.len()) / 8 - 1) as u8, *kind, *left];
                header.extend(data);
                header
            }
            Self::Fragment { field, id } => {
                let mut header = vec![next, 0];
                header.extend(field.to_be_bytes());
                header.extend(id.to_be_bytes());
                header
            }
            Self::Raw(_, bytes) => {
                let mut header = bytes.clone();
                header[0] = next;
                header
            }
        }
    }

    /// Where a packet with it goes in the end, which is what checksums are over (RFC 8200 §8.1).
    pub(super) fn destination(&self) -> Option<[u8; 16]> {
        let Self::Routing { kind, left: 1.., data } = self else { return None };
        let addresses = data.get(4..)?;
        // A segment routing header lists them from the last to the first (RFC 8754 §2).
        if *kind == 4 { addresses.first_chunk().copied() } else { addresses.last_chunk().copied() }
    }
}

/// Pad1 and PadN (RFC 8200 §4.2), up to a multiple of eight bytes.
fn pad(header: &mut Vec<u8>) {
    match header.len().next_multiple_of(8) - header.len() {
        0 => {}
        1 => header.push(0),
        missing => {
            header.extend([1, (missing - 2) as u8]);
            header.resize(header.len() + missing - 2, 0);
        }
    }
}
