//! What holds for all services.

use crate::Address;

/// How many addresses of each family flows of [`Forward::SNAT`](super::Forward::SNAT) may leave from.
pub const MAX_SNAT: usize = 8;

/// The one element of `SETTINGS`. An address of all zeroes is none.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Where IPv4 tunnels begin.
    pub tunnel_v4: Address,
    /// Where IPv6 tunnels begin.
    pub tunnel_v6: Address,
    /// Addresses that flows of [`Forward::SNAT`](super::Forward::SNAT) leave from, IPv4; those that are there come first.
    pub snat_v4: [Address; MAX_SNAT],
    /// The same, IPv6.
    pub snat_v6: [Address; MAX_SNAT],
    /// The port of UDP tunnels, in network byte order as it lies in memory.
    pub gue_port: u16,
    /// [`SettingsFlags`].
    pub flags: u16,
    /// For how many addresses every pool in `PORTS` has words; at least as many as there are of either family.
    pub stride: u32,
}

impl Settings {
    /// The port that is registered for GUE.
    pub const GUE_PORT: u16 = 6080;
}

/// Bits of [`Settings::flags`].
pub struct SettingsFlags;

impl SettingsFlags {
    /// Some service has every port: backends may listen at every port, too.
    pub const ANY_PORT: u16 = 1;
}

const _: () = assert!(size_of::<Settings>() == 296);
