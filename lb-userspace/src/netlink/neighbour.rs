//! Neighbours: the kernel's ARP and Neighbour Discovery tables (neighbour.h, `struct ndmsg`).

use std::net::IpAddr;

use super::family;
use super::message::{Request, address_of, attributes};
use crate::nexthop::Mac;

pub(crate) const RTM_NEWNEIGH: u16 = 28;
pub(crate) const RTM_DELNEIGH: u16 = 29;
pub(super) const RTM_GETNEIGH: u16 = 30;

pub(super) const HEADER_LENGTH: usize = 12;

const NDA_DST: u16 = 1;
pub(super) const NDA_LLADDR: u16 = 2;

const NTF_USE: u8 = 0x01;

const NUD_REACHABLE: u16 = 0x02;
const NUD_STALE: u16 = 0x04;
const NUD_DELAY: u16 = 0x08;
const NUD_PROBE: u16 = 0x10;
const NUD_FAILED: u16 = 0x20;
const NUD_NOARP: u16 = 0x40;
pub(super) const NUD_PERMANENT: u16 = 0x80;

/// Which neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// The device it is reached by.
    pub(crate) ifindex: u32,
    /// Its address.
    pub(crate) address: IpAddr,
}

/// What the kernel knows of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Neighbour {
    /// `NUD_…`; 0 is an entry nobody asked about yet.
    pub(crate) state: u16,
    /// Its Ethernet address, as last heard.
    pub(crate) mac: Option<Mac>,
}

impl Neighbour {
    /// The Ethernet address, when it may be used. Until the kernel gives a neighbour up (FAILED) the stack sends to
    /// what it last heard, and so does Weir.
    pub(crate) fn usable(&self) -> Option<Mac> {
        const USABLE: u16 = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_NOARP | NUD_PERMANENT;
        self.mac.filter(|_| self.state & USABLE != 0)
    }

    /// Whether the kernel does nothing to confirm or find the address unless somebody uses it. In the states between
    /// (INCOMPLETE, DELAY, PROBE) it is already at it, and says how that ends.
    pub(crate) fn wants_use(&self) -> bool {
        self.state == 0 || self.state & (NUD_STALE | NUD_FAILED) != 0
    }
}

/// Asks about one neighbour; the answer is ENOENT when there is no such entry.
pub(crate) fn get(key: Key) -> Request {
    Request::get(RTM_GETNEIGH, &header(key, 0)).address(NDA_DST, key.address)
}

/// Makes the kernel behave as if it had a packet for the neighbour: it resolves it, or confirms it when stale, and
/// forgets it later like any other. Not for a permanent entry: `__neigh_update` strips that state with `NTF_USE`.
pub(crate) fn use_now(key: Key) -> Request {
    Request::create(RTM_NEWNEIGH, &header(key, NTF_USE)).address(NDA_DST, key.address)
}

/// Has the kernel give up a search that is under way, so that the next use begins anew: a frame that was lost is otherwise
/// repeated after `retrans_time` (a second), whoever asks meanwhile. The entry and the packets that wait in it stay, where
/// deleting it (or NUD_FAILED) would answer their senders that the host is unreachable (`__neigh_update`, neighbour.c).
/// Refused with ENOENT where there is no entry. Only for one that is not resolved: it would forget what it knows. One that was
/// resolved since the last event was read is searched for once more, and one that was made permanent since is so no longer; so
/// events are read right before.
pub(crate) fn begin_anew(key: Key) -> Request {
    // The state of the header is NUD_NONE.
    Request::order(RTM_NEWNEIGH, &header(key, 0)).address(NDA_DST, key.address)
}

fn header(key: Key, flags: u8) -> [u8; HEADER_LENGTH] {
    let mut header = [0; HEADER_LENGTH];
    header[0] = family(key.address);
    header[4..8].copy_from_slice(&key.ifindex.to_ne_bytes());
    header[10] = flags;
    header
}

/// Reads an entry, from an answer or an event.
pub(crate) fn parse(payload: &[u8]) -> Option<(Key, Neighbour)> {
    let header: &[u8; HEADER_LENGTH] = payload.first_chunk()?;
    let ifindex = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    let state = u16::from_ne_bytes([header[8], header[9]]);
    let mut address = None;
    let mut mac = None;
    for (kind, value) in attributes(payload, HEADER_LENGTH) {
        match kind {
            NDA_DST => address = address_of(value),
            NDA_LLADDR => mac = value.try_into().ok(),
            _ => {}
        }
    }
    // Bridges' forwarding entries come through the same messages under another family: see `fdb`.
    let address = address.filter(|&address| family(address) == header[0])?;
    Some((Key { ifindex, address }, Neighbour { state, mac }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_decides() {
        let mac = Some([2, 0, 0, 0, 0, 1]);
        let neighbour = |state| Neighbour { state, mac };
        for (state, usable, wants_use) in [
            (0x00, false, true),
            (0x01, false, false),
            (NUD_REACHABLE, true, false),
            (NUD_STALE, true, true),
            (NUD_DELAY, true, false),
            (NUD_PROBE, true, false),
            (NUD_FAILED, false, true),
            (NUD_NOARP, true, false),
            (NUD_PERMANENT, true, false),
        ] {
            assert_eq!(neighbour(state).usable().is_some(), usable, "state {state:#x}");
            assert_eq!(neighbour(state).wants_use(), wants_use, "state {state:#x}");
        }
        assert_eq!(Neighbour { state: NUD_REACHABLE, mac: None }.usable(), None);
    }
}
