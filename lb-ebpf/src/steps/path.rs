//! The packet path's steps, as calls of the functions beside this file.

use super::*;

impl Path<XdpFrame> for Maps {
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
    fn row(&self, id: u32, row: &mut Backend) -> bool {
        weir_row(id, row) != 0
    }

    #[inline(always)]
    fn read(&self, packet: &XdpFrame, headers: &mut Headers) -> Result<(), Refusal> {
        decode(weir_parse(packet.ctx(), headers))
    }

    #[inline(always)]
    fn admit(&self, headers: &Headers, service: u32) -> Result<(), Refusal> {
        decode(weir_admit(headers, service))
    }

    #[inline(always)]
    fn choose(
        &self,
        packet: &XdpFrame,
        headers: &Headers,
        service: u32,
        claimed: u32,
        memo: &mut Memo,
    ) -> Result<Choice, Refusal> {
        Choice::unpack(weir_choose(packet.ctx(), headers, service, claimed, memo))
    }

    #[inline(always)]
    fn quic(&self, packet: &XdpFrame, headers: &Headers, service: u32) -> u32 {
        weir_quic(packet.ctx(), headers, service)
    }

    #[inline(always)]
    fn snat_port(
        &self,
        packet: &XdpFrame,
        headers: &Headers,
        service: u32,
        backend: u32,
        found: &mut Snat,
    ) -> Result<(), Refusal> {
        decode(weir_snat(packet.ctx(), headers, service, backend, found))
    }

    #[inline(always)]
    fn remember(&self, headers: &Headers, course: &Course, always: bool) {
        weir_remember(headers, course, always);
    }

    #[inline(always)]
    fn note_direct(&self, headers: &Headers, endpoint: &Endpoint) {
        weir_note_direct(headers, endpoint);
    }

    #[inline(always)]
    fn take_port(&self, base: u32, spread: u64) -> u32 {
        weir_take_port(base, spread)
    }

    #[inline(always)]
    fn claim_port(&self, key: &FlowKey, snat: &mut Snat, base: u32) -> bool {
        weir_claim_port(key, snat, base) != 0
    }

    #[inline(always)]
    fn release_port(&self, key: &FlowKey, snat: &Snat) {
        weir_release_port(key, snat);
    }

    #[inline(always)]
    fn reply(
        &self,
        packet: &XdpFrame,
        headers: &Headers,
        endpoint: &Endpoint,
        back: &mut Return,
    ) -> Result<(), Refusal> {
        decode(weir_reply(packet.ctx(), headers, endpoint, back))
    }

    #[inline(always)]
    fn send(&self, packet: &mut XdpFrame, headers: &Headers, course: &Course, backend: &Backend) -> Outcome {
        verdict::unpack(weir_send(packet.ctx(), headers, course, backend))
    }

    #[inline(always)]
    fn send_back(&self, packet: &mut XdpFrame, headers: &Headers, back: &Return, exit: &Exit) -> Outcome {
        verdict::unpack(weir_send_back(packet.ctx(), headers, back, exit))
    }

    #[inline(always)]
    fn wrap(&self, packet: &mut XdpFrame, headers: &Headers, backend: &Backend) -> Outcome {
        verdict::unpack(weir_wrap(packet.ctx(), headers, backend))
    }

    #[inline(always)]
    fn begin_datagram(&self, headers: &Headers, datagram: &Datagram) -> Result<u32, Refusal> {
        let word = weir_datagram(headers, datagram);
        decode((word >> 32) as u32)?;
        Ok(word as u32)
    }

    #[inline(always)]
    fn later_fragment(&self, headers: &Headers, datagram: &mut Datagram) -> Result<(), Refusal> {
        decode(weir_fragment(headers, datagram))
    }

    #[inline(always)]
    fn icmp(&self, packet: &XdpFrame, headers: &Headers, quoted: &mut Headers) -> Result<bool, Refusal> {
        match weir_icmp(packet.ctx(), headers, quoted).checked_sub(TO_BACKEND) {
            None => Ok(false),
            Some(code) => decode(code).map(|()| true),
        }
    }

    #[inline(always)]
    fn error_backend(&self, headers: &Headers, quoted: &Headers, course: &mut Course) -> Result<(), Refusal> {
        decode(weir_error_backend(headers, quoted, course))
    }

    #[inline(always)]
    fn error_client(&self, headers: &Headers, quoted: &Headers, back: &mut Return) -> Result<(), Refusal> {
        decode(weir_error_client(headers, quoted, back))
    }

    #[inline(always)]
    fn way_back(&self, packet: &XdpFrame, headers: &Headers, back: &Return, exit: &mut Exit) -> Result<(), Stop> {
        finished(weir_way_back(packet.ctx(), headers, back, exit))
    }

    #[inline(always)]
    fn way_there(
        &self,
        packet: &XdpFrame,
        headers: &Headers,
        course: &Course,
        backend: &Backend,
        exit: &mut Exit,
    ) -> Result<(), Stop> {
        finished(weir_way_there(packet.ctx(), headers, course, backend, exit))
    }

    #[inline(always)]
    fn translate_error(
        &self,
        packet: &mut XdpFrame,
        headers: &Headers,
        quoted: &Headers,
        quote: &Quote,
    ) -> Result<(), Refusal> {
        decode(weir_translate_error(packet.ctx(), headers, quoted, quote))
    }

    #[inline(always)]
    fn depart(&self, packet: &mut XdpFrame, headers: &Headers, exit: &Exit) -> Outcome {
        verdict::unpack(weir_depart(packet.ctx(), headers, exit))
    }

    #[inline(always)]
    fn sum(&self, packet: &XdpFrame, at: usize, length: usize) -> Option<Sum> {
        u16::try_from(weir_sum(packet.ctx(), at as u32, length as u32)).ok().map(|sum| Sum::none().add16(sum))
    }

    #[inline(always)]
    fn answer(&self, packet: &mut XdpFrame, headers: &Headers, stop: Stop, ingress_ifindex: u32) -> Verdict {
        match verdict::unpack(weir_answer(
            packet.ctx(),
            headers,
            stop.refusal as u32,
            u32::from(stop.mtu),
            ingress_ifindex,
        )) {
            Ok(verdict) => verdict,
            Err(stop) => Verdict::Refused(stop.refusal),
        }
    }
}

/// What the host sends is only looked at.
impl Path<SkbFrame> for Maps {}
