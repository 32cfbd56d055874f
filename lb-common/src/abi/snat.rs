//! Flows both ends of which are rewritten.

use super::VipKey;
use crate::Address;

/// 64-bit words of a pool of ports: one bit a port, set while a flow has it. The ports below 1,024 are never given away;
/// their sixteen words say which of the pool's words are full, one bit a word.
pub const PORT_WORDS: u32 = 1024;

/// The first word of a pool whose bits are ports.
pub const FIRST_PORT_WORD: u32 = 16;

/// What a flow of [`Forward::SNAT`](super::Forward::SNAT) has, found by its [`FlowKey`](super::FlowKey).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snat {
    /// Where its packets come from, as the backend sees it.
    pub source: Address,
    /// Where its packets go to: where its backend listens.
    pub listens: VipKey,
    /// The backend's id.
    pub backend: u32,
    /// When its last packet from the client came, in seconds of the kernel's monotonic clock.
    pub seen_s: u32,
    /// What the client sent so far: [`FlowFlags`](super::FlowFlags).
    pub client: u32,
    /// The port, in network byte order as it lies in memory.
    pub port: u16,
    /// Which pool the port is of.
    pub pool: u16,
    /// Which of the addresses in [`Settings`](super::Settings) `source` is: a pool has [`PORT_WORDS`] for each.
    pub index: u32,
}

impl Snat {
    /// What replies to it look like.
    #[inline(always)]
    pub const fn reply_key(&self) -> SnatReplyKey {
        SnatReplyKey { source: self.source, backend: self.listens, port: self.port, pad: 0 }
    }
}

/// A flow as its replies look: from where the backend listens to where its packets come from.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SnatReplyKey {
    /// Where packets to the backend come from.
    pub source: Address,
    /// Where the backend listens.
    pub backend: VipKey,
    /// The port that belongs to `source`, in network byte order as it lies in memory.
    pub port: u16,
    /// Always zero.
    pub pad: u16,
}

/// Whose a reply is.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnatReply {
    /// The client's address.
    pub client: Address,
    /// The service whose VIP the client speaks to.
    pub service: u32,
    /// The client's port, in network byte order as it lies in memory.
    pub client_port: u16,
    /// Always zero.
    pub pad: u16,
    /// The backend's id.
    pub backend: u32,
    /// When its last packet came, in seconds of the kernel's monotonic clock.
    pub seen_s: u32,
    /// What the backend sent so far: [`FlowFlags`](super::FlowFlags).
    pub server: u32,
}

const _: () = assert!(size_of::<Snat>() == 56);
const _: () = assert!(size_of::<SnatReplyKey>() == 40);
const _: () = assert!(size_of::<SnatReply>() == 36);
