//! Weir's programs in the kernel: context in, `lb_common` decides, verdict out.
//!
//! The crate holds the maps and the only `unsafe` of the packet path: `frame` and `skb` for packets, `delivery` for where
//! they go, `tables` for maps, `cells` for those of their elements that several write at once, `steps` for the structures
//! that functions of the kernel's hand over.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(
    internal_features,
    reason = "whether an offset is known decides how it is checked; there is no other way to ask"
)]

#[cfg(feature = "bench")]
mod bench;
mod buckets;
mod cells;
mod delivery;
mod flows;
mod frame;
mod object;
#[cfg(feature = "record")]
mod record;
mod skb;
mod steps;
mod tables;
mod trace;

use aya_ebpf::bindings::tcx_action_base::{TCX_DROP, TCX_NEXT};
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use lb_common::Verdict;
use lb_common::abi::{Delivery, DeviceFlags, Note};
use lb_common::refusal::Action;

use crate::skb::SkbFrame;

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
                Verdict::Transmit { ifindex, redirect: _ } => delivery::redirect(ifindex),
                Verdict::Hand { ifindex, delivery } => {
                    delivery::hand(ctx, ifindex, delivery);
                    XDP_PASS
                }
                Verdict::Stack => {
                    delivery::hand(ctx, 0, Delivery::STACK);
                    XDP_PASS
                }
                Verdict::Refused(refusal) => match refusal.action() {
                    Action::Pass => XDP_PASS,
                    Action::Drop | Action::Answer => XDP_DROP,
                },
            }
        },
    )
}

/// What this host itself sends to VIPs, on every attached device's egress; and notes flows that start here. What it sends on for
/// others is looked at and never changed.
#[classifier]
pub fn weir_egress(ctx: TcContext) -> i32 {
    let ctx = ctx.skb.skb;
    // A frame that was rewritten on another device is on its way.
    if delivery::is_rewritten(ctx) {
        return TCX_NEXT;
    }
    SkbFrame::pull(ctx);
    // Where it goes from here its tag is not known: one that has a tag is only looked at.
    if delivery::is_from_host(ctx) && !delivery::is_tagged(ctx) {
        act(ctx, steps::from_host(ctx), false)
    } else {
        // What came in by an attached device was seen there, and may have been translated since: by Weir, or, on its way to a
        // container, by the firewall, for a published port.
        if !tables::was_seen(ctx) || tables::device_at(ctx).1 & DeviceFlags::BRIDGE != 0 {
            steps::observe(ctx);
        }
        TCX_NEXT
    }
}

/// Puts what XDP handed over where it goes, on every attached device; and the packet path, on the ports of bridges.
#[classifier]
pub fn weir_ingress(ctx: TcContext) -> i32 {
    let ctx = ctx.skb.skb;
    let (ifindex, flags) = tables::device_at(ctx);
    if flags & DeviceFlags::PORT == 0 {
        return match delivery::handed(ctx) {
            Some(Note { delivery, ifindex }) => delivery::deliver(ctx, delivery, ifindex, true),
            None => TCX_NEXT,
        };
    }
    if delivery::is_tagged(ctx) {
        return TCX_NEXT;
    }
    delivery::unmark(ctx);
    SkbFrame::pull(ctx);
    act(ctx, steps::from_port(ctx, ifindex), true)
}

/// What becomes of a frame of tc's.
#[inline(always)]
fn act(ctx: *mut __sk_buff, verdict: Verdict, at_ingress: bool) -> i32 {
    match verdict {
        Verdict::Transmit { ifindex, redirect: _ } => delivery::deliver(ctx, Delivery::PORT, ifindex, at_ingress),
        Verdict::Hand { ifindex, delivery } => delivery::deliver(ctx, delivery, ifindex, at_ingress),
        // It is marked as rewritten: to whoever looks at what leaves it would be a flow past the service.
        Verdict::Stack => delivery::deliver(ctx, Delivery::STACK, 0, at_ingress),
        Verdict::Refused(refusal) => match refusal.action() {
            Action::Pass => TCX_NEXT,
            Action::Drop | Action::Answer => TCX_DROP,
        },
    }
}
