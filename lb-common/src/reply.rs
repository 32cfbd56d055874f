//! A packet from where a backend listens.

use crate::abi::{Endpoint, EndpointFlags, FlowKey, ReplyKey, ReplyOwner, Service, Slot, VipKey};
use crate::forward::{End, Return};
use crate::handover;
use crate::headers::Headers;
use crate::packet::Packet;
use crate::parse::UDP;
use crate::request::{ITSELF_V4, ITSELF_V6, sound};
use crate::snat;
use crate::tables::Tables;
use crate::{Address, Refusal};

/// Finds whose reply it is, if it is one, and writes where it goes.
#[inline(always)]
pub fn reply<P: Packet + ?Sized, T: Tables>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    endpoint: &Endpoint,
    back: &mut Return,
) -> Result<(), Refusal> {
    if endpoint.flags & EndpointFlags::SNAT != 0 && snat::reply(packet, tables, headers, back) {
        return sound(headers);
    }
    // Whoever opens a connection answers nobody.
    if headers.opens {
        return Err(Refusal::Direct);
    }
    let said = || Some(handover::said_by_server(packet, headers));
    let client = client(headers);
    let (id, remembered) = owner(tables, &client, &headers.source, endpoint, said).ok_or(Refusal::Direct)?;
    let service = tables.service(id).ok_or(Refusal::Direct)?;
    let vip = service.vip;
    // A flow can be remembered for longer than its service is there: a head that was taken back is all zeroes.
    if vip.protocol != headers.source.protocol {
        return Err(Refusal::Direct);
    }
    sound(headers)?;
    // Whoever is explained by the slot has been noted there.
    let followed =
        if remembered { shared(tables, service, id, &client, headers.source.port, said) } else { endpoint.backend };
    let backend = if id == endpoint.service { endpoint.backend } else { followed };
    let port = if vip.port == 0 { headers.source.port } else { vip.port };
    *back = Return {
        vip: End::new(vip.address, port),
        client: End::of(&client),
        service: id,
        backend,
        fragment_id: headers.fragment_id,
        ingress_ifindex: 0,
    };
    Ok(())
}

/// Whom a backend answers to: where its packet goes, or itself, when it is its service's client (`request`).
#[inline(always)]
fn client(headers: &Headers) -> VipKey {
    let said = headers.destination;
    let itself = said.address == if headers.v4 { ITSELF_V4 } else { ITSELF_V6 };
    VipKey { address: if itself { headers.source.address } else { said.address }, ..said }
}

/// A flow of a client's, from a packet of its backend's; `port` is the backend's, which a service of every port keeps.
#[inline(always)]
pub(crate) const fn key(service: &Service, client: Address, client_port: [u8; 2], port: u16, id: u32) -> FlowKey {
    let key = FlowKey::new(client, client_port, id);
    if service.vip.port == 0 { key.at(port) } else { key }
}

/// The backend's id in another service than its endpoint is known for.
///
/// A remembered reply says whose it is, but not by which of the service's ids: the client's slot does. A backend that is
/// not in that slot any more, nor remembered, is counted for whoever is.
#[inline(always)]
fn shared<T: Tables>(
    tables: &T,
    service: &Service,
    id: u32,
    client: &VipKey,
    port: u16,
    said: impl FnOnce() -> Option<u32>,
) -> u32 {
    let Some(place) = handover::place(tables, service, client.address, client.port_bytes()) else {
        return Slot::NOBODY;
    };
    let key = key(service, client.address, client.port_bytes(), port, id);
    handover::follow(tables, &place, &key, said)
}

/// The service to which a reply belongs: the one remembered, or else the endpoint's own if the client's packets
/// would go to just this backend. And whether it was remembered.
#[inline(always)]
pub(crate) fn owner<T: Tables>(
    tables: &T,
    client: &VipKey,
    backend: &VipKey,
    endpoint: &Endpoint,
    said: impl FnOnce() -> Option<u32>,
) -> Option<(u32, bool)> {
    if let Some(owner) = tables.reply_owner(&ReplyKey::new(client.address, client.port_bytes(), *backend)) {
        if owner.service != ReplyOwner::DIRECT {
            return Some((owner.service, true));
        }
        if client.protocol != UDP || tables.now_s().wrapping_sub(owner.seen_s) < ReplyOwner::DIRECT_UDP_IDLE_S {
            return None;
        }
    }
    explains(tables, endpoint, client, backend.port, said).then_some((endpoint.service, false))
}

/// Whether the endpoint's service sends this client's flow to this backend, which listens at `port`.
#[inline(always)]
pub(crate) fn explains<T: Tables>(
    tables: &T,
    endpoint: &Endpoint,
    client: &VipKey,
    port: u16,
    said: impl FnOnce() -> Option<u32>,
) -> bool {
    if endpoint.flags & EndpointFlags::NAT == 0 {
        return false;
    }
    let id = endpoint.service;
    let Some(service) = tables.service(id) else { return false };
    let Some(place) = handover::place(tables, service, client.address, client.port_bytes()) else { return false };
    let key = key(service, client.address, client.port_bytes(), port, id);
    handover::comes_from(tables, &place, endpoint.backend, &key, said)
}
