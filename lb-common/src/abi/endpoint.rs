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
}

const _: () = assert!(size_of::<Endpoint>() == 8);
