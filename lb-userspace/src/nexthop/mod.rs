//! Next hops of backends, from the kernel's own routes and neighbours.
//!
//! A [`Follower`] asks the kernel how it would send to each backend, and listens for whatever may change the answer.
//! What it lets the kernel decide:
//! - The route is the kernel's own lookup for a packet of this host's. Where a route has several next hops (ECMP) the
//!   kernel picks one for the address. Policy rules that go by source address or incoming device are not considered.
//! - The neighbour is found and confirmed by the kernel (ARP, Neighbour Discovery), which is asked to as if there were
//!   a packet for it: frames sent by XDP do not keep an entry alive.
//! - The port of a bridge is the bridge's to learn.

mod clients;
mod fdb;
mod follower;
mod kernel;
mod reached;
mod search;
mod table;

use lb_common::abi::Tags;

pub use clients::Clients;
pub use follower::Follower;
pub use reached::{NextHops, Reached};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// How many addresses can be followed.
pub const MAX_FOLLOWED: usize = 131_072;

/// How a packet for an address leaves this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// XDP can send it: out of this device, with these Ethernet addresses.
    Device {
        /// The index of the device that the frame is sent from: of one that is no VLAN device.
        ifindex: u32,
        /// The tags that it gets, those of the VLAN devices that the route leads through.
        tags: Tags,
        /// Its own Ethernet address.
        source: Mac,
        /// The neighbour's.
        destination: Mac,
        /// The largest layer-3 packet that may be sent, in bytes: the route's `mtu` (or the path MTU the kernel
        /// learnt), else the device's.
        mtu: u32,
    },
    /// XDP cannot send it, so the stack does.
    Stack(StackReason),
}

/// Why the stack has to deliver to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackReason {
    /// The kernel has no route to the address, or one that says unreachable, prohibit or blackhole.
    NoRoute,
    /// The address is this host's own.
    Local,
    /// The next hop's Ethernet address is not known (yet): the kernel was asked to find it.
    Unresolved,
    /// The device's driver cannot transmit frames from XDP, or the device has no Ethernet addresses (a bridge, a
    /// tunnel, loopback), or the route encapsulates (MPLS, SRv6).
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
    /// Whether frames can be redirected into it from a program in a driver (native XDP). The kernel says so where it
    /// can (Linux 6.3: `NETDEV_XDP_ACT_NDO_XMIT`); before, it is taken for granted of physical devices, veth and bonds.
    pub can_transmit: bool,
    /// The largest layer-3 packet it takes, in bytes.
    pub mtu: u32,
    /// Its Ethernet address, if it is an Ethernet device. A program in generic (skb) mode can redirect into any such.
    pub ethernet: Option<Mac>,
    /// What `ip link` calls its type (`veth`, `bridge`, `bond`…); `None` for a physical device.
    pub kind: Option<String>,
    /// The index of the device that frames for it are sent from: itself, or the one that a VLAN device stands on.
    pub link: u32,
    /// The tags that they get.
    pub tags: Tags,
    /// Whether frames of several buffers can be redirected there (Linux 6.3: `NETDEV_XDP_ACT_NDO_XMIT_SG`).
    pub can_scatter: bool,
    /// Whether it was set up (`ip link set … up`).
    pub is_up: bool,
    /// The index of the bridge that it is a port of.
    pub bridge: Option<u32>,
    /// Whether it is a veth device whose other end is in another network namespace.
    pub has_peer_elsewhere: bool,
}

impl Device {
    /// Whether it is a bridge.
    pub fn is_bridge(&self) -> bool {
        self.kind.as_deref() == Some("bridge")
    }
}

/// The port of a bridge that somebody is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Its index.
    pub ifindex: u32,
    /// Whether frames can be put before its peer, which is in another network namespace (`bpf_redirect_peer`).
    pub peer: bool,
}

/// The Ethernet frame that reaches an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The index of the device that it is sent from.
    pub ifindex: u32,
    /// The tags that it gets.
    pub tags: Tags,
    /// The Ethernet address of the device that the route names.
    pub source: Mac,
    /// The neighbour's Ethernet address.
    pub destination: Mac,
    /// The largest layer-3 packet, in bytes, as in [`Hop::Device`]; the port's counts, too.
    pub mtu: u32,
    /// Where the device is a bridge: the port that the neighbour is behind, once it is known.
    pub port: Option<Port>,
}
