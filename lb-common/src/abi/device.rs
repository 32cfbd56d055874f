//! Network devices, as far as the packet path cares.

use super::Tags;

/// A value in `DEVICES`, which is keyed by a device's index.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Device {
    /// [`DeviceFlags`].
    pub flags: u32,
    /// The device that frames are sent from: itself, or the one that a VLAN device stands on.
    pub link: u32,
    /// The tags that frames for it get: those of the VLAN devices between it and `link`.
    pub tags: Tags,
}

/// Bits of [`Device::flags`].
pub struct DeviceFlags;

impl DeviceFlags {
    /// Frames can be sent out of it from XDP.
    pub const TRANSMIT: u32 = 1;
    /// Weir's programs are attached to it: what comes in by it has been seen.
    pub const ATTACHED: u32 = 2;
    /// Frames go out by redirection also when they came in by it: see [`Verdict::Transmit`](crate::Verdict::Transmit).
    pub const REDIRECT: u32 = 4;
    /// Frames of several buffers can be redirected into it (the kernel's `NETDEV_XDP_ACT_NDO_XMIT_SG`).
    pub const SCATTER: u32 = 8;
    /// Weir's program on it runs in the stack, where several packets may have been merged into one.
    pub const GENERIC: u32 = 16;
}

const _: () = assert!(size_of::<Device>() == 16);
