//! What may be wrong with backends that are taken: their packets, or their replies, would end somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use lb_common::abi::Delivery;

use super::{DesiredBackend, Ground};
use crate::config::{Config, Forward, Quic, Service};
use crate::nexthop::{Hop, StackReason};

type Backends = BTreeMap<SocketAddr, DesiredBackend>;

/// Everything.
pub(super) fn doubts(
    config: &Config,
    service: &Service,
    backends: &Backends,
    ground: &Ground,
    seen: &BTreeSet<&str>,
) -> Vec<String> {
    let mut doubts = Vec::new();
    doubts.extend(unattached(backends, ground, seen));
    doubts.extend(unrouted(backends, ground));
    doubts.extend(wayless(backends, ground));
    doubts.extend(sourceless(config, backends, ground));
    doubts.extend(service.quic.and_then(|quic| nameless(quic, backends)));
    doubts
}

/// `backend ID at ADDRESS (and 3 more)`, of those that a doubt is about.
fn whom<'a>(mut all: impl Iterator<Item = (&'a SocketAddr, &'a DesiredBackend)>) -> Option<(String, SocketAddr)> {
    let (listens, backend) = all.next()?;
    let more = match all.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some((format!("backend {} at {listens}{more}", backend.id), *listens))
}

/// Backends whose replies would not be translated, because they come in by a device that nothing is attached to. Those
/// that answer clients themselves send no replies here; those of snat send them to an address of Weir's own, and the way
/// back to that is the network's.
fn unattached(backends: &Backends, ground: &Ground, seen: &BTreeSet<&str>) -> Option<String> {
    let hops = &ground.hops;
    let via = |listens: &SocketAddr| {
        let local = matches!(hops.hop(&listens.ip()), Some(Hop::Stack(StackReason::Local)));
        hops.via(&listens.ip()).filter(|via| !local && !seen.contains(via))
    };
    let astray = backends.iter().filter(|(listens, backend)| backend.forward == Forward::Nat && via(listens).is_some());
    let (whom, listens) = whom(astray)?;
    let via = via(&listens)?;
    Some(format!(
        "{whom} is reached by {via}, to which Weir is not attached: its replies will not be translated back; add an \
         [[interface]] named {via:?}"
    ))
}

/// Backends that the kernel has no route to: what is handed to the stack for them ends there.
fn unrouted(backends: &Backends, ground: &Ground) -> Option<String> {
    let no_route =
        |listens: &SocketAddr| matches!(ground.hops.hop(&listens.ip()), Some(Hop::Stack(StackReason::NoRoute)));
    let (whom, listens) = whom(backends.iter().filter(|(listens, _)| no_route(listens)))?;
    Some(format!("there is no route to {whom}: its packets end here; see `ip route get {}`", listens.ip()))
}

/// Backends that XDP alone could send to, and cannot.
fn wayless(backends: &Backends, ground: &Ground) -> Option<String> {
    let looked_up = |listens: &SocketAddr| match ground.hops.hop(&listens.ip()) {
        // Said by another doubt, or nothing is known yet.
        None | Some(Hop::Stack(StackReason::NoRoute)) => false,
        Some(_) => true,
    };
    let lost = |(listens, backend): &(&SocketAddr, &DesiredBackend)| {
        backend.way.delivery == Delivery::NONE && looked_up(listens)
    };
    let (whom, listens) = whom(backends.iter().filter(lost))?;
    let forward = backends.get(&listens)?.forward;
    Some(format!(
        "packets cannot be sent to {whom} by {}: {}; they are refused (no_way), because the stack cannot send them either",
        forward.name(),
        ground.reason(listens.ip(), forward)
    ))
}

/// Tunnels without an address to begin at.
fn sourceless(config: &Config, backends: &Backends, ground: &Ground) -> Option<String> {
    let known = |v4: bool| {
        // Another backend's route may say it.
        let mut ends = backends.iter().filter(|(end, backend)| backend.forward.is_tunnel() && end.is_ipv4() == v4);
        config.weir.tunnel_sources.iter().any(|own| own.is_ipv4() == v4)
            || ends.any(|(end, _)| ground.hops.source(&end.ip()).is_some())
    };
    let known = [known(false), known(true)];
    let lost = |(listens, backend): &(&SocketAddr, &DesiredBackend)| {
        let routed = ground.hops.get(&listens.ip()).is_some_and(|reached| reached.via.is_some());
        backend.forward.is_tunnel() && routed && !known[usize::from(listens.is_ipv4())]
    };
    let (whom, listens) = whom(backends.iter().filter(lost))?;
    let family = if listens.is_ipv4() { "IPv4" } else { "IPv6" };
    Some(format!(
        "the route to {whom} names no source address, and `tunnel_sources` under [weir] has no {family} address: its packets \
         are refused (no_way); name one of this host's"
    ))
}

/// Backends that connection ids do not lead to.
fn nameless(quic: Quic, backends: &Backends) -> Option<String> {
    let length = quic.server_id_length;
    let lost = |(_, backend): &(&SocketAddr, &DesiredBackend)| {
        !backend.lingers && backend.server_id.is_none_or(|id| id.length() != length)
    };
    let (whom, listens) = whom(backends.iter().filter(lost))?;
    let found = match backends.get(&listens)?.server_id {
        Some(id) => format!("the server id {id} of {} bytes", id.length()),
        None => "no server id".to_owned(),
    };
    Some(format!(
        "{whom} is listed with {found}, expected one of {length} bytes, as `quic` has it: clients that move keep it only by \
         chance"
    ))
}
