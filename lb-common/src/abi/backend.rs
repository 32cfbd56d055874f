//! Backends as the packet path needs them.

use crate::Address;

/// One backend of one service: what its packets are rewritten to, and the way out. One cache line.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backend {
    /// Its address, of the same family as the VIP.
    pub address: Address,
    /// Its port, in network byte order as it lies in memory.
    pub port: u16,
    /// How its packets leave: [`Delivery`].
    pub delivery: u16,
    /// The device to send from, where it is sent from XDP.
    pub ifindex: u32,
    /// The largest layer-3 packet the way takes, in bytes, for [`Delivery::DEVICE`].
    pub mtu: u32,
    /// The next hop's Ethernet address, for [`Delivery::DEVICE`].
    pub mac_destination: [u8; 6],
    /// The device's own, for [`Delivery::DEVICE`].
    pub mac_source: [u8; 6],
    /// The service it serves.
    pub service: u32,
    /// Counts the writes of this row, twice each: odd while one is under way. A reader that sees it change, or odd,
    /// has not read a whole row (a sequence lock, Lameter, "Effective Synchronization on Linux/NUMA Systems", 2005).
    pub version: u32,
    /// The weight that the service's table was built with, in units of 1/[`Self::WEIGHT_ONE`]; 0: it takes no new flows.
    /// No program reads it.
    pub weight: u32,
    /// Always zero.
    pub pad: [u32; 2],
}

impl Backend {
    /// What a registry's weight of one is in [`Backend::weight`]: fine enough for a slow start.
    pub const WEIGHT_ONE: u32 = 4096;
}

/// Values of [`Backend::delivery`].
pub struct Delivery;

impl Delivery {
    /// No such backend: the id was never given, or was taken back.
    pub const NONE: u16 = 0;
    /// The rewritten packet is handed to the host's stack, which routes it.
    pub const STACK: u16 = 1;
    /// The packet is sent from XDP.
    pub const DEVICE: u16 = 2;
    /// As [`Self::DEVICE`], by redirection also into the device it came in by.
    pub const REDIRECT: u16 = 3;
}

const _: () = assert!(size_of::<Backend>() == 64);
const _: () = assert!(core::mem::offset_of!(Backend, version) == 44);
