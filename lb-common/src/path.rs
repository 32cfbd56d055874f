//! The steps of the packet path.
//!
//! The kernel's verifier follows every way through a program, so that what is one function on the host is several there,
//! each verified alone: `lb-ebpf` overrides the steps by calls, and each call does what is written here. What a step gets
//! is the packet, its headers and a few numbers; what it gives back is a word.

use crate::abi::{Backend, Datagram, Endpoint, FlowKey, Snat};
use crate::checksum::Sum;
use crate::fast::onwards;
use crate::forward::{self, Course, Exit, Return, exit, tunnel};
use crate::handover::Memo;
use crate::headers::Headers;
use crate::icmp::Quote;
use crate::limits::{Admitted, Asker};
use crate::packet::{Fronted, Packet};
use crate::refusal::{Refusal, Stop};
use crate::request::Choice;
use crate::tables::Tables;
use crate::verdict::Outcome;
use crate::{Verdict, answer, connections, direct, fragment, icmp, limits, mark, parse, quic, reply, request, snat};

/// The steps; without being told otherwise, one calls the next.
pub trait Path<P: Packet + ?Sized>: Tables + Sized {
    /// Reads a frame's headers.
    #[inline(always)]
    fn read(&self, packet: &P, headers: &mut Headers) -> Result<(), Refusal> {
        parse::parse(packet, headers)
    }

    /// The backend that a flow stays with while its slot hands over: see [`onwards::kept`].
    #[inline(always)]
    fn kept(&self, packet: &P, service: u32, v4: bool) -> Option<u32>
    where
        P: Fronted,
    {
        onwards::kept(packet, self, service, v4)
    }

    /// Forwards a frame whose service and whose backend are found, if it is one of the fast way's: see [`onwards::onwards`].
    #[inline(always)]
    fn onwards(&self, packet: &mut P, service: u32, backend: u32, v4: bool) -> Option<Verdict>
    where
        P: Fronted,
    {
        onwards::onwards(packet, self, service, backend, v4)
    }

    /// Reads a backend's row; whether there is one.
    #[inline(always)]
    fn row(&self, id: u32, row: &mut Backend) -> bool {
        self.backend(id).map(|backend| *row = backend).is_some()
    }

    /// Asks the limits of a service.
    #[inline(always)]
    fn admit(&self, headers: &Headers, asker: &Asker) -> Result<Admitted, Refusal> {
        Admitted::unpack(limits::admit(self, headers, asker))
    }

    /// Has a packet another type of service, or traffic class: see [`mark::set`].
    #[inline(always)]
    fn set_tos(&self, packet: &mut P, headers: &mut Headers, tos: u8) -> Result<(), Refusal> {
        mark::set(packet, headers, tos).ok_or(Refusal::Malformed)
    }

    /// Counts a connection: see [`connections::note`].
    #[inline(always)]
    fn note_connection(&self, headers: &Headers, flow: &FlowKey, asker: &mut Asker, said: u32) -> Result<(), Refusal> {
        connections::note(self, headers, flow, asker, said)
    }

    /// Chooses the backend of a packet for a service: see [`request::choose`].
    #[inline(always)]
    fn choose(
        &self,
        packet: &P,
        headers: &Headers,
        service: u32,
        claimed: u32,
        memo: &mut Memo,
    ) -> Result<Choice, Refusal> {
        request::choose(packet, self, headers, service, claimed, memo)
    }

    /// The backend that a QUIC packet's connection id names; [`Slot::NOBODY`](crate::abi::Slot::NOBODY) for none.
    #[inline(always)]
    fn quic(&self, packet: &P, headers: &Headers, service: u32) -> u32 {
        quic::server(packet, self, headers, service)
    }

    /// Gives a flow a port of this host, or finds the one it has.
    #[inline(always)]
    fn snat_port(
        &self,
        packet: &P,
        headers: &Headers,
        service: u32,
        backend: u32,
        found: &mut Snat,
    ) -> Result<(), Refusal> {
        snat::port(packet, self, headers, service, backend, found)
    }

    /// Sees to it that a flow's replies will be known for its service's: see [`request::remember`].
    #[inline(always)]
    fn remember(&self, headers: &Headers, course: &Course, always: bool) {
        request::remember(self, headers, course, always);
    }

    /// Remembers a flow with a backend's own address, if that has to be: see [`direct::note`].
    #[inline(always)]
    fn note_direct(&self, headers: &Headers, endpoint: &Endpoint) {
        direct::note(self, headers, endpoint);
    }

    /// Takes a free port of a pool, by where its words begin and a hash: see [`snat::take_port`].
    #[inline(always)]
    fn take_port(&self, base: u32, spread: u64) -> u32 {
        snat::take_port(self, base, spread)
    }

    /// Remembers a flow with the port that was taken for it: see [`snat::claim_port`].
    #[inline(always)]
    fn claim_port(&self, key: &FlowKey, snat: &mut Snat, base: u32) -> bool {
        snat::claim_port(self, key, snat, base)
    }

    /// Forgets a flow and gives its port back.
    #[inline(always)]
    fn release_port(&self, key: &FlowKey, snat: &Snat) {
        snat::release(self, key, snat);
    }

    /// Sends a packet to a backend that gets it as it is, or translated.
    #[inline(always)]
    fn send(&self, packet: &mut P, headers: &Headers, course: &Course, backend: &Backend) -> Outcome {
        forward::send(packet, self, headers, course, backend)
    }

    /// Sends a backend's packet to its client by a way that was found.
    #[inline(always)]
    fn send_back(&self, packet: &mut P, headers: &Headers, back: &Return, exit: &Exit) -> Outcome {
        forward::send_back(packet, self, headers, back, exit)
    }

    /// A packet from where a backend listens: finds whose it is, and writes where it goes.
    #[inline(always)]
    fn reply(&self, packet: &P, headers: &Headers, endpoint: &Endpoint, back: &mut Return) -> Result<(), Refusal> {
        reply::reply(packet, self, headers, endpoint, back)
    }

    /// Wraps a packet for a tunnel to a backend.
    #[inline(always)]
    fn wrap(&self, packet: &mut P, headers: &Headers, backend: &Backend) -> Outcome {
        tunnel::wrap(packet, self, headers, backend)
    }

    /// Remembers a datagram by its first fragment; gives the identification that its fragments leave with.
    #[inline(always)]
    fn begin_datagram(&self, headers: &Headers, datagram: &Datagram) -> Result<u32, Refusal> {
        fragment::begin(self, headers, datagram)
    }

    /// A later fragment: finds where it goes.
    #[inline(always)]
    fn later_fragment(&self, headers: &Headers, datagram: &mut Datagram) -> Result<(), Refusal> {
        fragment::later(self, headers, datagram)
    }

    /// An ICMP message: an error that is to be sent on, and whether to a backend, or why not.
    #[inline(always)]
    fn icmp(&self, packet: &P, headers: &Headers, quoted: &mut Headers) -> Result<bool, Refusal> {
        icmp::message(packet, self, headers, quoted)
    }

    /// Finds the backend that an ICMP error is for.
    #[inline(always)]
    fn error_backend(&self, headers: &Headers, quoted: &Headers, course: &mut Course) -> Result<(), Refusal> {
        icmp::backend(self, headers, quoted, course)
    }

    /// Finds the client that an ICMP error is for.
    #[inline(always)]
    fn error_client(&self, headers: &Headers, quoted: &Headers, back: &mut Return) -> Result<(), Refusal> {
        icmp::client(self, headers, quoted, back)
    }

    /// Finds the way of a packet to its client.
    #[inline(always)]
    fn way_back(&self, packet: &P, headers: &Headers, back: &Return, exit: &mut Exit) -> Result<(), Stop> {
        exit::back(packet, self, headers, back, exit)
    }

    /// Finds the way of a translated packet to its backend.
    #[inline(always)]
    fn way_there(
        &self,
        packet: &P,
        headers: &Headers,
        course: &Course,
        backend: &Backend,
        exit: &mut Exit,
    ) -> Result<(), Stop> {
        exit::there(packet, self, headers, course, backend, exit)
    }

    /// Changes an ICMP error, within and without.
    #[inline(always)]
    fn translate_error(
        &self,
        packet: &mut P,
        headers: &Headers,
        quoted: &Headers,
        quote: &Quote,
    ) -> Result<(), Refusal> {
        icmp::translate(packet, headers, quoted, quote)
    }

    /// Has a frame leave by a way that was found.
    #[inline(always)]
    fn depart(&self, packet: &mut P, headers: &Headers, exit: &Exit) -> Outcome {
        exit::depart(packet, headers, exit)
    }

    /// The sum over a part of a frame: see [`answer::sum`].
    #[inline(always)]
    fn sum(&self, packet: &P, at: usize, length: usize) -> Option<Sum> {
        answer::sum(packet, at, length)
    }

    /// Tells a packet's sender why it is not forwarded, if that may be told.
    #[inline(always)]
    fn answer(&self, packet: &mut P, headers: &Headers, stop: Stop, ingress_ifindex: u32) -> Verdict {
        answer::answer(packet, self, headers, stop, ingress_ifindex)
    }
}
