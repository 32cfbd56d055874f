//! A source of live frames, what they are sent through for comparison, and a sink that counts them.
//!
//! `BPF_PROG_TEST_RUN` with `BPF_F_TEST_XDP_LIVE_FRAMES` (Linux 5.18) runs a program on frames of its own and has them leave
//! by the device that is named as their ingress. A frame is used again as its last receiver left it, so all of it is
//! written anew each time.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use lb_common::Packet;

use crate::frame::{XdpFrame, opaque};
use crate::{delivery, tables};

/// Two frames, which differ in the source address; the source port is 0, the transport checksum is of that. One of IPv4 has
/// 64 bytes here, one of IPv6 has 80.
#[map]
static BENCH_FRAMES: Array<[u8; FRAME]> = Array::with_max_entries(2, 0);

/// 0 → the number of flows less one, 1 → where the source port is in the frame. The flows are a power of two, at most
/// 65,536.
#[map]
static BENCH_FLOWS: Array<u32> = Array::with_max_entries(2, 0);

/// 0 → frames that were generated, 1 → frames that came back.
#[map]
static BENCH_COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// The longest frame.
const FRAME: usize = 80;
/// The frame's part that every frame has, and what follows in the shorter and in the longer ones.
const BEGINNING: usize = 40;
const SHORT: usize = 24;
/// From the source port to the checksum in a TCP header (RFC 9293 §3.1).
const TO_CHECKSUM: usize = 16;
/// Flows of one source address, as a power of two, and their first port.
const PORT_BITS: u64 = 15;
const FIRST_PORT: u16 = 1024;

const GENERATED: u32 = 0;
const ARRIVED: u32 = 1;

/// Counts one more on this CPU, and says how many there were.
#[inline(always)]
fn count(what: u32) -> u64 {
    let Some(count) = BENCH_COUNTS.get_ptr_mut(what) else { return 0 };
    // SAFETY: this CPU's own element, which no other program of this CPU interrupts.
    unsafe {
        let before = *count;
        *count = before + 1;
        before
    }
}

/// Writes the next flow's frame.
#[inline(always)]
fn write(packet: &mut XdpFrame, length: usize) -> Option<()> {
    let flow = count(GENERATED) & u64::from(*BENCH_FLOWS.get(0)?);
    let port_at = *BENCH_FLOWS.get(1)? as usize;
    let frame = BENCH_FRAMES.get((flow >> PORT_BITS) as u32)?;
    packet.write::<BEGINNING>(0, *frame.first_chunk()?)?;
    // Opaque: from this the compiler would know that the frame is long enough, and leave out what the verifier wants to see.
    if opaque(length) < FRAME {
        packet.write::<SHORT>(BEGINNING, *frame.get(BEGINNING..)?.first_chunk()?)?;
    } else {
        packet.write::<BEGINNING>(BEGINNING, *frame.get(BEGINNING..)?.first_chunk()?)?;
    }
    let port = FIRST_PORT + (flow & ((1 << PORT_BITS) - 1)) as u16;
    packet.write(port_at, port.to_be_bytes())?;
    // RFC 1624: the sum of what is there now and of what it takes the place of, which is 0.
    let sum = u32::from(!u16::from_be_bytes(packet.read(port_at + TO_CHECKSUM)?)) + u32::from(port);
    let sum = (sum & 0xffff) + (sum >> 16);
    packet.write(port_at + TO_CHECKSUM, (!(sum as u16)).to_be_bytes())
}

/// Makes of any frame of 64 or 80 bytes the next flow's, and sends it.
#[xdp]
pub fn bench_generate(ctx: XdpContext) -> u32 {
    let mut packet = XdpFrame::of(ctx.ctx);
    let length = ctx.data_end() - ctx.data();
    match write(&mut packet, length) {
        Some(()) => XDP_TX,
        None => XDP_ABORTED,
    }
}

/// Swaps the Ethernet addresses.
#[inline(always)]
fn swap(packet: &mut XdpFrame) -> Option<()> {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = packet.read::<12>(0)?;
    packet.write(0, [g, h, i, j, k, l, a, b, c, d, e, f])
}

/// The least that a program can do for a frame: swaps its Ethernet addresses and sends it back.
#[xdp(frags)]
pub fn bench_bounce(ctx: XdpContext) -> u32 {
    if swap(&mut XdpFrame::of(ctx.ctx)).is_some() { XDP_TX } else { XDP_DROP }
}

/// The same by redirection into the device that the frame came in by, as Weir does with a veth.
#[xdp(frags)]
pub fn bench_redirect(ctx: XdpContext) -> u32 {
    if swap(&mut XdpFrame::of(ctx.ctx)).is_some() { delivery::redirect(tables::ingress(ctx.ctx)) } else { XDP_DROP }
}

/// Counts frames of IP and drops them. What finds neighbours passes.
#[xdp(frags)]
pub fn bench_sink(ctx: XdpContext) -> u32 {
    let packet = XdpFrame::of(ctx.ctx);
    match packet.read::<2>(12) {
        Some([0x08, 0x00]) => {}
        // ICMPv6 is how IPv6 finds neighbours (RFC 4861).
        Some([0x86, 0xdd]) if packet.read::<1>(20) != Some([58]) => {}
        _ => return XDP_PASS,
    }
    count(ARRIVED);
    XDP_DROP
}
