//! Addresses of devices (if_addr.h, `struct ifaddrmsg`).

use std::net::IpAddr;

use super::message::{Request, address_of, attributes};

const RTM_GETADDR: u16 = 22;

const HEADER_LENGTH: usize = 8;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// An address, and the index of the device that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceAddress {
    pub(crate) ifindex: u32,
    pub(crate) address: IpAddr,
}

/// Asks for every address of every device.
pub(crate) fn list() -> Request {
    Request::dump(RTM_GETADDR, &[0; HEADER_LENGTH])
}

/// Reads an address, from an answer.
pub(crate) fn parse(payload: &[u8]) -> Option<DeviceAddress> {
    let header: &[u8; HEADER_LENGTH] = payload.first_chunk()?;
    let of = |wanted| {
        attributes(payload, HEADER_LENGTH).find(|(kind, _)| *kind == wanted).and_then(|(_, value)| address_of(value))
    };
    // Of a point-to-point device IFA_ADDRESS is the other end's; IPv6 has IFA_LOCAL only there.
    let address = of(IFA_LOCAL).or_else(|| of(IFA_ADDRESS))?;
    Some(DeviceAddress { ifindex: u32::from_ne_bytes([header[4], header[5], header[6], header[7]]), address })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::{Content, messages};

    fn parsed(attributes: &[(u16, &[u8])]) -> Option<DeviceAddress> {
        let request = Request::get(20, &[2, 24, 0, 0, 7, 0, 0, 0]);
        let request = attributes.iter().fold(request, |request, (kind, value)| request.attribute(*kind, value));
        let mut datagram = Vec::new();
        request.emit(0, &mut datagram);
        let Content::Family(_, payload) = messages(&datagram).next().unwrap().content else { panic!() };
        parse(payload)
    }

    #[test]
    fn the_devices_own_end_is_taken() {
        let own = Some(DeviceAddress { ifindex: 7, address: "192.0.2.1".parse().unwrap() });
        assert_eq!(parsed(&[(IFA_ADDRESS, &[192, 0, 2, 1])]), own);
        assert_eq!(parsed(&[(IFA_ADDRESS, &[192, 0, 2, 9]), (IFA_LOCAL, &[192, 0, 2, 1])]), own);
        assert_eq!(parsed(&[(3, b"eth0\0")]), None);
    }
}
