//! Frames of tc programs: socket buffers, whose segments are not parted yet and whose checksums may be the device's to fill in.

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_l4_csum_replace, bpf_skb_change_head, bpf_skb_change_tail, bpf_skb_pull_data,
    bpf_skb_set_tstamp, bpf_skb_store_bytes,
};
use lb_common::abi::Class;
use lb_common::checksum::Delta;
use lb_common::packet::MAX_OFFSET;
use lb_common::{Headers, Packet};

use crate::frame::{Bytes, clear, weir_forget};

/// What the packet path reads of nearly every packet, in bytes: headers of Ethernet, IPv6 and TCP.
const HEADERS: usize = 14 + 40 + 20;

/// How much is pulled when that is not in one piece: with it, what may follow.
const PULLED: u32 = 256;

/// `BPF_SKB_TSTAMP_DELIVERY_MONO` (include/uapi/linux/bpf.h): a time to leave at, by the clock of `bpf_ktime_get_ns`.
const LEAVES_AT: u32 = 1;

/// The frame of a tc program: its linear part, which holds the headers. It is written by the kernel's helpers, which know who
/// else has it, and in what state its checksum is.
pub struct SkbFrame {
    ctx: *mut __sk_buff,
    bytes: Bytes,
}

impl SkbFrame {
    /// The frame of this context.
    #[inline(always)]
    pub fn of(ctx: *mut __sk_buff) -> Self {
        Self { ctx, bytes: Self::bytes(ctx) }
    }

    /// Its context.
    #[inline(always)]
    pub fn ctx(&self) -> *mut __sk_buff {
        self.ctx
    }

    /// Sees to it that its headers lie in one piece.
    #[inline(always)]
    pub fn pull(ctx: *mut __sk_buff) {
        let Bytes { start, end } = Self::bytes(ctx);
        // SAFETY: the kernel gave this context to the running program.
        let length = unsafe { (*ctx).len };
        if end - start < HEADERS && (end - start) < length as usize {
            // An error means that there is no memory: the packet ends too early then, and is refused as such.
            // SAFETY: a helper that looks at lengths itself; addresses from before are not used again.
            let _: i64 = unsafe { bpf_skb_pull_data(ctx, if length < PULLED { length } else { PULLED }) };
        }
    }

    #[inline(always)]
    fn bytes(ctx: *mut __sk_buff) -> Bytes {
        // SAFETY: the kernel gave this context to the running program.
        unsafe { Bytes { start: (*ctx).data as usize, end: (*ctx).data_end as usize } }
    }

    /// After a helper that may have moved it.
    #[inline(always)]
    pub fn moved(&mut self, result: i64) -> Option<()> {
        self.bytes = Self::bytes(self.ctx);
        if result == 0 { Some(()) } else { None }
    }
}

impl Packet for SkbFrame {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.read(offset)
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()> {
        if offset > MAX_OFFSET {
            return None;
        }
        // SAFETY: the helper reads `N` bytes of this array, and looks itself whether the frame has so many.
        let result = unsafe { bpf_skb_store_bytes(self.ctx, offset as u32, bytes.as_ptr().cast(), N as u32, 0) };
        self.moved(result)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the kernel gave this context to the running program.
        unsafe { (*self.ctx).len as usize }
    }

    /// Where it lies does not matter to whoever sends it on: the stack does.
    #[inline(always)]
    fn is_scattered(&self) -> bool {
        false
    }

    #[inline(always)]
    fn merged(&self) -> u32 {
        // SAFETY: the kernel gave this context to the running program.
        unsafe { (*self.ctx).gso_size }
    }

    /// It goes on by tc, through the queue of the device that it leaves by, if it came in by a port of a bridge.
    #[inline(always)]
    fn can_wait(&self) -> bool {
        // SAFETY: the kernel gave this context to the running program.
        unsafe { (*self.ctx).ingress_ifindex != 0 }
    }

    /// `bpf_redirect` leaves both alone: a time to leave at is no time of arrival (`skb_clear_tstamp` of
    /// include/linux/skbuff.h), and the priority is `htb`'s first look (`htb_classify` of net/sched/sch_htb.c). A container
    /// cannot choose its class by `SO_PRIORITY`: what comes out of a veth has none (`____dev_forward_skb`).
    #[inline(always)]
    fn wait(&mut self, class: u16, delay_ns: u32) {
        if class != 0 {
            // SAFETY: the kernel gave this context to the running program.
            unsafe { (*self.ctx).priority = Class::QUEUE | u32::from(class) };
        }
        if delay_ns != 0 {
            // SAFETY: helpers that look themselves at what they get. A packet for which there is no time leaves at once.
            unsafe {
                let at = bpf_ktime_get_ns() + u64::from(delay_ns);
                bpf_skb_set_tstamp(self.ctx, at, LEAVES_AT);
            }
        }
    }

    /// Where the checksum is left to a device, the field has the sum of the pseudo-header alone: the addresses are in it, the
    /// rest is not.
    #[inline(always)]
    fn correct(&mut self, offset: usize, addresses: Delta, others: Delta, tcp: bool) -> Option<()> {
        let udp = if tcp { 0 } else { u64::from(BPF_F_MARK_MANGLED_0) };
        let offset = offset as u32;
        let (addresses, others) = (u64::from(addresses.folded32()), u64::from(others.folded32()));
        // SAFETY: a helper that looks itself whether the frame has the field.
        let result = unsafe { bpf_l4_csum_replace(self.ctx, offset, 0, addresses, u64::from(BPF_F_PSEUDO_HDR) | udp) };
        self.moved(result)?;
        // SAFETY: likewise.
        let result = unsafe { bpf_l4_csum_replace(self.ctx, offset, 0, others, udp) };
        self.moved(result)
    }

    #[inline(always)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        // SAFETY: a helper that makes room, or fails.
        let result = unsafe { bpf_skb_change_head(self.ctx, bytes as u32, 0) };
        self.moved(result)
    }

    /// Tags are beside the frame here, and nothing else is ever taken from its beginning.
    #[inline(always)]
    fn shrink(&mut self, _: usize) -> Option<()> {
        None
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) -> Option<()> {
        if length > self.length() {
            return None;
        }
        // SAFETY: a helper that looks at lengths itself.
        let result = unsafe { bpf_skb_change_tail(self.ctx, length as u32, 0) };
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
