//! Route lookups (rtnetlink.h, `struct rtmsg`).

use std::net::IpAddr;

use super::message::{Request, address_of, attributes, u32_of};
use super::socket::Answer;
use super::{AF_INET, AF_INET6, family};

pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const HEADER_LENGTH: usize = 12;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_VIA: u16 = 18;
const RTA_ENCAP_TYPE: u16 = 21;

const RTAX_MTU: u16 = 2;

const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_ANYCAST: u8 = 4;

/// How the kernel would route a packet of this host's own to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Not at all: no route, or one that says unreachable, blackhole or prohibit.
    NoRoute,
    /// To itself.
    Local,
    /// Out of a device.
    Path(Path),
}

/// A way out of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    /// The device.
    pub(crate) ifindex: u32,
    /// The router, unless the address is on the link. May be an IPv6 address for an IPv4 destination (RFC 5549).
    pub(crate) gateway: Option<IpAddr>,
    /// The route's own limit to layer-3 packets, in bytes, or a path MTU that was learnt.
    pub(crate) mtu: Option<u32>,
    /// The address that packets of this host's own come from there.
    pub(crate) source: Option<IpAddr>,
    /// The route encapsulates (MPLS, SRv6, a light-weight tunnel): a plain frame would be wrong.
    pub(crate) encapsulates: bool,
}

/// Asks for the route to an address.
pub(crate) fn lookup(address: IpAddr) -> Request {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let mut header = [0; HEADER_LENGTH];
    (header[0], header[1]) = (family(address), length);
    Request::get(RTM_GETROUTE, &header).address(RTA_DST, address)
}

/// Reads the answer to [`lookup`]; `None` when it says nothing about the route (the kernel was short of memory).
pub(crate) fn answered(answer: &Answer) -> Option<Lookup> {
    const ENOMEM: i32 = 12;
    const ENOBUFS: i32 = 105;
    match answer {
        Answer::Message(payload) => parse(payload),
        Answer::Refused(ENOMEM | ENOBUFS) | Answer::Acknowledged => None,
        // ENETUNREACH, EHOSTUNREACH, EACCES (prohibit), EINVAL (blackhole)…: the error is the route's.
        Answer::Refused(_) => Some(Lookup::NoRoute),
    }
}

fn parse(payload: &[u8]) -> Option<Lookup> {
    match *payload.get(7)? {
        RTN_UNICAST => {}
        RTN_LOCAL | RTN_ANYCAST => return Some(Lookup::Local),
        // Broadcast and multicast have no next hop either.
        _ => return Some(Lookup::NoRoute),
    }
    let mut path = Path { ifindex: 0, gateway: None, mtu: None, source: None, encapsulates: false };
    for (kind, value) in attributes(payload, HEADER_LENGTH) {
        match kind {
            RTA_OIF => path.ifindex = u32_of(value)?,
            RTA_GATEWAY => path.gateway = address_of(value),
            RTA_PREFSRC => path.source = address_of(value),
            // `struct rtvia`: a family of two bytes, then the address.
            RTA_VIA => path.gateway = value.get(2..).and_then(address_of),
            RTA_METRICS => {
                path.mtu = attributes(value, 0)
                    .find_map(|(kind, value)| (kind == RTAX_MTU).then(|| u32_of(value)).flatten())
                    .filter(|&mtu| mtu > 0);
            }
            RTA_ENCAP_TYPE => path.encapsulates = true,
            _ => {}
        }
    }
    Some(if path.ifindex == 0 { Lookup::NoRoute } else { Lookup::Path(path) })
}

/// The addresses that a route event is about: the first and the last.
pub(crate) fn destination(payload: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let (family, length) = (*payload.first()?, *payload.get(1)?);
    let address = attributes(payload, HEADER_LENGTH).find_map(|(kind, value)| (kind == RTA_DST).then_some(value));
    match family {
        AF_INET => {
            let bytes = address.map_or(Some([0; 4]), |value| value.try_into().ok())?;
            let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
            let bits = u32::from_be_bytes(bytes);
            Some((IpAddr::V4((bits & !host).into()), IpAddr::V4((bits | host).into())))
        }
        AF_INET6 => {
            let bytes = address.map_or(Some([0; 16]), |value| value.try_into().ok())?;
            let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
            let bits = u128::from_be_bytes(bytes);
            Some((IpAddr::V6((bits & !host).into()), IpAddr::V6((bits | host).into())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::{Content, messages};

    fn payload(request: &Request) -> Vec<u8> {
        let mut datagram = Vec::new();
        request.emit(1, &mut datagram);
        let Content::Family(_, payload) = messages(&datagram).next().unwrap().content else { panic!() };
        payload.to_vec()
    }

    fn route(family: u8, length: u8, kind: u8) -> Request {
        Request::get(RTM_NEWROUTE, &[family, length, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0])
    }

    #[test]
    fn an_ipv6_router_for_ipv4_and_the_routes_mtu_are_read() {
        let answer = route(AF_INET, 32, RTN_UNICAST)
            .attribute(RTA_OIF, &7_u32.to_ne_bytes())
            .attribute(RTA_PREFSRC, &[10, 0, 0, 9])
            .attribute(RTA_VIA, &[[10, 0].as_slice(), &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]].concat())
            .nested(RTA_METRICS, &[(RTAX_MTU, &1400_u32.to_ne_bytes())]);
        let expected = Path {
            ifindex: 7,
            gateway: Some("fe80::1".parse().unwrap()),
            mtu: Some(1400),
            source: Some("10.0.0.9".parse().unwrap()),
            encapsulates: false,
        };
        assert_eq!(answered(&Answer::Message(payload(&answer))), Some(Lookup::Path(expected)));
    }

    #[test]
    fn routes_that_lead_nowhere_and_home() {
        for (kind, expected) in [(2, Lookup::Local), (6, Lookup::NoRoute), (7, Lookup::NoRoute), (8, Lookup::NoRoute)] {
            let answer = route(AF_INET6, 128, kind).attribute(RTA_OIF, &1_u32.to_ne_bytes());
            assert_eq!(answered(&Answer::Message(payload(&answer))), Some(expected), "type {kind}");
        }
        assert_eq!(answered(&Answer::Refused(101)), Some(Lookup::NoRoute));
        assert_eq!(answered(&Answer::Refused(105)), None, "no memory is not no route");
    }

    #[test]
    fn an_event_names_the_addresses_it_is_about() {
        let range = |request: Request| destination(&payload(&request)).unwrap();
        let v4 = route(AF_INET, 20, RTN_UNICAST).attribute(RTA_DST, &[10, 1, 16, 0]);
        assert_eq!(range(v4), ("10.1.16.0".parse().unwrap(), "10.1.31.255".parse().unwrap()));
        let default = route(AF_INET6, 0, RTN_UNICAST);
        let all = u128::MAX.into();
        assert_eq!(range(default), ("::".parse().unwrap(), IpAddr::V6(all)));
        let host = route(AF_INET, 32, RTN_LOCAL).attribute(RTA_DST, &[10, 1, 2, 3]);
        assert_eq!(range(host), ("10.1.2.3".parse().unwrap(), "10.1.2.3".parse().unwrap()));
    }
}
