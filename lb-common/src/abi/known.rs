//! Addresses that Weir knows, whatever the port.

/// Bits of a value in `ADDRESSES`, which is keyed by [`Address`](crate::Address).
pub struct AddressFlags;

impl AddressFlags {
    /// A VIP: some service listens there.
    pub const VIP: u32 = 1;
    /// Some service there has every port.
    pub const ANY_PORT: u32 = 2;
    /// Echo requests to it are answered in place of a backend.
    pub const ECHO: u32 = 4;
    /// What comes for a port without a service is answered by "port unreachable", and not left to the host.
    pub const CLOSED: u32 = 8;
    /// Flows to backends leave from here: [`Forward::SNAT`](super::Forward::SNAT). No program reads it.
    pub const SNAT: u32 = 16;
    /// Tunnels begin here.
    pub const TUNNEL: u32 = 32;
}
