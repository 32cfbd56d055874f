//! From a frame to its slot, and into a tunnel.

use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::packet::Fronted;
use crate::parse::{self, L3, TCP, UDP};
use crate::path::Path;
use crate::tables::{Direction, FlowUse, Tables};
use crate::{Address, Refusal, Verdict, hash, limits};

use super::family::Family;
use super::wrap::{Chosen, Wrap};

/// Forwards a frame that has no tags.
#[inline(always)]
pub(super) fn serve<F: Wrap, P: Fronted + ?Sized, T: Path<P>, A>(
    packet: &mut P,
    tables: &T,
    asked: &mut bool,
    act: impl Fn(Verdict) -> A + Copy,
) -> Option<A> {
    is_sound::<F, P>(packet)?;
    let front = F::front(packet)?;
    // Before it is asked who is known at all: one word less to look at for whoever is served.
    let found = tables.place(&F::destination(&front)).and_then(|id| Some((id, tables.service(id)?)));
    let Some((id, service)) = found.filter(|(_, service)| service.vip.is(&F::destination(&front))) else {
        return stranger(tables, &F::destination(&front).address, &F::source(&front)).map(act);
    };
    if service.flags | service.quic.0 != 0 {
        return None;
    }
    // Whoever cannot be a client is refused elsewhere.
    if F::source_port(&front) == [0; 2] || F::is_odd_source(&front) {
        return None;
    }
    if F::protocol(&front) == UDP && tables.is_known(&F::source(&front)) {
        return None;
    }
    let table = tables.table(service);
    if table.len == 0 {
        return None;
    }
    let number = hash::slot(F::flow(&front, service.seed), table.len);
    let slot = tables.slot(table.base.wrapping_add(number))?;
    // Who is remembered while a slot hands over stays where it is.
    let moves = slot.old().is_some();
    let backend = if moves { tables.kept(packet, id, F::V4)? } else { slot.current() };
    let looked_up = || {
        if moves {
            tables.count_flows(FlowUse::Lookup);
        }
    };
    let length = F::length(&front);
    if service.limits[0] != 0 {
        if let Err(refusal) = limits::plain(tables, service, id, || F::source(&front), length) {
            tables.count_refusal(refusal);
            return Some(act(Verdict::Refused(refusal)));
        }
        *asked = true;
    }
    let Some(chosen) = Chosen::of::<F, T>(tables, backend, length) else {
        let verdict = tables.onwards(packet, id, backend, F::V4)?;
        looked_up();
        return Some(act(verdict));
    };
    let (ifindex, redirect) = F::wrap(packet, tables, &chosen)?;
    looked_up();
    tables.count_traffic(id, backend, Direction::Request, length);
    // Apart, so that what follows is known of either.
    let transmit = |redirect| act(Verdict::Transmit { ifindex, redirect });
    Some(if redirect { transmit(true) } else { transmit(false) })
}

/// Whether every length agrees with every other and with the frame, which is in one buffer, and TCP's flags can be.
#[inline(always)]
fn is_sound<F: Family, P: Fronted + ?Sized>(packet: &P) -> Option<()> {
    let front = F::front(packet)?;
    let needed = match F::protocol(&front) {
        TCP => {
            let [offset, flags] = F::tcp(packet)?;
            let header_len = usize::from(offset >> 4) * 4;
            if header_len < TcpHdr::LEN || parse::bad_flags(flags) {
                return None;
            }
            header_len
        }
        UDP => {
            let length = usize::from(F::udp_length(&front));
            if length < UdpHdr::LEN {
                return None;
            }
            length
        }
        _ => return None,
    };
    let length = F::length(&front) as usize;
    (F::is_plain(&front) && F::IP + needed <= length && packet.is_one(L3 + length)).then_some(())
}

/// A packet that is not for the service at its place.
#[inline(always)]
fn stranger<T: Tables>(tables: &T, destination: &Address, source: &Address) -> Option<Verdict> {
    if tables.is_known(destination) || tables.is_known(source) {
        return None;
    }
    tables.count_refusal(Refusal::NoService);
    Some(Verdict::Refused(Refusal::NoService))
}
