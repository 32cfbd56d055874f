//! What a person ordered of a backend, kept where it outlives the controller. No program reads it.

use crate::abi::VipKey;

/// The backend that an order is about.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OrderKey {
    /// The VIP of the service that it serves.
    pub vip: VipKey,
    /// Where it listens.
    pub listens: VipKey,
}

/// An order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Order {
    /// [`OrderFlags`].
    pub flags: u32,
    /// The weight instead of the registry's, with [`OrderFlags::WEIGHT`].
    pub weight: u32,
    /// When a drain is over whatever is left, in seconds of the kernel's monotonic clock; 0: when nothing is left.
    pub deadline_s: u32,
    /// Always zero.
    pub pad: u32,
}

/// Bits of [`Order::flags`].
pub struct OrderFlags;

impl OrderFlags {
    /// It has another weight than the registry says.
    pub const WEIGHT: u32 = 1;
    /// It takes no new flows.
    pub const DRAIN: u32 = 2;
    /// At the drain's end it is taken out.
    pub const THEN_REMOVE: u32 = 4;
    /// As [`Self::THEN_REMOVE`], and what is left of its connections is reset.
    pub const THEN_RESET: u32 = 8;
    /// It is taken out.
    pub const REMOVED: u32 = 16;
}

const _: () = assert!(size_of::<OrderKey>() == 40);
const _: () = assert!(size_of::<Order>() == 16);
