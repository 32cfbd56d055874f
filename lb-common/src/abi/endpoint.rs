//! Where backends listen, so that their replies are recognised.

/// What is known of an address and port from which replies come.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// The service it serves. When it serves several, one of them: the others' flows are remembered
    /// ([`ServiceFlags::REMEMBER_REPLIES`](super::ServiceFlags::REMEMBER_REPLIES)).
    pub service: u32,
    /// The backend's id in that service.
    pub backend: u32,
    /// [`EndpointFlags`].
    pub flags: u32,
}

/// Bits of [`Endpoint::flags`].
pub struct EndpointFlags;

impl EndpointFlags {
    /// Replies from here may be of [`Forward::NAT`](super::Forward::NAT).
    pub const NAT: u32 = 1;
    /// Replies from here may be of [`Forward::SNAT`](super::Forward::SNAT).
    pub const SNAT: u32 = 2;
}

const _: () = assert!(size_of::<Endpoint>() == 12);
