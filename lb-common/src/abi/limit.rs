//! Limits: what was configured, and where the buckets are.

use crate::Address;

/// A limit in the units of the kernel's clock. See [`crate::gcra`] for the algorithm.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// What one unit (packet, byte or new connection) costs, in ticks, times 2^`shift`.
    pub cost: u64,
    /// How far ahead of the clock a bucket may be filled, in ticks. 0 is the strict leaky bucket: admit only into an
    /// empty one. Of [`LimitUnit::CONNECTIONS`], how many there may be at once.
    pub depth_ticks: u64,
    /// See `cost`.
    pub shift: u32,
    /// [`LimitUnit`].
    pub unit: u8,
    /// [`LimitScope`].
    pub scope: u8,
    /// [`LimitOver`].
    pub over: u8,
    /// [`LimitFlags`].
    pub flags: u8,
    /// How many bits of an IPv4 source's address say whose bucket it is, 1 to 32; of [`LimitScope::SOURCE`].
    pub prefix_v4: u8,
    /// The same of IPv6, 1 to 128.
    pub prefix_v6: u8,
    /// Always zero.
    pub pad: u16,
    /// Of [`LimitFlags::FAIR`]: for how long rates are measured, in nanoseconds, as a power of two.
    pub window: u32,
}

impl Limit {
    /// How many bits of a source's address, of 128, say whose bucket it is. IPv4 addresses are the last quarter.
    #[inline(always)]
    pub const fn source_bits(&self, v4: bool) -> u8 {
        if v4 { 96 + (self.prefix_v4 & 63) } else { self.prefix_v6 }
    }
}

/// The id of the limit that new entries of `FLOWS` are held to. No service has it.
pub const FLOW_LIMIT: u32 = 0;

/// The id of the limit that ICMP errors of Weir's own are held to (RFC 1812 §4.3.2.8, RFC 4443 §2.4). No service has it.
pub const ERROR_LIMIT: u32 = 1;

/// How many limits there may be in all: a service has their ids, plus one, in 16 bits.
pub const MAX_LIMIT_IDS: u32 = 0xffff;

/// Values of [`Limit::unit`].
pub struct LimitUnit;

impl LimitUnit {
    /// Packets.
    pub const PACKETS: u8 = 0;
    /// Bytes of layer 3.
    pub const BYTES: u8 = 1;
    /// New connections: packets that open one.
    pub const OPENINGS: u8 = 2;
    /// Connections at the same time.
    pub const CONNECTIONS: u8 = 3;
}

/// Values of [`Limit::scope`].
pub struct LimitScope;

impl LimitScope {
    /// One bucket for the whole service.
    pub const SERVICE: u8 = 0;
    /// One bucket for each source address, or for all that have the first bits of it in common.
    pub const SOURCE: u8 = 1;
    /// One bucket for each backend.
    pub const BACKEND: u8 = 2;
}

/// Values of [`Limit::over`]: what becomes of what is over the limit.
pub struct LimitOver;

impl LimitOver {
    /// It is dropped.
    pub const DROP: u8 = 0;
    /// Its sender is told, by ECN's CE (RFC 3168 §5), if it understands; else it is dropped.
    pub const MARK: u8 = 1;
    /// It is counted, and goes on.
    pub const COUNT: u8 = 2;
    /// It waits, where there is a queue; else it is dropped.
    pub const DELAY: u8 = 3;
}

/// Bits of [`Limit::flags`].
pub struct LimitFlags;

impl LimitFlags {
    /// Of what backends send to clients; else of what clients send.
    pub const OUT: u8 = 1;
    /// Sources below their fair share are not the ones that lose.
    pub const FAIR: u8 = 2;
    /// Nothing but a limit per service or per source of packets or bytes that come in, not fair, over which they are dropped or
    /// counted: the fast way can ask it.
    pub const PLAIN: u8 = 4;
}

/// A bucket alone on its cache line, so that two services' limits do not share one.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketCell {
    /// When the bucket will be empty, in ticks; of connections, see [`crate::gauge`].
    pub empty_at: u64,
    /// Of a fair limit, the share of a source: how many ticks it may cost in the limit's window. 0 is none yet.
    pub share: u64,
    /// When `share` was looked at last, in nanoseconds.
    pub adapted_ns: u64,
    /// How full the bucket was then, in ticks; of a limit that marks, which is never fair, when it may mark again, in 1,024 ns,
    /// above how often it did without a pause, in the lowest eight bits.
    pub seen_or_due: u64,
    /// Of a limit that marks, when the bucket will be empty that marked packets fill, too.
    pub debt: u64,
    /// What the fast way asks it.
    pub plain: PlainLimit,
}

/// As much of a limit as the fast way asks, beside its bucket: one line of the cache for both. All zeroes of a limit that it does not
/// ask by itself.
///
/// It is written word by word while packets ask it: its cost becomes 0 before anything else changes, and what it is to be after
/// that. A packet that read the one half before and the other half after is held to one of both rates and one of both depths; of
/// both scopes there is never one, because a limit keeps its own for as long as a service names it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlainLimit {
    /// [`Limit::cost`].
    pub cost: u64,
    /// [`Limit::depth_ticks`].
    pub depth_ticks: u64,
    /// [`Limit::shift`].
    pub shift: u32,
    /// [`PlainFlags`].
    pub flags: u32,
}

/// Bits of [`PlainLimit::flags`].
pub struct PlainFlags;

impl PlainFlags {
    /// Of bytes, not of packets.
    pub const BYTES: u32 = 1;
    /// Each address has a bucket of its own.
    pub const SOURCE: u32 = 2;
}

impl PlainLimit {
    const NONE: Self = Self { cost: 0, depth_ticks: 0, shift: 0, flags: 0 };

    /// That of a limit.
    pub const fn of(limit: &Limit) -> Self {
        let whole = limit.source_bits(true) == 128 && limit.source_bits(false) == 128;
        let source = match limit.scope {
            LimitScope::SERVICE => 0,
            LimitScope::SOURCE if whole => PlainFlags::SOURCE,
            _ => return Self::NONE,
        };
        if limit.flags & LimitFlags::PLAIN == 0 {
            return Self::NONE;
        }
        let bytes = if limit.unit == LimitUnit::BYTES { PlainFlags::BYTES } else { 0 };
        Self { cost: limit.cost, depth_ticks: limit.depth_ticks, shift: limit.shift, flags: bytes | source }
    }
}

/// Whose bucket, under which limit.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BucketKey {
    /// The source, as far as its prefix; or a backend: [`BucketKey::of_backend`].
    pub who: Address,
    /// The limit's id.
    pub limit: u32,
}

impl BucketKey {
    /// The key of a backend's bucket.
    #[inline(always)]
    pub const fn of_backend(backend: u32, limit: u32) -> Self {
        Self { who: Address::from_words([backend, 0, 0, 0]), limit }
    }
}

/// How many buckets a group has.
pub const BUCKET_WAYS: usize = 8;

/// The same, as buckets are numbered.
pub const WAYS: u32 = 8;

/// Buckets among which one is looked for: see [`crate::bucket_table`].
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketGroup {
    /// Whose they are, as hashes; 0 of one that was never used.
    pub tags: [u64; BUCKET_WAYS],
    /// What is in them.
    pub levels: [BucketLevel; BUCKET_WAYS],
    /// Whose they are. Of one that is being taken over, for a moment somebody else's.
    pub who: [Address; BUCKET_WAYS],
    /// Under which limit.
    pub limits: [u32; BUCKET_WAYS],
    /// Always zero.
    pub pad: [u32; BUCKET_WAYS],
}

/// A bucket of a group.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketLevel {
    /// As [`BucketCell::empty_at`].
    pub empty_at: u64,
    /// How often it was asked; may miss some when CPUs ask at once. Wraps.
    pub asked: u32,
    /// How often it said that it was too full; likewise.
    pub over: u32,
}

/// A counter of the sketch in which fair limits measure sources: see [`crate::fair`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SketchCell {
    /// The window that `now` counts, as its number.
    pub window: u32,
    /// What came in it, in nanoseconds of the limit's time.
    pub now: u32,
    /// What came in the one before.
    pub last: u32,
    /// Always zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<Limit>() == 32);
const _: () = assert!(size_of::<BucketCell>() == 64);
const _: () = assert!(size_of::<BucketKey>() == 20);
const _: () = assert!(size_of::<BucketGroup>() == 384);
const _: () = assert!(size_of::<SketchCell>() == 16);
