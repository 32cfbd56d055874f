//! Network devices (if_link.h, `struct ifinfomsg`).

use super::message::{Request, attributes, string_of, u32_of};
use crate::nexthop::Mac;

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
pub(crate) const RTM_GETLINK: u16 = 18;

pub(crate) const HEADER_LENGTH: usize = 16;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;

const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;

const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;

/// What an 802.1Q tag begins with; the protocol of VLAN devices for which the kernel names none.
const ETH_P_8021Q: u16 = 0x8100;

const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;

const RTEXT_FILTER_SKIP_STATS: u32 = 8;

const ARPHRD_ETHER: u16 = 1;

const IFF_UP: u32 = 0x1;
const IFF_LOWER_UP: u32 = 0x1_0000;
/// UP, RUNNING and LOWER_UP: what routing depends on.
const IFF_ROUTING: u32 = IFF_UP | 0x40 | IFF_LOWER_UP;

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) ifindex: u32,
    pub(crate) name: String,
    /// The largest layer-3 packet, in bytes.
    pub(crate) mtu: u32,
    /// Its address, when it is an Ethernet device.
    pub(crate) ethernet: Option<Mac>,
    /// `ip link`'s type (`veth`, `bridge`…); none for a physical device.
    pub(crate) kind: Option<String>,
    /// `IFF_…`, those that routing depends on.
    pub(crate) flags: u32,
    /// The device it stands on, or a veth's peer: its index, in the namespace of `elsewhere`.
    pub(crate) lower: Option<u32>,
    /// The tag that a VLAN device's frames get on the device it stands on, as a word of [`Tags`](lb_common::abi::Tags).
    pub(crate) tag: Option<u32>,
    /// The bridge, bond or VRF it belongs to.
    pub(crate) controller: Option<u32>,
    /// The other device is in another network namespace.
    pub(crate) elsewhere: bool,
    /// The XDP program attached to it: how (`XDP_ATTACHED_…`) and its id, 0 when there are several.
    pub(crate) xdp: Option<(u8, u32)>,
}

impl Link {
    pub(crate) fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// Whether it is a veth device whose other end is in another network namespace.
    pub(crate) fn has_peer_elsewhere(&self) -> bool {
        self.elsewhere && self.kind.as_deref() == Some("veth")
    }

    pub(crate) fn has_carrier(&self) -> bool {
        self.flags & IFF_LOWER_UP != 0
    }
}

/// Asks for every device.
pub(crate) fn list() -> Request {
    Request::dump(RTM_GETLINK, &[0; HEADER_LENGTH]).attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
}

/// Reads a device, from an answer or an event. `None` also for a bridge's events about its ports, which come through
/// the same messages under another family: a port that leaves a bridge is not a device that is gone.
pub(crate) fn parse(payload: &[u8]) -> Option<Link> {
    const AF_UNSPEC: u8 = 0;
    let header: &[u8; HEADER_LENGTH] = payload.first_chunk()?;
    if header[0] != AF_UNSPEC {
        return None;
    }
    let layer = u16::from_ne_bytes([header[2], header[3]]);
    let mut link = Link {
        ifindex: u32::from_ne_bytes([header[4], header[5], header[6], header[7]]),
        name: String::new(),
        mtu: 0,
        ethernet: None,
        kind: None,
        flags: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) & IFF_ROUTING,
        lower: None,
        tag: None,
        controller: None,
        elsewhere: false,
        xdp: None,
    };
    for (kind, value) in attributes(payload, HEADER_LENGTH) {
        match kind {
            IFLA_ADDRESS if layer == ARPHRD_ETHER => link.ethernet = value.try_into().ok(),
            IFLA_IFNAME => link.name = string_of(value)?,
            IFLA_MTU => link.mtu = u32_of(value)?,
            IFLA_LINK => link.lower = u32_of(value).filter(|&index| index != 0),
            IFLA_MASTER => link.controller = u32_of(value),
            IFLA_LINK_NETNSID => link.elsewhere = true,
            IFLA_LINKINFO => {
                let mut data: &[u8] = &[];
                for (kind, value) in attributes(value, 0) {
                    match kind {
                        IFLA_INFO_KIND => link.kind = string_of(value),
                        IFLA_INFO_DATA => data = value,
                        _ => {}
                    }
                }
                link.tag = if link.kind.as_deref() == Some("vlan") { tag(data) } else { None };
            }
            IFLA_XDP => link.xdp = xdp(value),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// The tag of a VLAN device (if_link.h, `IFLA_VLAN_…`).
fn tag(data: &[u8]) -> Option<u32> {
    let (mut id, mut protocol) = (None, ETH_P_8021Q);
    for (kind, value) in attributes(data, 0) {
        match kind {
            IFLA_VLAN_ID => id = value.try_into().ok().map(u16::from_ne_bytes),
            // In network byte order.
            IFLA_VLAN_PROTOCOL => protocol = value.try_into().ok().map(u16::from_be_bytes)?,
            _ => {}
        }
    }
    let ([a, b], [c, d]) = (protocol.to_be_bytes(), id?.to_be_bytes());
    Some(u32::from_ne_bytes([a, b, c, d]))
}

fn xdp(value: &[u8]) -> Option<(u8, u32)> {
    let (mut attached, mut id) = (0, 0);
    for (kind, value) in attributes(value, 0) {
        match kind {
            IFLA_XDP_ATTACHED => attached = *value.first()?,
            IFLA_XDP_PROG_ID => id = u32_of(value)?,
            _ => {}
        }
    }
    (attached != 0).then_some((attached, id))
}

#[cfg(test)]
mod tests {
    use lb_common::abi::Tags;

    use super::*;
    use crate::netlink::message::{Content, messages};

    fn event(family: u8) -> Vec<u8> {
        let mut header = [0; HEADER_LENGTH];
        header[0] = family;
        header[2] = 1;
        header[4] = 9;
        header[8] = 1;
        let mut datagram = Vec::new();
        Request::get(RTM_NEWLINK, &header)
            .attribute(IFLA_IFNAME, b"veth0\0")
            .attribute(IFLA_MTU, &1500_u32.to_ne_bytes())
            .attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 7])
            .nested(IFLA_LINKINFO, &[(IFLA_INFO_KIND, b"veth\0")])
            .nested(IFLA_XDP, &[(IFLA_XDP_ATTACHED, &[1]), (IFLA_XDP_PROG_ID, &42_u32.to_ne_bytes())])
            .emit(0, &mut datagram);
        let Content::Family(_, payload) = messages(&datagram).next().unwrap().content else { panic!() };
        payload.to_vec()
    }

    #[test]
    fn a_device_is_read() {
        let link = parse(&event(0)).unwrap();
        assert_eq!((link.ifindex, link.name.as_str(), link.mtu), (9, "veth0", 1500));
        assert_eq!(link.ethernet, Some([2, 0, 0, 0, 0, 7]));
        assert_eq!(link.kind.as_deref(), Some("veth"));
        assert_eq!(link.xdp, Some((1, 42)));
        assert!(link.is_up() && !link.has_carrier());
    }

    #[test]
    fn a_vlan_devices_tag_is_read() {
        let data = |attributes: &[(u16, &[u8])]| {
            let mut datagram = Vec::new();
            attributes
                .iter()
                .fold(Request::get(0, &[]), |all, (kind, value)| all.attribute(*kind, value))
                .emit(0, &mut datagram);
            datagram.split_off(16)
        };
        let id = 100_u16.to_ne_bytes();
        assert_eq!(tag(&data(&[(IFLA_VLAN_ID, &id)])), Some(Tags::vlan(100).0[0]));
        let service = data(&[(IFLA_VLAN_PROTOCOL, &[0x88, 0xa8]), (IFLA_VLAN_ID, &id)]);
        assert_eq!(tag(&service), Some(u32::from_ne_bytes([0x88, 0xa8, 0, 100])));
        assert_eq!((tag(&data(&[])), tag(&data(&[(IFLA_VLAN_ID, &[1])]))), (None, None));
    }

    #[test]
    fn a_bridges_word_about_its_port_is_not_about_the_device() {
        const AF_BRIDGE: u8 = 7;
        assert_eq!(parse(&event(AF_BRIDGE)), None);
    }
}
