//! The packet path of tc programs: of what containers and this host send.

use super::*;

packet_steps!(__sk_buff, SkbFrame, SkbMaps, {
    parse: weir_skb_parse,
    choose: weir_skb_choose,
    quic: weir_skb_quic,
    snat: weir_skb_snat,
    reply: weir_skb_reply,
    send: weir_skb_send,
    send_back: weir_skb_send_back,
    icmp: weir_skb_icmp,
    way_back: weir_skb_way_back,
    way_there: weir_skb_way_there,
    translate_error: weir_skb_translate_error,
    set_tos: weir_skb_set_tos,
    depart: weir_skb_depart,
    sum: weir_skb_sum,
    answer: weir_skb_answer
}, {
    /// The network brings what goes into a tunnel back to XDP.
    #[inline(always)]
    fn wrap(&self, _: &mut SkbFrame, _: &Headers, _: &Backend) -> Outcome {
        Err(Refusal::NoWay.into())
    }
});

/// What becomes of a frame that came in by a port of a bridge.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_from_port(ctx: *mut __sk_buff, ingress_ifindex: u32) -> u64 {
    let Some(scratch) = tables::scratch() else { return NOTHING };
    verdict::pack(Ok(decide::from_port(&mut SkbFrame::of(ctx), &SkbMaps::of(ctx), scratch, ingress_ifindex)))
}

/// What becomes of a frame that this host sends.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_from_host(ctx: *mut __sk_buff) -> u64 {
    let Some(scratch) = tables::scratch() else { return NOTHING };
    verdict::pack(Ok(decide::from_host(&mut SkbFrame::of(ctx), &SkbMaps::of(ctx), scratch)))
}

/// Whether it was looked at.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_observe(ctx: *mut __sk_buff) -> u32 {
    let Some(scratch) = tables::scratch() else { return 0 };
    decide::observe_egress(&SkbFrame::of(ctx), &SkbMaps::of(ctx), &mut scratch.headers);
    1
}

/// What becomes of a frame that came in by a port of a bridge: a packet of a container's.
#[inline(always)]
pub fn from_port(ctx: *mut __sk_buff, ingress_ifindex: u32) -> Verdict {
    said(weir_from_port(ctx, ingress_ifindex))
}

/// What becomes of a frame that this host sends.
#[inline(always)]
pub fn from_host(ctx: *mut __sk_buff) -> Verdict {
    said(weir_from_host(ctx))
}

/// Looks at a frame that this host sends on for others.
#[inline(always)]
pub fn observe(ctx: *mut __sk_buff) {
    weir_observe(ctx);
}

#[inline(always)]
fn said(word: u64) -> Verdict {
    verdict::unpack(word).unwrap_or_else(|stop| Verdict::Refused(stop.refusal))
}
