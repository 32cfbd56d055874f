//! Frames in the kernel's memory. Every access is checked against their end, which is what the verifier wants to see.

#[path = "words.rs"]
mod words;

use core::marker::PhantomData;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len};
use lb_common::packet::{Front, FrontMut, Fronted, MAX_OFFSET};
use lb_common::{Headers, Packet};

pub use words::{copy_from, copy_to};

/// Bytes between two addresses that the kernel gave.
pub struct Bytes {
    /// Where they begin.
    pub start: usize,
    /// Where they end.
    pub end: usize,
}

/// The same number, of which the compiler knows nothing any more.
#[inline(always)]
pub fn opaque(mut number: usize) -> usize {
    // SAFETY: a register is copied to itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) number, options(nostack, nomem, preserves_flags)) };
    number
}

/// Makes a structure of integers all zeroes, word by word: what the compiler would call for that goes byte by byte. The
/// structure begins and ends at a multiple of four, all zeroes are a value of it, and it is the caller's to write.
#[inline(always)]
pub unsafe fn clear<T>(structure: *mut T) {
    const { assert!(align_of::<T>() >= 4 && size_of::<T>().is_multiple_of(4)) };
    for word in 0..size_of::<T>() / 4 {
        // SAFETY: a word inside of the structure; volatile, so that the stores stay what they are.
        unsafe { structure.cast::<u32>().add(word).write_volatile(0) };
    }
}

/// The same number, of which the verifier knows nothing any more: it looks at a global function by itself, and takes what
/// that returns for anything.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn weir_forget(number: u64) -> u64 {
    opaque(number as usize) as u64
}

impl Bytes {
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<*mut u8> {
        // What the compiler knows is a number in the instruction, and all that the verifier wants is one comparison.
        let known = core::intrinsics::is_val_statically_known(offset);
        // Otherwise checks are left out that follow from others by arithmetic which the verifier does not do.
        let offset = if known { offset } else { opaque(offset) };
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.start + offset;
        // One byte would be checked by "not less than", from which the verifier learns nothing.
        let stop = if N == 1 { opaque(start + N) } else { start + N };
        if stop > self.end { None } else { Some(start as *mut u8) }
    }

    /// The `N` bytes at `offset`.
    #[inline(always)]
    pub fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: `at` has just compared the range with the frame's end; the kernel keeps the frame while the program
        // runs.
        self.at::<N>(offset).map(|at| unsafe { copy_from::<0, N>(at) })
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()> {
        // SAFETY: as in `read`; the frame is this program's alone.
        self.at::<N>(offset).map(|at| unsafe { copy_to::<0, N>(at, bytes) })
    }
}

/// The frame of an XDP program: its first buffer, which holds the headers.
pub struct XdpFrame {
    ctx: *mut xdp_md,
    bytes: Bytes,
}

impl XdpFrame {
    /// The frame of this context.
    #[inline(always)]
    pub fn of(ctx: *mut xdp_md) -> Self {
        Self { ctx, bytes: Self::bytes(ctx) }
    }

    /// Its context.
    #[inline(always)]
    pub fn ctx(&self) -> *mut xdp_md {
        self.ctx
    }

    #[inline(always)]
    fn bytes(ctx: *mut xdp_md) -> Bytes {
        // SAFETY: the kernel gave this context to the running program.
        unsafe { Bytes { start: (*ctx).data as usize, end: (*ctx).data_end as usize } }
    }

    /// Moves the frame's beginning.
    #[inline(always)]
    fn move_head(&mut self, by: i32) -> Option<()> {
        // SAFETY: the kernel checks the distance; the addresses from before are not used again.
        let result = unsafe { bpf_xdp_adjust_head(self.ctx, by) };
        self.moved(result)
    }

    /// After a helper that may have moved it.
    #[inline(always)]
    fn moved(&mut self, result: i64) -> Option<()> {
        self.bytes = Self::bytes(self.ctx);
        if result == 0 { Some(()) } else { None }
    }
}

impl Packet for XdpFrame {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.read(offset)
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()> {
        self.bytes.write(offset, bytes)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: a helper that only reads.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as usize }
    }

    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        // Frames in one buffer are nearly all there are, and need no helper.
        bytes <= self.bytes.end - self.bytes.start || bytes <= self.length()
    }

    #[inline(always)]
    fn is_one(&self, bytes: usize) -> bool {
        /// A frame of several buffers fills its first one, which is larger than this, or has nothing but headers in it.
        const SMALL: usize = 256;
        let first = self.bytes.end - self.bytes.start;
        // To be sure is a call to the kernel: what ends with its buffer goes on in another one only where the link pads
        // it, which it does to small ones.
        bytes == first || bytes < first && (first <= SMALL || !self.is_scattered())
    }

    #[inline(always)]
    fn is_scattered(&self) -> bool {
        self.bytes.end - self.bytes.start < self.length()
    }

    #[inline(always)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.move_head(-(bytes as i32))
    }

    #[inline(always)]
    fn shrink(&mut self, bytes: usize) -> Option<()> {
        self.move_head(bytes as i32)
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) -> Option<()> {
        let by = length as i64 - self.length() as i64;
        if by > 0 {
            return None;
        }
        // SAFETY: as in `move_head`.
        let result = unsafe { bpf_xdp_adjust_tail(self.ctx, by as i32) };
        self.moved(result)
    }

    #[inline(always)]
    fn blank(&self, headers: &mut Headers) {
        // SAFETY: numbers and booleans.
        unsafe { clear(headers) };
    }

    #[inline(always)]
    fn forget(&self, number: usize) -> usize {
        weir_forget(number as u64) as usize
    }
}

/// The first `LEN` bytes of a frame, which were compared with its end.
#[derive(Clone, Copy)]
pub struct XdpFront<'a, const LEN: usize> {
    start: *mut u8,
    frame: PhantomData<&'a XdpFrame>,
}

impl<const LEN: usize> XdpFront<'_, LEN> {
    #[inline(always)]
    fn of(frame: &XdpFrame) -> Option<Self> {
        frame.bytes.at::<LEN>(0).map(|start| Self { start, frame: PhantomData })
    }
}

impl<const LEN: usize> Front for XdpFront<'_, LEN> {
    #[inline(always)]
    fn at<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= LEN) };
        // SAFETY: they were compared with the frame's end, and the frame has not been moved since: it is borrowed.
        unsafe { copy_from::<AT, N>(self.start) }
    }
}

/// The same, to be written: it has the frame for itself.
pub struct XdpFrontMut<'a, const LEN: usize>(XdpFront<'a, LEN>, PhantomData<&'a mut XdpFrame>);

impl<const LEN: usize> Front for XdpFrontMut<'_, LEN> {
    #[inline(always)]
    fn at<const AT: usize, const N: usize>(&self) -> [u8; N] {
        self.0.at::<AT, N>()
    }
}

impl<const LEN: usize> FrontMut for XdpFrontMut<'_, LEN> {
    #[inline(always)]
    fn put<const AT: usize, const N: usize>(&mut self, bytes: [u8; N]) {
        const { assert!(AT + N <= LEN) };
        // SAFETY: as in `at`; the frame is borrowed for nobody else.
        unsafe { copy_to::<AT, N>(self.0.start, bytes) }
    }
}

impl Fronted for XdpFrame {
    type Front<'a, const LEN: usize> = XdpFront<'a, LEN>;
    type FrontMut<'a, const LEN: usize> = XdpFrontMut<'a, LEN>;

    #[inline(always)]
    fn front<const LEN: usize>(&self) -> Option<XdpFront<'_, LEN>> {
        XdpFront::of(self)
    }

    #[inline(always)]
    fn front_mut<const LEN: usize>(&mut self) -> Option<XdpFrontMut<'_, LEN>> {
        XdpFront::of(self).map(|front| XdpFrontMut(front, PhantomData))
    }
}
