//! Leaky-bucket limits: what was configured, and where the buckets are.

use crate::Address;

/// A limit in the units of the kernel's clock. See [`crate::gcra`] for the algorithm.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// What one unit (packet or byte) costs, in ticks, times 2^`shift`.
    pub cost: u64,
    /// How far ahead of the clock a bucket may be filled, in ticks. 0 is the strict leaky bucket: admit only into an
    /// empty one.
    pub depth_ticks: u64,
    /// See `cost`.
    pub shift: u32,
    /// [`LimitUnit`].
    pub unit: u16,
    /// [`LimitScope`].
    pub scope: u16,
}

/// The id of the limit that new entries of `FLOWS` are held to. No service has it.
pub const FLOW_LIMIT: u32 = 0;

/// The id of the limit that ICMP errors of Weir's own are held to (RFC 1812 §4.3.2.8, RFC 4443 §2.4). No service has it.
pub const ERROR_LIMIT: u32 = 1;

/// Values of [`Limit::unit`].
pub struct LimitUnit;

impl LimitUnit {
    /// Packets.
    pub const PACKETS: u16 = 0;
    /// Bytes of layer 3.
    pub const BYTES: u16 = 1;
}

/// Values of [`Limit::scope`].
pub struct LimitScope;

impl LimitScope {
    /// One bucket for the whole service.
    pub const SERVICE: u16 = 0;
    /// One bucket for each source address.
    pub const SOURCE: u16 = 1;
}

/// A bucket alone on its cache line, so that two services' limits do not share one.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketCell {
    /// When the bucket will be empty, in ticks.
    pub empty_at: u64,
    /// Always zero.
    pub pad: [u64; 7],
}

/// Whose bucket, under which limit.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SourceKey {
    /// The source address.
    pub source: Address,
    /// The limit's id.
    pub limit: u32,
}

const _: () = assert!(size_of::<Limit>() == 24);
const _: () = assert!(size_of::<BucketCell>() == 64);
const _: () = assert!(size_of::<SourceKey>() == 20);
