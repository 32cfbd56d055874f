//! QUIC connections, known by their connection id wherever the client's packets come from
//! (RFC 9000 §5.1, draft-ietf-quic-load-balancers).
//!
//! A connection id that a server made begins with three bits that number a configuration, and then has the server's id
//! behind its first byte. One that a client made, for its first packets, has neither: if it happens to look like one, its
//! server gets the connection, which is as good as any other.

use crate::abi::{MAX_SERVER_ID, QuicKey, Slot};
use crate::headers::Headers;
use crate::packet::Packet;
use crate::tables::Tables;

/// Bytes of a UDP header.
const UDP_LEN: usize = 8;

/// The bit of a QUIC packet's first byte that says that its header is long (RFC 8999 §5.1).
const LONG: u8 = 0x80;

/// Where the length of the destination connection id is in a long header, and the id itself (RFC 8999 §5.1); in a short
/// one the id follows the first byte (§5.2).
const LONG_LENGTH: usize = 5;
const LONG_ID: usize = 6;
const SHORT_ID: usize = 1;

/// The backend whose server id a packet's connection id has, or [`Slot::NOBODY`].
#[inline(always)]
pub fn server<P: Packet + ?Sized, T: Tables>(packet: &P, tables: &T, headers: &Headers, service: u32) -> u32 {
    let Some(head) = tables.service(service) else { return Slot::NOBODY };
    let length = head.quic.length();
    let at = usize::from(headers.l4) + UDP_LEN;
    let Some([first]) = packet.read(at) else { return Slot::NOBODY };
    let id_at = if first & LONG != 0 {
        match packet.read(at + LONG_LENGTH) {
            Some([id_length]) if usize::from(id_length) > length => at + LONG_ID,
            _ => return Slot::NOBODY,
        }
    } else {
        at + SHORT_ID
    };
    // What lies behind the packet's end is the link's.
    if length == 0 || id_at + 1 + length > headers.ends_at() {
        return Slot::NOBODY;
    }
    match packet.read(id_at) {
        Some([config]) if config >> 5 == head.quic.config() => {}
        _ => return Slot::NOBODY,
    }
    #[expect(clippy::cast_possible_truncation, reason = "four bits")]
    let mut key = QuicKey { service, server_id: [0; MAX_SERVER_ID], length: length as u8 };
    for byte in 0..MAX_SERVER_ID {
        if byte >= length {
            break;
        }
        let Some([value]) = packet.read(id_at + 1 + byte) else { return Slot::NOBODY };
        key.server_id[byte] = value;
    }
    tables.quic_server(&key).unwrap_or(Slot::NOBODY)
}
