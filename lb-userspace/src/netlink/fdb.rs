//! Bridges' forwarding databases: behind which port an Ethernet address is (neighbour.h, `struct ndmsg` of `AF_BRIDGE`).

use super::AF_BRIDGE;
use super::message::{Request, attributes, u32_of};
use super::neighbour::{HEADER_LENGTH, NDA_LLADDR, NUD_PERMANENT, RTM_GETNEIGH};
use crate::nexthop::Mac;

const NDA_VLAN: u16 = 5;
const NDA_MASTER: u16 = 9;

const NTF_SELF: u8 = 0x02;

/// An address behind a port of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The bridge's index.
    pub(crate) bridge: u32,
    /// The port's.
    pub(crate) port: u32,
    /// The address.
    pub(crate) mac: Mac,
}

/// Asks for every entry of every bridge.
pub(crate) fn list() -> Request {
    let mut header = [0; HEADER_LENGTH];
    header[0] = AF_BRIDGE;
    Request::dump(RTM_GETNEIGH, &header)
}

/// Reads an entry, from an answer or an event. `None` also for what says nothing of who is behind a port: devices' own
/// address lists, the ports' own addresses, and entries of one VLAN alone. (A bridge that goes by VLANs decides by more
/// than the address: its frames are the stack's.)
pub(crate) fn parse(payload: &[u8]) -> Option<Entry> {
    let header: &[u8; HEADER_LENGTH] = payload.first_chunk()?;
    let (state, flags) = (u16::from_ne_bytes([header[8], header[9]]), header[10]);
    if header[0] != AF_BRIDGE || flags & NTF_SELF != 0 || state & NUD_PERMANENT != 0 {
        return None;
    }
    let (mut bridge, mut mac) = (None, None);
    for (kind, value) in attributes(payload, HEADER_LENGTH) {
        match kind {
            NDA_LLADDR => mac = value.try_into().ok(),
            NDA_MASTER => bridge = u32_of(value),
            NDA_VLAN => return None,
            _ => {}
        }
    }
    let (bridge, port) = (bridge?, u32::from_ne_bytes([header[4], header[5], header[6], header[7]]));
    // An entry that is of no port names the bridge itself.
    (port != bridge).then_some(Entry { bridge, port, mac: mac? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::{Content, messages};
    use crate::netlink::neighbour::RTM_NEWNEIGH;

    const REACHABLE: u8 = 2;
    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    fn read(family: u8, state: u8, flags: u8, bridge: u32, vlan: Option<u16>) -> Option<Entry> {
        let mut request = Request::get(RTM_NEWNEIGH, &[family, 0, 0, 0, 9, 0, 0, 0, state, 0, flags, 0])
            .attribute(NDA_LLADDR, &MAC)
            .attribute(NDA_MASTER, &bridge.to_ne_bytes());
        if let Some(vlan) = vlan {
            request = request.attribute(NDA_VLAN, &vlan.to_ne_bytes());
        }
        let mut datagram = Vec::new();
        request.emit(0, &mut datagram);
        let Content::Family(_, payload) = messages(&datagram).next().unwrap().content else { panic!() };
        parse(payload)
    }

    #[test]
    fn who_is_behind_a_port_is_read_and_nothing_else() {
        assert_eq!(read(AF_BRIDGE, REACHABLE, 0, 4, None), Some(Entry { bridge: 4, port: 9, mac: MAC }));
        assert_eq!(read(2, REACHABLE, 0, 4, None), None, "a neighbour");
        assert_eq!(read(AF_BRIDGE, 0x80, 0, 4, None), None, "the port's own");
        assert_eq!(read(AF_BRIDGE, REACHABLE, NTF_SELF, 4, None), None, "a device's own list");
        assert_eq!(read(AF_BRIDGE, REACHABLE, 0, 9, None), None, "the bridge's own");
        assert_eq!(read(AF_BRIDGE, REACHABLE, 0, 4, Some(1)), None, "of a VLAN");
    }
}
