//! A frame that leaves the host, with its transport checksum.

use aya_ebpf::programs::TcContext;
use lb_common::Packet;
use lb_common::decap::Segment;

use crate::frame::SkbFrame;

/// A tc program's frame on egress.
pub struct Outgoing<'a> {
    frame: SkbFrame,
    ctx: &'a TcContext,
}

impl<'a> Outgoing<'a> {
    /// The frame of a program run with this context.
    #[inline(always)]
    pub fn of(ctx: &'a TcContext) -> Self {
        Self { frame: SkbFrame::of(ctx), ctx }
    }
}

impl Packet for Outgoing<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.frame.read(offset)
    }

    /// By the kernel, which sees to it that nobody else has the same bytes. What was known of where the frame lies is not
    /// true any more: nothing is read after this.
    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()> {
        self.ctx.store(offset, &bytes, 0).ok()
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.frame.length()
    }

    #[inline(always)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.frame.grow(bytes)
    }

    #[inline(always)]
    fn shrink(&mut self, bytes: usize) -> Option<()> {
        self.frame.shrink(bytes)
    }

    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        self.frame.holds(bytes)
    }

    #[inline(always)]
    fn is_scattered(&self) -> bool {
        self.frame.is_scattered()
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) -> Option<()> {
        self.frame.truncate(length)
    }
}

impl Segment for Outgoing<'_> {
    /// By the kernel, which knows whether the device finishes the checksum: then the field holds the sum of the
    /// addresses alone, and stays (`inet_proto_csum_replace4` of net/core/utils.c).
    #[inline(always)]
    fn correct_checksum(&mut self, offset: usize, old: u16, new: u16) -> Option<()> {
        // The last argument is the size of a word; without further flags it is no part of the pseudo header.
        self.ctx.l4_csum_replace(offset, u64::from(old), u64::from(new), 2).ok()
    }
}
