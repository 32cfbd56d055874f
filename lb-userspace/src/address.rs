//! Between the addresses of the maps and those of the standard library.

use std::net::{IpAddr, SocketAddr};

use lb_common::Address;
use lb_common::abi::VipKey;
use lb_common::parse::{SCTP, TCP, UDP};

use crate::vip::{Protocol, Vip};

/// The IANA number of a protocol.
pub const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        Protocol::Sctp => SCTP,
    }
}

/// The key by which the packet path finds an address, port and protocol.
pub fn key(address: IpAddr, port: u16, protocol: Protocol) -> VipKey {
    VipKey::new(address.into(), port.to_be_bytes(), protocol_number(protocol))
}

/// The key of a VIP.
pub fn vip_key(vip: &Vip) -> VipKey {
    key(vip.address, vip.port, vip.protocol)
}

/// An address and a port's bytes on the wire, as a person writes them.
pub fn show(address: Address, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(address.into(), u16::from_be_bytes(port))
}
