//! The steps that look at a packet, once for the frames of XDP and once for those of tc.

/// Functions of the kernel's that get a context, and the packet path that calls them.
macro_rules! packet_steps {
    ($context:ident, $frame:ident, $maps:ident, {
        parse: $parse:ident, choose: $choose:ident, quic: $quic:ident, snat: $snat:ident, reply: $reply:ident, send: $send:ident, send_back: $send_back:ident, icmp: $icmp:ident, way_back: $way_back:ident, way_there: $way_there:ident, translate_error: $translate_error:ident, set_tos: $set_tos:ident, depart: $depart:ident, sum: $sum:ident, answer: $answer:ident
    }, { $($more:tt)* }) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $parse(ctx: *mut $context, headers: *mut Headers) -> u32 {
            let headers = given!(mut headers or code(Err(Refusal::Truncated)));
            code(parse::parse(&$frame::of(ctx), headers))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $choose(
            ctx: *mut $context,
            headers: *const Headers,
            service: u32,
            claimed: u32,
            memo: *mut Memo,
        ) -> u64 {
            let headers = given!(headers or Choice::pack(Err(Refusal::Malformed)));
            let memo = given!(mut memo or Choice::pack(Err(Refusal::Malformed)));
            Choice::pack(request::choose(&$frame::of(ctx), &$maps::of(ctx), headers, service, claimed, memo))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $quic(ctx: *mut $context, headers: *const Headers, service: u32) -> u32 {
            let headers = given!(headers or Slot::NOBODY);
            quic::server(&$frame::of(ctx), &$maps::of(ctx), headers, service)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $snat(
            ctx: *mut $context,
            headers: *const Headers,
            service: u32,
            backend: u32,
            found: *mut Snat,
        ) -> u32 {
            let headers = given!(headers or code(Err(Refusal::Malformed)));
            let found = given!(mut found or code(Err(Refusal::Malformed)));
            code(snat::port(&$frame::of(ctx), &$maps::of(ctx), headers, service, backend, found))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $reply(
            ctx: *mut $context,
            headers: *const Headers,
            endpoint: *const Endpoint,
            back: *mut Return,
        ) -> u32 {
            let headers = given!(headers or code(Err(Refusal::Malformed)));
            let endpoint = given!(endpoint or code(Err(Refusal::Malformed)));
            let back = given!(mut back or code(Err(Refusal::Malformed)));
            code(reply::reply(&$frame::of(ctx), &$maps::of(ctx), headers, endpoint, back))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $send(
            ctx: *mut $context,
            headers: *const Headers,
            course: *const Course,
            backend: *const Backend,
        ) -> u64 {
            let headers = given!(headers or NOTHING);
            let course = given!(course or NOTHING);
            let backend = given!(backend or NOTHING);
            verdict::pack(forward::send(&mut $frame::of(ctx), &$maps::of(ctx), headers, course, backend))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $send_back(ctx: *mut $context, headers: *const Headers, back: *const Return, exit: *const Exit) -> u64 {
            let headers = given!(headers or NOTHING);
            let back = given!(back or NOTHING);
            let exit = given!(exit or NOTHING);
            verdict::pack(forward::send_back(&mut $frame::of(ctx), &$maps::of(ctx), headers, back, exit))
        }

        /// 0 for an error that a client is to get; 1 for one that is a backend's; or a refusal's number plus two.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $icmp(ctx: *mut $context, headers: *const Headers, quoted: *mut Headers) -> u32 {
            let headers = given!(headers or TO_BACKEND + code(Err(Refusal::Malformed)));
            let quoted = given!(mut quoted or TO_BACKEND + code(Err(Refusal::Malformed)));
            match icmp::message(&$frame::of(ctx), &$maps::of(ctx), headers, quoted) {
                Ok(to_backend) => u32::from(to_backend),
                Err(refusal) => TO_BACKEND + code(Err(refusal)),
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $way_back(ctx: *mut $context, headers: *const Headers, back: *const Return, exit: *mut Exit) -> u64 {
            let headers = given!(headers or NOTHING);
            let back = given!(back or NOTHING);
            let exit = given!(mut exit or NOTHING);
            done(exit::back(&$frame::of(ctx), &$maps::of(ctx), headers, back, exit))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $way_there(
            ctx: *mut $context,
            headers: *const Headers,
            course: *const Course,
            backend: *const Backend,
            exit: *mut Exit,
        ) -> u64 {
            let headers = given!(headers or NOTHING);
            let course = given!(course or NOTHING);
            let backend = given!(backend or NOTHING);
            let exit = given!(mut exit or NOTHING);
            done(exit::there(&$frame::of(ctx), &$maps::of(ctx), headers, course, backend, exit))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $translate_error(
            ctx: *mut $context,
            headers: *const Headers,
            quoted: *const Headers,
            quote: *const Quote,
        ) -> u32 {
            let headers = given!(headers or code(Err(Refusal::Malformed)));
            let quoted = given!(quoted or code(Err(Refusal::Malformed)));
            let quote = given!(quote or code(Err(Refusal::Malformed)));
            code(icmp::translate(&mut $frame::of(ctx), headers, quoted, quote))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $set_tos(ctx: *mut $context, headers: *mut Headers, tos: u8) -> u32 {
            let headers = given!(mut headers or code(Err(Refusal::Malformed)));
            code(mark::set(&mut $frame::of(ctx), headers, tos).ok_or(Refusal::Malformed))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $depart(ctx: *mut $context, headers: *const Headers, exit: *const Exit) -> u64 {
            let headers = given!(headers or NOTHING);
            let exit = given!(exit or NOTHING);
            verdict::pack(exit::depart(&mut $frame::of(ctx), headers, exit))
        }

        /// A sum in sixteen bits, or more than that when there is none.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $sum(ctx: *mut $context, at: u32, length: u32) -> u32 {
            match answer::sum(&$frame::of(ctx), at as usize, length as usize) {
                Some(sum) => u32::from(sum.folded()),
                None => u32::MAX,
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $answer(
            ctx: *mut $context,
            headers: *const Headers,
            refusal: u32,
            mtu: u32,
            ingress_ifindex: u32,
        ) -> u64 {
            let headers = given!(headers or NOTHING);
            let refusal = Refusal::from_index(refusal).unwrap_or(Refusal::Malformed);
            let stop = Stop { refusal, mtu: mtu as u16 };
            verdict::pack(Ok(answer::answer(&mut $frame::of(ctx), &$maps::of(ctx), headers, stop, ingress_ifindex)))
        }

        impl Path<$frame> for $maps {
            #[inline(always)]
            fn row(&self, id: u32, row: &mut Backend) -> bool {
                weir_row(id, row) != 0
            }

            #[inline(always)]
            fn read(&self, packet: &$frame, headers: &mut Headers) -> Result<(), Refusal> {
                decode($parse(packet.ctx(), headers))
            }

            #[inline(always)]
            fn set_tos(&self, packet: &mut $frame, headers: &mut Headers, tos: u8) -> Result<(), Refusal> {
                decode($set_tos(packet.ctx(), headers, tos))
            }

            #[inline(always)]
            fn note_connection(
                &self,
                headers: &Headers,
                flow: &FlowKey,
                asker: &mut Asker,
                said: u32,
            ) -> Result<(), Refusal> {
                decode(weir_note_connection(headers, flow, asker, said))
            }

            #[inline(always)]
            fn admit(&self, headers: &Headers, asker: &Asker) -> Result<Admitted, Refusal> {
                Admitted::unpack(weir_admit(headers, asker))
            }

            #[inline(always)]
            fn choose(
                &self,
                packet: &$frame,
                headers: &Headers,
                service: u32,
                claimed: u32,
                memo: &mut Memo,
            ) -> Result<Choice, Refusal> {
                Choice::unpack($choose(packet.ctx(), headers, service, claimed, memo))
            }

            #[inline(always)]
            fn quic(&self, packet: &$frame, headers: &Headers, service: u32) -> u32 {
                $quic(packet.ctx(), headers, service)
            }

            #[inline(always)]
            fn snat_port(
                &self,
                packet: &$frame,
                headers: &Headers,
                service: u32,
                backend: u32,
                found: &mut Snat,
            ) -> Result<(), Refusal> {
                decode($snat(packet.ctx(), headers, service, backend, found))
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
                packet: &$frame,
                headers: &Headers,
                endpoint: &Endpoint,
                back: &mut Return,
            ) -> Result<(), Refusal> {
                decode($reply(packet.ctx(), headers, endpoint, back))
            }

            #[inline(always)]
            fn send(&self, packet: &mut $frame, headers: &Headers, course: &Course, backend: &Backend) -> Outcome {
                verdict::unpack($send(packet.ctx(), headers, course, backend))
            }

            #[inline(always)]
            fn send_back(&self, packet: &mut $frame, headers: &Headers, back: &Return, exit: &Exit) -> Outcome {
                verdict::unpack($send_back(packet.ctx(), headers, back, exit))
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
            fn icmp(&self, packet: &$frame, headers: &Headers, quoted: &mut Headers) -> Result<bool, Refusal> {
                match $icmp(packet.ctx(), headers, quoted).checked_sub(TO_BACKEND) {
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
            fn way_back(&self, packet: &$frame, headers: &Headers, back: &Return, exit: &mut Exit) -> Result<(), Stop> {
                finished($way_back(packet.ctx(), headers, back, exit))
            }

            #[inline(always)]
            fn way_there(
                &self,
                packet: &$frame,
                headers: &Headers,
                course: &Course,
                backend: &Backend,
                exit: &mut Exit,
            ) -> Result<(), Stop> {
                finished($way_there(packet.ctx(), headers, course, backend, exit))
            }

            #[inline(always)]
            fn translate_error(
                &self,
                packet: &mut $frame,
                headers: &Headers,
                quoted: &Headers,
                quote: &Quote,
            ) -> Result<(), Refusal> {
                decode($translate_error(packet.ctx(), headers, quoted, quote))
            }

            #[inline(always)]
            fn depart(&self, packet: &mut $frame, headers: &Headers, exit: &Exit) -> Outcome {
                verdict::unpack($depart(packet.ctx(), headers, exit))
            }

            #[inline(always)]
            fn sum(&self, packet: &$frame, at: usize, length: usize) -> Option<Sum> {
                u16::try_from($sum(packet.ctx(), at as u32, length as u32)).ok().map(|sum| Sum::none().add16(sum))
            }

            #[inline(always)]
            fn answer(&self, packet: &mut $frame, headers: &Headers, stop: Stop, ingress_ifindex: u32) -> Verdict {
                match verdict::unpack($answer(
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

            $($more)*
        }
    };
}
pub(super) use packet_steps;
