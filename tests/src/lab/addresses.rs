//! The lab's addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What clients route to Weir's host, IPv4.
pub const VIP_V4_PREFIX: &str = "203.0.113.0/24";
/// What clients route to Weir's host, IPv6.
pub const VIP_V6_PREFIX: &str = "2001:db8:f00d::/64";

/// Weir's address on [`FRONT`], IPv4.
pub const WEIR_FRONT_V4: Ipv4Addr = front_v4(1);
/// Weir's address on [`FRONT`], IPv6.
pub const WEIR_FRONT_V6: Ipv6Addr = front_v6(1);
/// Weir's address on [`BACK`], IPv4: the backends' default gateway.
pub const WEIR_BACK_V4: Ipv4Addr = back_v4(1);
/// Weir's address on [`BACK`], IPv6: the backends' default gateway.
pub const WEIR_BACK_V6: Ipv6Addr = back_v6(1);

pub(super) const fn front_v4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, host)
}

pub(super) const fn front_v6(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, hex_digits(host))
}

pub(super) const fn back_v4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, host)
}

pub(super) const fn back_v6(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, hex_digits(host))
}

/// The address of the hop on the backends' side, IPv4: their default gateway then.
pub(super) const HOP_FAR_V4: Ipv4Addr = far_v4(1);
/// The same, IPv6.
pub(super) const HOP_FAR_V6: Ipv6Addr = far_v6(1);
/// The address of the hop on Weir's side, IPv4.
pub const HOP_NEAR_V4: Ipv4Addr = back_v4(2);
/// The address of the hop on Weir's side, IPv6.
pub const HOP_NEAR_V6: Ipv6Addr = back_v6(2);

/// Where backends are that are behind a hop.
pub(super) const fn far_v4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, host)
}

/// The same, IPv6.
pub(super) const fn far_v6(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, hex_digits(host))
}

/// Host 11 is written `…11` in both families, so that a person sees which two addresses are one machine's.
const fn hex_digits(host: u8) -> u16 {
    let host = host as u16;
    ((host / 100) << 8) | ((host / 10 % 10) << 4) | (host % 10)
}

/// An address out of [`VIP_V4_PREFIX`].
pub const fn vip_v4(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, host))
}

/// An address out of [`VIP_V6_PREFIX`], written with the same digits as [`vip_v4`]'s.
pub const fn vip_v6(host: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf00d, 0, 0, 0, 0, hex_digits(host)))
}
