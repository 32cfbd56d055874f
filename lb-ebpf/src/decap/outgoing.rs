//! A frame that leaves the host, with its transport checksum.

use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use lb_common::decap::Segment;

use crate::skb::SkbFrame;

impl Segment for SkbFrame {
    /// By the kernel, which knows whether the device finishes the checksum: then the field holds the sum of the
    /// addresses alone, and stays (`inet_proto_csum_replace4` of net/core/utils.c).
    #[inline(always)]
    fn correct_checksum(&mut self, offset: usize, old: u16, new: u16) -> Option<()> {
        // The last argument is the size of a word; without further flags it is no part of the pseudo header.
        // SAFETY: a helper that looks itself whether the frame has the field; addresses from before are not used again.
        let result = unsafe { bpf_l4_csum_replace(self.ctx(), offset as u32, old.into(), new.into(), 2) };
        self.moved(result)
    }
}
