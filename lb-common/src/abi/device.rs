//! Network devices, as far as the packet path cares.

/// Bits of a value in `DEVICES`, which is keyed by a device's index.
pub struct DeviceFlags;

impl DeviceFlags {
    /// Frames can be sent out of it from XDP.
    pub const TRANSMIT: u32 = 1;
    /// Weir's programs are attached to it: what comes in by it has been seen.
    pub const ATTACHED: u32 = 2;
    /// Frames go out by redirection also when they came in by it: see [`Verdict::Transmit`](crate::Verdict::Transmit).
    pub const REDIRECT: u32 = 4;
}
