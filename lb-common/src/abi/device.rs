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
    /// Which networks who is behind it belongs to, as bits: see [`Networks`].
    pub networks: u32,
    /// The device by which the stack sees what comes in by it: a port's bridge, or itself.
    pub upper: u32,
    /// Its Ethernet address; zeroes of a device without.
    pub mac: [u8; 6],
    /// Always zero.
    pub pad: u16,
}

/// Bits that say from where a service may be used: [`Service::networks`](super::Service::networks) and [`Device::networks`].
pub struct Networks;

impl Networks {
    /// Whoever comes by a device that Weir's XDP program is attached to.
    pub const OUTSIDE: u32 = 1;
    /// Nobody is there: what a service that nobody may use names.
    pub const NOBODY: u32 = 1 << 31;
    /// The bits that networks of containers have.
    pub const CONTAINERS: core::ops::Range<u32> = 1..31;
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
    /// A port of a bridge with Weir's tc program: what comes in by it is decided there.
    pub const PORT: u32 = 32;
    /// A bridge of this host: frames for whoever is behind it go into it from tc, past the stack's firewall.
    pub const BRIDGE: u32 = 64;
    /// Packets leave by it when their time has come: its queue is `fq`.
    pub const TIMED: u32 = 128;
    /// Packets leave by it by their class: its queue is Weir's own `htb`.
    pub const CLASSED: u32 = 256;
}

const _: () = assert!(size_of::<Device>() == 32);
