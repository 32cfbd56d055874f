//! A frame on the host, with room in front as a driver leaves it.

use crate::packet::{Fronted, MAX_OFFSET, Packet};

/// How much room there is in front of a frame, in bytes (`XDP_PACKET_HEADROOM` less the kernel's own `struct xdp_frame`).
const HEADROOM: usize = 256 - 40;

/// Bytes of an Ethernet header, which a frame keeps.
const ETHERNET: usize = 14;

/// A frame that may be made longer or shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFrame {
    bytes: Vec<u8>,
    start: usize,
}

impl HostFrame {
    /// A frame with these bytes.
    pub fn new(frame: &[u8]) -> Self {
        let mut bytes = vec![0; HEADROOM];
        bytes.extend_from_slice(frame);
        Self { bytes, start: HEADROOM }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl Packet for HostFrame {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes().read(offset)
    }

    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()> {
        debug_assert!(offset <= MAX_OFFSET, "the kernel's programs could not write there");
        self.bytes[self.start..].write(offset, bytes)
    }

    fn length(&self) -> usize {
        self.bytes().len()
    }

    fn is_scattered(&self) -> bool {
        false
    }

    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.start = self.start.checked_sub(bytes)?;
        Some(())
    }

    fn shrink(&mut self, bytes: usize) -> Option<()> {
        if self.length() < bytes + ETHERNET {
            return None;
        }
        self.start += bytes;
        Some(())
    }

    fn truncate(&mut self, length: usize) -> Option<()> {
        if length > self.length() || length < ETHERNET {
            return None;
        }
        self.bytes.truncate(self.start + length);
        Some(())
    }
}

impl Fronted for HostFrame {
    type Front<'a, const LEN: usize> = &'a [u8; LEN];
    type FrontMut<'a, const LEN: usize> = &'a mut [u8; LEN];

    fn front<const LEN: usize>(&self) -> Option<&[u8; LEN]> {
        self.bytes().first_chunk()
    }

    fn front_mut<const LEN: usize>(&mut self) -> Option<&mut [u8; LEN]> {
        self.bytes[self.start..].first_chunk_mut()
    }
}
