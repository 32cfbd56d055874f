//! A frame, read and written through bounds that are always checked.

use crate::checksum::Delta;
use crate::headers::Headers;

/// No header that anybody reads begins behind this offset, in bytes. The kernel's verifier wants to see a bound, and the
/// host keeps to the same one.
pub const MAX_OFFSET: usize = 2047;

/// Every path takes packets of so many bytes (RFC 791, RFC 8200 §5): nobody is believed who says that one takes less.
pub(crate) const ANY_PATH_V4: u32 = 576;
pub(crate) const ANY_PATH_V6: u32 = 1280;

/// The first bytes of a frame, which were compared with its end once: whatever is asked of them is there. Offsets are known
/// when this is compiled, and one beyond those bytes does not compile.
///
/// ```compile_fail,E0080
/// use lb_common::packet::Front;
/// (&[0_u8; 14]).at::<13, 2>();
/// ```
pub trait Front {
    /// The `N` bytes at `AT`.
    fn at<const AT: usize, const N: usize>(&self) -> [u8; N];
}

/// The same, to be written.
pub trait FrontMut: Front {
    /// Overwrites the `N` bytes at `AT`.
    fn put<const AT: usize, const N: usize>(&mut self, bytes: [u8; N]);
}

impl<const LEN: usize> Front for &[u8; LEN] {
    fn at<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= LEN) };
        core::array::from_fn(|at| self[AT + at])
    }
}

impl<const LEN: usize> Front for &mut [u8; LEN] {
    fn at<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= LEN) };
        core::array::from_fn(|at| self[AT + at])
    }
}

impl<const LEN: usize> FrontMut for &mut [u8; LEN] {
    fn put<const AT: usize, const N: usize>(&mut self, bytes: [u8; N]) {
        const { assert!(AT + N <= LEN) };
        self[AT..AT + N].copy_from_slice(&bytes);
    }
}

/// A frame from its Ethernet header on.
pub trait Packet {
    /// The `N` bytes at `offset`, or `None` when the frame ends before them, or its first buffer does.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Overwrites the `N` bytes at `offset`; `None`, and nothing written, where [`Self::read`] has nothing.
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()>;

    /// The frame's length in bytes, in all of its buffers.
    fn length(&self) -> usize;

    /// Whether the frame is at least so long; cheaper than [`Self::length`].
    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        bytes <= self.length()
    }

    /// Whether the frame lies in one buffer, and is at least so long.
    #[inline(always)]
    fn is_one(&self, bytes: usize) -> bool {
        self.holds(bytes) && !self.is_scattered()
    }

    /// Whether the frame lies in several buffers: one larger than a page.
    fn is_scattered(&self) -> bool;

    /// Of several packets of a flow that were merged into one, to be parted again when it leaves: how many bytes of payload each
    /// has. 0 of a packet that is just one.
    #[inline(always)]
    fn merged(&self) -> u32 {
        0
    }

    /// Whether there may be a queue where it goes.
    #[inline(always)]
    fn can_wait(&self) -> bool {
        false
    }

    /// Has the packet leave later, if it [can wait](Self::can_wait): by the `htb` class with this number, unless that is 0, and
    /// so many nanoseconds from now.
    #[inline(always)]
    fn wait(&mut self, class: u16, delay_ns: u32) {
        let _ = (class, delay_ns);
    }

    /// Corrects the checksum of a TCP header (`tcp`) or UDP header at `offset`, after addresses and whatever else it covers were
    /// replaced.
    #[inline(always)]
    fn correct(&mut self, offset: usize, addresses: Delta, others: Delta, tcp: bool) -> Option<()> {
        let checksum = u16::from_ne_bytes(self.read(offset)?);
        let delta = addresses.and(others);
        let checksum = if tcp { delta.apply(checksum) } else { delta.apply_udp(checksum) };
        self.write(offset, checksum.to_ne_bytes())
    }

    /// Begins the frame so many bytes earlier: what is there is for the caller to write. `None`, and nothing done, when
    /// there is no room.
    fn grow(&mut self, bytes: usize) -> Option<()>;

    /// Begins the frame so many bytes later. `None`, and nothing done, when it has no more than an Ethernet header then.
    fn shrink(&mut self, bytes: usize) -> Option<()>;

    /// Ends the frame after so many bytes. `None`, and nothing done, when it is shorter.
    fn truncate(&mut self, length: usize) -> Option<()>;

    /// Makes headers such as no packet has, to be filled in.
    #[inline(always)]
    fn blank(&self, headers: &mut Headers) {
        *headers = Headers::default();
    }

    /// The same number. The kernel's verifier follows a number through every round of a loop, and each way out of it by
    /// itself; of this one it knows nothing any more, so that all of them are one.
    #[inline(always)]
    fn forget(&self, number: usize) -> usize {
        number
    }
}

/// A frame whose headers can be compared with its end at once.
pub trait Fronted: Packet {
    /// Its first `LEN` bytes.
    type Front<'a, const LEN: usize>: Front + Copy
    where
        Self: 'a;
    /// The same, to be written.
    type FrontMut<'a, const LEN: usize>: FrontMut
    where
        Self: 'a;

    /// The first `LEN` bytes, or `None` when the frame ends before them, or its first buffer does.
    fn front<const LEN: usize>(&self) -> Option<Self::Front<'_, LEN>>;

    /// The same, to be written.
    fn front_mut<const LEN: usize>(&mut self) -> Option<Self::FrontMut<'_, LEN>>;
}

/// A frame that nobody wants to be longer or shorter.
impl Packet for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > MAX_OFFSET { None } else { self.get(offset..)?.first_chunk().copied() }
    }

    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()> {
        if offset > MAX_OFFSET {
            return None;
        }
        *self.get_mut(offset..)?.first_chunk_mut()? = bytes;
        Some(())
    }

    fn length(&self) -> usize {
        self.len()
    }

    fn is_scattered(&self) -> bool {
        false
    }

    fn grow(&mut self, _: usize) -> Option<()> {
        None
    }

    fn shrink(&mut self, _: usize) -> Option<()> {
        None
    }

    fn truncate(&mut self, _: usize) -> Option<()> {
        None
    }
}

impl Fronted for [u8] {
    type Front<'a, const LEN: usize> = &'a [u8; LEN];
    type FrontMut<'a, const LEN: usize> = &'a mut [u8; LEN];

    fn front<const LEN: usize>(&self) -> Option<&[u8; LEN]> {
        self.first_chunk()
    }

    fn front_mut<const LEN: usize>(&mut self) -> Option<&mut [u8; LEN]> {
        self.first_chunk_mut()
    }
}
