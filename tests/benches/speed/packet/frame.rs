//! Frames of clients.

use std::net::IpAddr;

use weir::vip::{Protocol, Vip};

use super::driver::Packets;

/// TCP's flags.
pub(super) const SYN: u8 = 0x02;
pub(super) const ACK: u8 = 0x10;

/// Where a client's first flow comes from.
pub(super) fn client(v4: bool) -> IpAddr {
    if v4 { IpAddr::from([198, 51, 100, 1]) } else { "2001:db8:1::1".parse().expect("an address") }
}

/// Packets to a VIP.
pub(super) fn packets(vip: &Vip, tcp_flags: u8, flows: u32, expected: u32) -> Packets {
    let (v4, tcp) = (vip.address.is_ipv4(), vip.protocol == Protocol::Tcp);
    let mut transport = vec![];
    transport.extend(1024_u16.to_be_bytes());
    transport.extend(vip.port.to_be_bytes());
    if tcp {
        transport.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, tcp_flags, 0xff, 0xff, 0x12, 0x34, 0, 0]);
    } else {
        transport.extend([0, 20, 0x12, 0x34]);
    }
    transport.resize(20, 0);
    let protocol = if tcp { 6 } else { 17 };
    let mut frame = vec![2, 0, 0, 0, 3, 1, 2, 0, 0, 0, 3, 2];
    match (client(v4), vip.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([8, 0, 0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, protocol, 0x12, 0x34]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => unreachable!("the client is of the VIP's family"),
    }
    frame.extend(transport);
    Packets { frame, v4, flows, expected }
}
