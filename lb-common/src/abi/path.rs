//! What is known of the paths that tunnels take.

/// A path MTU that "fragmentation needed" or "packet too big" told of (RFC 1191, RFC 8201), by the tunnel's far end.
///
/// The controller makes an entry for every far end; programs change it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathMtu {
    /// The largest packet in bytes, with what the tunnel puts in front; 0 when nothing was told.
    pub mtu: u32,
    /// When it was told, in seconds of the kernel's monotonic clock.
    pub told_s: u32,
}

impl PathMtu {
    /// How long it is believed, in seconds (RFC 1191 §6.3, RFC 8201 §4: 10 minutes).
    pub const LIFETIME_S: u32 = 600;
}

const _: () = assert!(size_of::<PathMtu>() == 8);
