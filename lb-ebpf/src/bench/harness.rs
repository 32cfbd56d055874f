//! One packet after another through the packet path.
//!
//! `BPF_PROG_TEST_RUN` repeats a program on one and the same frame: from the second time on a balancer would see its own
//! output. The harness calls its subject, takes back what that has put in front, and writes the frame anew, with the next flow
//! in it. All of this is in the floor, too.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::bindings::xdp_action::{XDP_PASS, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;

use crate::frame::{copy_to, opaque};

/// 64-bit words of a frame that are written anew each time: Ethernet, IPv6, TCP.
const WORDS: usize = 10;

/// Spreads counting over all flows: an odd number, so that every flow comes once in as many packets as there are flows.
const STRIDE: u32 = 0x9e37_79b1;

/// Flows are told apart by so many bits of the source port, and by the source address above them.
const PORT_BITS: u32 = 15;

/// What the loader says of the frames. The layout is tests/benches/speed/packet/driver.rs's, too.
#[repr(C)]
#[derive(Clone, Copy)]
struct Work {
    /// The frame's first bytes.
    template: [u64; WORDS],
    /// The number of flows less one; the number is a power of two.
    mask: u32,
    /// 1 for IPv4, 0 for IPv6.
    v4: u32,
    /// The last four bytes of the first source address.
    address: u32,
    /// The frame's length.
    length: u32,
    /// How many packets there were.
    count: u64,
    /// How many of them were not given the verdict that was expected, and which that is.
    unexpected: u64,
    expected: u32,
    pad: u32,
}

const _: () = assert!(size_of::<Work>() == 120);

#[map]
static WORK: Array<Work> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Begins the frame elsewhere.
#[inline(always)]
fn move_head(ctx: *mut xdp_md, by: i32) -> bool {
    // SAFETY: the kernel checks the distance; every address into the frame is taken anew after it.
    unsafe { bpf_xdp_adjust_head(ctx, by) == 0 }
}

/// The frame's beginning and end.
#[inline(always)]
fn bounds(ctx: *mut xdp_md) -> (usize, usize) {
    // SAFETY: the kernel gave this context to the running program.
    unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) }
}

#[inline(always)]
fn run(ctx: *mut xdp_md, subject: extern "C" fn(*mut xdp_md) -> u32) -> u32 {
    let Some(work) = WORK.get_ptr_mut(0) else { return XDP_PASS };
    // SAFETY: the bench runs one program at a time, on one CPU.
    let work = unsafe { &mut *work };
    let verdict = subject(ctx);
    if verdict != work.expected {
        work.unexpected += 1;
    }
    let (start, end) = bounds(ctx);
    let longer = opaque(end - start) as i32 - work.length as i32;
    if longer != 0 && !move_head(ctx, longer) {
        return XDP_PASS;
    }
    // The next packet, and not this one: what a program reads has been in memory for a while, and not been written a moment
    // ago by the same processor, which has to wait then for its own stores.
    let (start, end) = bounds(ctx);
    if start + 8 * WORDS > end {
        return XDP_PASS;
    }
    work.count += 1;
    let flow = (work.count as u32).wrapping_mul(STRIDE) & work.mask;
    for (word, value) in work.template.iter().enumerate() {
        // SAFETY: compared with the frame's end above.
        unsafe { copy_to::<0, 8>((start as *mut u8).add(8 * word), value.to_ne_bytes()) };
    }
    let address = work.address.wrapping_add(flow >> PORT_BITS).to_be_bytes();
    let port = (1024 + (flow & ((1 << PORT_BITS) - 1)) as u16).to_be_bytes();
    let (address_at, port_at) = if work.v4 != 0 { (26, 34) } else { (34, 54) };
    // SAFETY: both lie in what was compared with the frame's end.
    unsafe {
        copy_to::<0, 4>((start + address_at) as *mut u8, address);
        copy_to::<0, 2>((start + port_at) as *mut u8, port);
    }
    verdict
}

/// The packet path.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_subject(ctx: *mut xdp_md) -> u32 {
    crate::packet(ctx)
}

/// What every encapsulation does at least: 20 bytes in front, and back out.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_push(ctx: *mut xdp_md) -> u32 {
    move_head(ctx, -20);
    XDP_TX
}

/// The packet path, and the clock's reading.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_clock(ctx: *mut xdp_md) -> u32 {
    // SAFETY: takes nothing and returns a number. The verifier keeps the call, though nobody looks at what it says.
    unsafe { bpf_ktime_get_ns() };
    crate::packet(ctx)
}

/// Nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_nothing(ctx: *mut xdp_md) -> u32 {
    // SAFETY: the kernel gave this context to the running program. The read keeps the argument in the function's type.
    unsafe { (&raw const (*ctx).rx_queue_index).read_volatile() };
    XDP_PASS
}

/// The packet path, one flow after another.
#[xdp(frags)]
pub fn weir_bench(ctx: XdpContext) -> u32 {
    run(ctx.ctx, weir_subject)
}

/// The floor of what is forwarded.
#[xdp(frags)]
pub fn weir_bench_push(ctx: XdpContext) -> u32 {
    run(ctx.ctx, weir_push)
}

/// What the clock's reading adds to it.
#[xdp(frags)]
pub fn weir_bench_clock(ctx: XdpContext) -> u32 {
    run(ctx.ctx, weir_clock)
}

/// The floor of what passes.
#[xdp(frags)]
pub fn weir_bench_nothing(ctx: XdpContext) -> u32 {
    run(ctx.ctx, weir_nothing)
}
