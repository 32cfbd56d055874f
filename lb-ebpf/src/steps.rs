//! The steps of the packet path that are functions of their own in the kernel.
//!
//! They are *global* functions in the verifier's sense (Linux 5.6): each is verified once and alone, whatever it is called
//! with, so that the ways through one are not multiplied by those through another. They get the context, structures by
//! pointer, which the verifier checks against their type, and numbers; they give back a word.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use lb_common::abi::{Backend, Datagram, Endpoint, Flow, FlowKey, Slot, Snat, VipKey};
use lb_common::checksum::Sum;
use lb_common::fast::onwards;
use lb_common::forward::{self, Course, Exit, Return, exit, tunnel};
use lb_common::handover::Memo;
use lb_common::icmp::Quote;
use lb_common::limits::{Admitted, Asker};
use lb_common::refusal::Stop;
use lb_common::request::Choice;
use lb_common::verdict::{self, Outcome};
use lb_common::{
    Headers, Path, Refusal, Tables, Verdict, answer, decide, direct, fast, find, fragment, icmp, mark, parse, quic,
    reply, request, snat,
};

use crate::frame::{XdpFrame, opaque};
use crate::skb::SkbFrame;
use crate::tables::{self, SkbMaps, XdpMaps};

/// For what has no packet, any will do.
type SomeMaps = XdpMaps;

/// A refusal's number plus one, or 0 for none.
#[inline(always)]
fn code(result: Result<(), Refusal>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(refusal) => refusal as u32 + 1,
    }
}

/// The inverse of [`code`].
#[inline(always)]
fn decode(code: u32) -> Result<(), Refusal> {
    if code == 0 {
        return Ok(());
    }
    // The compiler would look for what is nearly always 0 among all refusals.
    let index = opaque(code as usize) as u32 - 1;
    Err(Refusal::from_index(index).unwrap_or(Refusal::Malformed))
}

/// What a function says that was called without one of its structures, which never happens.
const NOTHING: u64 = verdict::pack(Err(Stop { refusal: Refusal::Malformed, mtu: 0 }));

/// What a step comes to that only finds something; see [`finished`].
#[inline(always)]
fn done(result: Result<(), Stop>) -> u64 {
    verdict::pack(result.map(|()| Verdict::Stack))
}

/// The inverse of [`done`].
#[inline(always)]
fn finished(word: u64) -> Result<(), Stop> {
    verdict::unpack(word).map(|_| ())
}

/// Reads a structure that the verifier knows to be there, once it was compared with null.
macro_rules! given {
    ($pointer:ident or $otherwise:expr) => {
        // SAFETY: the caller's structure, for as long as the call takes; the verifier checks its size.
        match unsafe { $pointer.as_ref() } {
            Some(given) => given,
            None => return $otherwise,
        }
    };
    (mut $pointer:ident or $otherwise:expr) => {
        // SAFETY: the same; nobody else has it meanwhile.
        match unsafe { $pointer.as_mut() } {
            Some(given) => given,
            None => return $otherwise,
        }
    };
}

mod limits;
mod packet;
mod path;
mod skb;

pub use limits::{ask_limit, ask_one_plain, ask_plain, ask_source, change_gauge, find_bucket};
use limits::{weir_admit, weir_note_connection};
use packet::packet_steps;
pub use skb::{from_host, from_port, observe};

/// What becomes of a frame: [`lb_common::decide()`], whose closer look is a function of its own here. `act` is compiled into
/// each way's end.
#[inline(always)]
pub fn decide_on(ctx: *mut xdp_md, act: impl Fn(Verdict) -> u32 + Copy) -> u32 {
    let mut asked = false;
    if let Some(action) = fast::forward(&mut XdpFrame::of(ctx), &XdpMaps::of(ctx), &mut asked, act) {
        return action;
    }
    match verdict::unpack(weir_closely(ctx, tables::ingress(ctx), asked)) {
        Ok(verdict) => act(verdict),
        Err(stop) => act(Verdict::Refused(stop.refusal)),
    }
}

/// The backend's id, or [`Slot::NOBODY`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_kept_v4(ctx: *mut xdp_md, service: u32) -> u32 {
    onwards::kept(&XdpFrame::of(ctx), &XdpMaps::of(ctx), service, true).unwrap_or(Slot::NOBODY)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_kept_v6(ctx: *mut xdp_md, service: u32) -> u32 {
    onwards::kept(&XdpFrame::of(ctx), &XdpMaps::of(ctx), service, false).unwrap_or(Slot::NOBODY)
}

/// A verdict; or [`LOOK_CLOSELY`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_onwards_v4(ctx: *mut xdp_md, service: u32, backend: u32) -> u64 {
    pack_fast(onwards::onwards(&mut XdpFrame::of(ctx), &XdpMaps::of(ctx), service, backend, true))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_onwards_v6(ctx: *mut xdp_md, service: u32, backend: u32) -> u64 {
    pack_fast(onwards::onwards(&mut XdpFrame::of(ctx), &XdpMaps::of(ctx), service, backend, false))
}

#[inline(always)]
fn pack_fast(verdict: Option<Verdict>) -> u64 {
    verdict.map_or(LOOK_CLOSELY, |verdict| verdict::pack(Ok(verdict)))
}

/// The inverse of [`pack_fast`].
#[inline(always)]
fn unpack_fast(word: u64) -> Option<Verdict> {
    if word == LOOK_CLOSELY { None } else { verdict::unpack(word).ok() }
}

/// See [`weir_onwards_v4`]: no word of [`verdict::pack`]'s.
const LOOK_CLOSELY: u64 = u64::MAX;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_closely(ctx: *mut xdp_md, ingress_ifindex: u32, asked: bool) -> u64 {
    let Some(scratch) = tables::scratch() else { return NOTHING };
    verdict::pack(Ok(decide::closely(&mut XdpFrame::of(ctx), &XdpMaps::of(ctx), scratch, ingress_ifindex, asked)))
}

/// Whether there is a service in the upper half, and its id or what is known of the address in the lower one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_service_at(at: *const VipKey) -> u64 {
    let at = given!(at or 0);
    match find::service_at(&SomeMaps::without_context(), at) {
        Ok(id) => 1 << 32 | u64::from(id),
        Err(known) => u64::from(known),
    }
}

/// The service at an address and port, or what is known of the address.
#[inline(always)]
pub fn service_at(at: &VipKey) -> Result<u32, u32> {
    let word = weir_service_at(at);
    if word >> 32 != 0 { Ok(word as u32) } else { Err(word as u32) }
}

/// Whether a backend listens there.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_endpoint_at(at: *const VipKey, endpoint: *mut Endpoint) -> u32 {
    let at = given!(at or 0);
    let endpoint = given!(mut endpoint or 0);
    u32::from(find::endpoint_at(&SomeMaps::without_context(), at).map(|found| *endpoint = found).is_some())
}

/// The backend that listens at an address and port.
#[inline(always)]
pub fn endpoint_at(at: &VipKey) -> Option<Endpoint> {
    let mut endpoint = Endpoint::default();
    if weir_endpoint_at(at, &mut endpoint) != 0 { Some(endpoint) } else { None }
}

/// The backend's id, or [`Slot::NOBODY`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_snat_backend(headers: *const Headers, key: *const FlowKey) -> u32 {
    let headers = given!(headers or Slot::NOBODY);
    let key = given!(key or Slot::NOBODY);
    snat::backend(&SomeMaps::without_context(), headers, key).unwrap_or(Slot::NOBODY)
}

/// The backend that a flow with a port of this host goes to.
#[inline(always)]
pub fn snat_backend(headers: &Headers, key: &FlowKey) -> Option<u32> {
    let backend = weir_snat_backend(headers, key);
    if backend == Slot::NOBODY { None } else { Some(backend) }
}

/// The number of a flow's line, plus one; 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_flow_number(key: *const FlowKey) -> u32 {
    let key = given!(key or 0);
    tables::flow_number(key).map_or(0, |number| number + 1)
}

/// The number of a flow's line.
#[inline(always)]
pub fn flow_number(key: &FlowKey) -> Option<u32> {
    weir_flow_number(key).checked_sub(1)
}

/// Whether the flow is remembered now.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_remember_flow(key: *const FlowKey, flow: *const Flow) -> u32 {
    let key = given!(key or 0);
    let flow = given!(flow or 0);
    u32::from(tables::put_flow(key, flow))
}

/// Remembers a flow: [`Tables::remember_flow`].
#[inline(always)]
pub fn remember_flow(key: &FlowKey, flow: &Flow) -> bool {
    weir_remember_flow(key, flow) != 0
}

/// Whether there is such a backend.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_row(id: u32, row: *mut Backend) -> u32 {
    let row = given!(mut row or 0);
    u32::from(SomeMaps::without_context().backend(id).map(|backend| *row = backend).is_some())
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_remember(headers: *const Headers, course: *const Course, always: bool) -> u32 {
    let headers = given!(headers or 0);
    let course = given!(course or 0);
    request::remember(&SomeMaps::without_context(), headers, course, always);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_note_direct(headers: *const Headers, endpoint: *const Endpoint) -> u32 {
    let headers = given!(headers or 0);
    let endpoint = given!(endpoint or 0);
    direct::note(&SomeMaps::without_context(), headers, endpoint);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_take_port(base: u32, spread: u64) -> u32 {
    snat::take_port(&SomeMaps::without_context(), base, spread)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_claim_port(key: *const FlowKey, snat: *mut Snat, base: u32) -> u32 {
    let key = given!(key or 0);
    let snat = given!(mut snat or 0);
    u32::from(snat::claim_port(&SomeMaps::without_context(), key, snat, base))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_release_port(key: *const FlowKey, snat: *const Snat) -> u32 {
    let key = given!(key or 0);
    let snat = given!(snat or 0);
    snat::release(&SomeMaps::without_context(), key, snat);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_wrap(ctx: *mut xdp_md, headers: *const Headers, backend: *const Backend) -> u64 {
    let headers = given!(headers or NOTHING);
    let backend = given!(backend or NOTHING);
    verdict::pack(tunnel::wrap(&mut XdpFrame::of(ctx), &XdpMaps::of(ctx), headers, backend))
}

/// The identification in the lower half; or a refusal's number plus one in the upper half.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_datagram(headers: *const Headers, datagram: *const Datagram) -> u64 {
    let headers = given!(headers or 1 << 32);
    let datagram = given!(datagram or 1 << 32);
    match fragment::begin(&SomeMaps::without_context(), headers, datagram) {
        Ok(id) => u64::from(id),
        Err(refusal) => (refusal as u64 + 1) << 32,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_fragment(headers: *const Headers, datagram: *mut Datagram) -> u32 {
    let headers = given!(headers or code(Err(Refusal::Malformed)));
    let datagram = given!(mut datagram or code(Err(Refusal::Malformed)));
    code(fragment::later(&SomeMaps::without_context(), headers, datagram))
}

/// See [`weir_icmp`].
const TO_BACKEND: u32 = 1;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_error_backend(headers: *const Headers, quoted: *const Headers, course: *mut Course) -> u32 {
    let headers = given!(headers or code(Err(Refusal::Malformed)));
    let quoted = given!(quoted or code(Err(Refusal::Malformed)));
    let course = given!(mut course or code(Err(Refusal::Malformed)));
    code(icmp::backend(&SomeMaps::without_context(), headers, quoted, course))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_error_client(headers: *const Headers, quoted: *const Headers, back: *mut Return) -> u32 {
    let headers = given!(headers or code(Err(Refusal::Malformed)));
    let quoted = given!(quoted or code(Err(Refusal::Malformed)));
    let back = given!(mut back or code(Err(Refusal::Malformed)));
    code(icmp::client(&SomeMaps::without_context(), headers, quoted, back))
}
