//! Weir's programs in the kernel: context in, `lb_common` decides, verdict out.
//!
//! The crate holds the maps and the only `unsafe` of the packet path: `frame` for packets, `tables` for maps, `cells` for
//! those of their elements that several write at once, `steps` for the structures that functions of the kernel's hand over.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(
    internal_features,
    reason = "whether an offset is known decides how it is checked; there is no other way to ask"
)]

#[cfg(feature = "bench")]
mod bench;
mod cells;
mod flows;
mod frame;
mod object;
mod steps;
mod tables;
mod trace;

use aya_ebpf::bindings::tcx_action_base::TCX_NEXT;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use lb_common::Verdict;
use lb_common::refusal::Action;

use crate::frame::SkbFrame;
use crate::tables::Maps;

/// The packet path, on every attached device's ingress.
#[xdp(frags)]
pub fn weir_xdp(ctx: XdpContext) -> u32 {
    packet(ctx.ctx)
}

/// One packet: context in, verdict out.
#[inline(always)]
fn packet(ctx: *mut xdp_md) -> u32 {
    #[cfg(feature = "another")]
    tables::nothing();
    steps::decide_on(
        ctx,
        #[inline(always)]
        |verdict| {
            trace::verdict(ctx, verdict);
            match verdict {
                Verdict::Transmit { ifindex, redirect: false } if ifindex == tables::ingress(ctx) => XDP_TX,
                Verdict::Transmit { ifindex, redirect: _ } => tables::redirect(ifindex),
                Verdict::Stack => XDP_PASS,
                Verdict::Refused(refusal) => match refusal.action() {
                    Action::Pass => XDP_PASS,
                    Action::Drop | Action::Answer => XDP_DROP,
                },
            }
        },
    )
}

/// Notes flows that start on this host, on every attached device's egress. Never changes a packet.
#[classifier]
pub fn weir_egress(ctx: TcContext) -> i32 {
    // What came in by an attached device was seen there, and may have been translated since.
    if !tables::was_seen(&ctx) {
        lb_common::observe_egress(&SkbFrame::of(&ctx), &Maps::of(ctx.skb.skb));
    }
    TCX_NEXT
}
