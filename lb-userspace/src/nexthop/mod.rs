//! Next hops of backends, from the kernel's own routes and neighbours.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// How a packet for an address leaves this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// XDP can send it: out of this device, with these Ethernet addresses.
    Device {
        /// The device's index.
        ifindex: u32,
        /// Its own Ethernet address.
        source: Mac,
        /// The neighbour's.
        destination: Mac,
        /// The largest layer-3 packet the device takes, in bytes.
        mtu: u32,
    },
    /// XDP cannot send it, so the stack does.
    Stack(StackReason),
}

/// Why the stack has to deliver to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackReason {
    /// The kernel has no route to the address.
    NoRoute,
    /// The address is this host's own.
    Local,
    /// The next hop's Ethernet address is not known (yet): the kernel was asked to find it.
    Unresolved,
    /// The device's driver cannot transmit frames from XDP, or the device has no Ethernet addresses (a bridge, a
    /// tunnel, loopback).
    CannotTransmit {
        /// The device's name.
        device: String,
    },
}

/// A network device, as far as sending from XDP goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Whether frames can be redirected into it from XDP.
    pub can_transmit: bool,
    /// The largest layer-3 packet it takes, in bytes.
    pub mtu: u32,
}

/// What the kernel says at one moment about the addresses that are followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NextHops {
    /// The next hop of each followed address; every followed address is present once it was looked up.
    pub hops: BTreeMap<IpAddr, Hop>,
    /// The name of the device by which each address with a route is reached.
    pub via: BTreeMap<IpAddr, String>,
    /// Every device of the network namespace, by index.
    pub devices: BTreeMap<u32, Device>,
}
