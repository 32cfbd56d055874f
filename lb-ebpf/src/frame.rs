//! A frame in the kernel's memory. Every access is checked against its end, which is what the verifier wants to see.

use aya_ebpf::programs::{TcContext, XdpContext};
use lb_common::Packet;

/// A frame between two addresses that the kernel gave.
pub struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    /// The frame of an XDP program.
    #[inline(always)]
    pub fn of_xdp(ctx: &XdpContext) -> Self {
        Self { start: ctx.data(), end: ctx.data_end() }
    }

    /// The linear part of a tc program's frame, which holds the headers.
    #[inline(always)]
    pub fn of_skb(ctx: &TcContext) -> Self {
        Self { start: ctx.data(), end: ctx.data_end() }
    }

    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<*mut [u8; N]> {
        let start = self.start + offset;
        if start + N > self.end { None } else { Some(start as *mut [u8; N]) }
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: `at` has just compared the range with the frame's end; the kernel keeps the frame while the program
        // runs, and a byte array needs no alignment.
        self.at(offset).map(|bytes| unsafe { bytes.read() })
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()> {
        // SAFETY: as in `read`; the frame is this program's alone.
        self.at(offset).map(|to| unsafe { to.write(bytes) })
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.end - self.start
    }
}
