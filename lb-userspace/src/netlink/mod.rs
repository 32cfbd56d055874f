//! What Weir asks the kernel over netlink, and what it reads from the answers.
//!
//! Only the attributes that are needed are read, and those nobody here knows are skipped: a newer kernel that says
//! more must not cost Weir an answer. Numbers are from the kernel's `include/uapi/linux/`: netlink.h, rtnetlink.h,
//! if_link.h, neighbour.h, pkt_sched.h, genetlink.h, netdev.h, ethtool_netlink.h.

pub(crate) mod address;
pub(crate) mod ethtool;
pub(crate) mod fdb;
pub(crate) mod generic;
pub(crate) mod htb;
pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod neighbour;
pub(crate) mod netdev;
pub(crate) mod qdisc;
pub(crate) mod received;
pub(crate) mod route;
pub(crate) mod socket;

/// `NETLINK_ROUTE`: links, addresses, routes, neighbours.
pub(crate) const ROUTE: isize = 0;
/// `NETLINK_GENERIC`: families that are looked up by name.
pub(crate) const GENERIC: isize = 16;

/// `AF_INET`, `AF_INET6` (linux/socket.h).
pub(crate) const AF_INET: u8 = 2;
/// See [`AF_INET`].
pub(crate) const AF_INET6: u8 = 10;
/// What bridges say of themselves comes under this family.
pub(crate) const AF_BRIDGE: u8 = 7;

/// The family of an address, as netlink headers want it.
pub(crate) fn family(address: std::net::IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}
