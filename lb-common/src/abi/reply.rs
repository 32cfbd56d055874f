//! Flows that have to be remembered, because the tables alone do not explain their replies.

use crate::Address;
use crate::abi::VipKey;

/// A flow as it looks on the backend's side of a translation.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReplyKey {
    /// The client's address.
    pub client: Address,
    /// The backend's address, port and protocol.
    pub backend: VipKey,
    /// The client's port, in network byte order as it lies in memory.
    pub client_port: u16,
    /// Always zero.
    pub pad: u16,
}

impl ReplyKey {
    /// A key from the two ends; `client_port` as its bytes on the wire.
    #[inline(always)]
    pub const fn new(client: Address, client_port: [u8; 2], backend: VipKey) -> Self {
        Self { client, backend, client_port: u16::from_ne_bytes(client_port), pad: 0 }
    }
}

/// To whom a remembered flow belongs.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplyOwner {
    /// The id of the service whose VIP the client speaks to, or [`ReplyOwner::DIRECT`].
    pub service: u32,
    /// When the client's last packet came, in seconds of the kernel's monotonic clock. Kept for direct flows.
    pub seen_s: u32,
}

impl ReplyOwner {
    /// The client speaks to the backend's own address: its replies are none of Weir's business.
    pub const DIRECT: u32 = u32::MAX;

    /// How long a direct flow without connections is believed after its last packet, in seconds: as long as the
    /// kernel's own connection tracking believes an unanswered UDP flow's port (nf_conntrack_udp_timeout_stream is
    /// 120, nf_conntrack_udp_timeout 30), in between. A TCP flow is believed until the client sends a SYN to the VIP.
    pub const DIRECT_UDP_IDLE_S: u32 = 60;
}

const _: () = assert!(size_of::<ReplyKey>() == 40);
const _: () = assert!(size_of::<ReplyOwner>() == 8);
