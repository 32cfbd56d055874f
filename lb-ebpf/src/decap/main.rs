//! The programs of `weir decap`, for a backend's host: an object of their own, with maps of their own.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(
    internal_features,
    reason = "whether an offset is known decides how it is checked; there is no other way to ask"
)]

#[path = "../frame.rs"]
#[allow(dead_code, reason = "shared with the other object, which uses all of it")]
mod frame;
#[path = "../object.rs"]
mod object;
mod outgoing;
#[path = "../skb.rs"]
#[allow(dead_code, reason = "shared with the other object, which uses all of it")]
mod skb;
mod tables;

use aya_ebpf::bindings::tcx_action_base::TCX_NEXT;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use lb_common::decap::{Action, clamp, unwrap};

use crate::frame::XdpFrame;
use crate::skb::SkbFrame;
use crate::tables::Maps;

/// Takes packets out of their tunnel, on the device's ingress.
#[xdp(frags)]
pub fn weir_decap(ctx: XdpContext) -> u32 {
    match unwrap(&mut XdpFrame::of(ctx.ctx), &Maps).action() {
        Action::Pass | Action::Unwrap => XDP_PASS,
        Action::Drop => XDP_DROP,
    }
}

/// Lowers the MSS of SYN-ACKs, on the device's egress. Every frame goes on.
#[classifier]
pub fn weir_clamp(ctx: TcContext) -> i32 {
    // What became of it is counted.
    clamp(&mut SkbFrame::of(ctx.skb.skb), &Maps);
    TCX_NEXT
}
