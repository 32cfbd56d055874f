//! Flows with a backend's own address, past every service.

use crate::abi::{Endpoint, ReplyKey, ReplyOwner};
use crate::headers::Headers;
use crate::reply::explains;
use crate::tables::Tables;

/// A packet that goes to where a backend listens, and not through a VIP: when its replies would be taken for the service's,
/// this is remembered.
#[inline(always)]
pub fn note<T: Tables>(tables: &T, headers: &Headers, endpoint: &Endpoint) {
    let client = headers.source;
    let key = ReplyKey::new(client.address, client.port_bytes(), headers.destination);
    let known = tables.reply_owner(&key);
    match known {
        // In the midst of a connection through a VIP a stray packet changes nothing; a new connection does.
        Some(owner) if owner.service != ReplyOwner::DIRECT && headers.tcp() && !headers.opens => return,
        Some(_) => {}
        None if !explains(tables, endpoint, &client, headers.destination.port, || None) => return,
        None => {}
    }
    let owner = ReplyOwner { service: ReplyOwner::DIRECT, seen_s: tables.now_s() };
    if known != Some(owner) {
        tables.remember_reply(&key, owner);
    }
}
