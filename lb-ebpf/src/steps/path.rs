//! The packet path of XDP programs.

use super::*;

packet_steps!(xdp_md, XdpFrame, XdpMaps, {
    parse: weir_parse,
    choose: weir_choose,
    quic: weir_quic,
    snat: weir_snat,
    reply: weir_reply,
    send: weir_send,
    send_back: weir_send_back,
    icmp: weir_icmp,
    way_back: weir_way_back,
    way_there: weir_way_there,
    translate_error: weir_translate_error,
    set_tos: weir_set_tos,
    depart: weir_depart,
    sum: weir_sum,
    answer: weir_answer
}, {
    #[inline(always)]
    fn kept(&self, packet: &XdpFrame, service: u32, v4: bool) -> Option<u32> {
        let kept = if v4 { weir_kept_v4(packet.ctx(), service) } else { weir_kept_v6(packet.ctx(), service) };
        if kept == Slot::NOBODY { None } else { Some(kept) }
    }

    #[inline(always)]
    fn onwards(&self, packet: &mut XdpFrame, service: u32, backend: u32, v4: bool) -> Option<Verdict> {
        unpack_fast(if v4 {
            weir_onwards_v4(packet.ctx(), service, backend)
        } else {
            weir_onwards_v6(packet.ctx(), service, backend)
        })
    }

    #[inline(always)]
    fn wrap(&self, packet: &mut XdpFrame, headers: &Headers, backend: &Backend) -> Outcome {
        verdict::unpack(weir_wrap(packet.ctx(), headers, backend))
    }

});
