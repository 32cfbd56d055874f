//! A frame, read and written through bounds that are always checked.

/// A frame from its Ethernet header on.
pub trait Packet {
    /// The `N` bytes at `offset`, or `None` when the frame ends before them.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Overwrites the `N` bytes at `offset`; `None`, and nothing written, when the frame ends before them.
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()>;

    /// The frame's length in bytes.
    fn length(&self) -> usize;
}

impl Packet for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()> {
        *self.get_mut(offset..)?.first_chunk_mut()? = bytes;
        Some(())
    }

    fn length(&self) -> usize {
        self.len()
    }
}
