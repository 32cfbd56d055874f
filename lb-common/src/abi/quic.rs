//! QUIC servers, known by the connection ids that they give out (draft-ietf-quic-load-balancers).

/// The longest server id (draft-ietf-quic-load-balancers-21 §3.1), in bytes.
pub const MAX_SERVER_ID: usize = 15;

/// A server id, of one service.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QuicKey {
    /// The service.
    pub service: u32,
    /// The server id; what it is shorter is zero.
    pub server_id: [u8; MAX_SERVER_ID],
    /// Its length.
    pub length: u8,
}

/// Which connection ids a service routes: [`Service::quic`](super::Service::quic).
///
/// Bits 0 to 3: the length of a server id; 0 when the service does not look at connection ids. Bits 4 to 6: the
/// configuration's number, which a connection id begins with.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuicIds(pub u32);

impl QuicIds {
    /// The service does not look at connection ids.
    pub const NONE: Self = Self(0);

    /// Connection ids of this configuration, below 7, with server ids of `length` bytes, 1 to [`MAX_SERVER_ID`].
    pub const fn new(config: u8, length: u8) -> Self {
        Self((length & 0x0f) as u32 | ((config & 7) as u32) << 4)
    }

    /// Bytes of a server id; 0 for none.
    #[inline(always)]
    pub const fn length(self) -> usize {
        (self.0 & 0x0f) as usize
    }

    /// The configuration's number.
    #[inline(always)]
    pub const fn config(self) -> u8 {
        (self.0 >> 4 & 7) as u8
    }
}

const _: () = assert!(size_of::<QuicKey>() == 20);
