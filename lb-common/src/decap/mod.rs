//! The end of a tunnel on a backend's host: what `weir decap` does to a packet.
//!
//! [`unwrap`] takes the outer headers off ipip (RFC 2003, RFC 2473, RFC 4213) and off gue variant 1, where the inner IP
//! header follows UDP directly (draft-ietf-intarea-gue §4), and leaves the rest to the host's stack. [`clamp`] lowers the
//! MSS that the host's SYN-ACKs advertise, so that what comes back through the tunnel fits into it. Both are pure, as
//! [`decide`](crate::decide()) is, and have tables of their own.

mod clamp;
mod ecn;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
mod inner;
mod link;
mod outcome;
mod outer;
mod tables;
mod unwrap;

pub use clamp::{Segment, clamp};
pub use outcome::{Action, ClampOutcome, DecapOutcome};
pub use tables::DecapTables;
pub use unwrap::unwrap;

/// The names of the maps, as the object file has them.
pub mod map {
    /// A prefix of [`Address`](crate::Address)es, as [`sender_bits`](super::sender_bits) counts its bits → 0.
    pub const SENDERS: &str = "SENDERS";
    /// [`Address`](crate::Address) → 0: where tunnels end here.
    pub const OURS: &str = "OURS";
    /// Inner destination [`Address`](crate::Address) → the largest overhead of its tunnels, in bytes.
    pub const UNWRAPPED: &str = "UNWRAPPED";
    /// 0 → the largest packet that the tunnels carry, their own headers and all, in bytes.
    pub const MTU: &str = "MTU";
    /// [`DecapOutcome`](super::DecapOutcome) index → packets, per CPU.
    pub const OUTCOMES: &str = "OUTCOMES";
    /// [`ClampOutcome`](super::ClampOutcome) index → SYN-ACKs, per CPU.
    pub const CLAMPED: &str = "CLAMPED";
}

/// The names of the programs.
pub mod program {
    /// Unwraps, on the device's ingress.
    pub const XDP: &str = "weir_decap";
    /// Lowers the MSS, on the device's egress.
    pub const EGRESS: &str = "weir_clamp";
}

/// The names of the constants that the loader sets.
pub mod constant {
    /// The UDP port of gue, as on the wire.
    pub const GUE_PORT: &str = "GUE_PORT";
    /// Not 0: overheads are remembered for [`clamp`](super::clamp()).
    pub const CLAMP: &str = "CLAMP";
}

/// How many senders, and how many addresses of ours, the maps hold.
pub const MAX_SENDERS: u32 = 1024;
/// See [`MAX_SENDERS`].
pub const MAX_OURS: u32 = 1024;
/// How many inner destinations are remembered; the least recently used is forgotten.
pub const MAX_UNWRAPPED: u32 = 4096;

/// The bits of a sender's prefix in the map, where IPv4 addresses lie behind 96 bits (see [`Address`](crate::Address)).
pub const fn sender_bits(v4: bool, prefix: u32) -> u32 {
    if v4 { 96 + prefix } else { prefix }
}

#[cfg(test)]
mod tests;
