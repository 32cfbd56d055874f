//! What the control socket takes and says of limits.

use serde::{Deserialize, Serialize};

/// One of `GET /v1/limits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRow {
    /// The service it is of.
    pub service: String,
    /// What has a bucket of its own: `service`, `source`, `source-prefix` or `backend`.
    pub per: String,
    /// Of `source-prefix`, how many bits of an IPv4 source's address say whose bucket it is.
    #[serde(default)]
    pub prefix_v4: Option<u8>,
    /// The same of IPv6.
    #[serde(default)]
    pub prefix_v6: Option<u8>,
    /// `in`: what clients send; `out`: what backends send to them.
    #[serde(default = "inwards")]
    pub direction: String,
    /// Units a second; of `connections`, units at once.
    pub rate: u64,
    /// `packets/s`, `bytes/s`, `bits/s`, `new-connections/s` or `connections`.
    pub unit: String,
    /// Units that may come at once, bytes where the rate is in bits; none is the strict leaky bucket.
    pub burst: Option<u64>,
    /// What becomes of packets that are over it: `drop`, `mark`, `count` or `delay`.
    #[serde(default = "dropped")]
    pub action: String,
    /// `first`: whoever comes first; `fair`: sources below their fair share are not the ones that lose.
    #[serde(default = "first")]
    pub share: String,
    /// Whether it was set by `weir limits set`, and is not what the configuration says.
    #[serde(default)]
    pub by_hand: bool,
    /// Packets within it.
    pub admitted: u64,
    /// Packets over it, and dropped.
    pub over: u64,
    /// Packets over it, and marked.
    #[serde(default)]
    pub marked: u64,
    /// Packets over it, and let through: what would have been dropped.
    #[serde(default)]
    pub would_drop: u64,
    /// Packets that had to wait.
    #[serde(default)]
    pub delayed: u64,
    /// Buckets that were empty and became somebody else's, because sources are more than `max_sources`.
    #[serde(default)]
    pub evicted_idle: u64,
    /// Buckets that were not: whose they became begins with what was in them.
    #[serde(default)]
    pub evicted_busy: u64,
}

/// Whose packets the limits of a Weir count that does not say.
fn inwards() -> String {
    "in".to_owned()
}

/// What becomes of packets over the limits of a Weir that does not say.
fn dropped() -> String {
    "drop".to_owned()
}

/// Who gets what the limits of a Weir leave that does not say.
fn first() -> String {
    "first".to_owned()
}

/// `POST /v1/limits/set`: another rate, burst or outcome for one limit, until the service's limits change in the configuration, or
/// Weir ends. The first five say which, where a service has several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitOrder {
    /// The service.
    pub service: String,
    /// As in [`LimitRow`].
    #[serde(default)]
    pub per: Option<String>,
    /// As in [`LimitRow`].
    #[serde(default)]
    pub prefix_v4: Option<u8>,
    /// As in [`LimitRow`].
    #[serde(default)]
    pub prefix_v6: Option<u8>,
    /// A unit as the configuration has it.
    #[serde(default)]
    pub unit: Option<String>,
    /// As in [`LimitRow`].
    #[serde(default)]
    pub direction: Option<String>,
    /// A number and its unit, such as `50 Mbit/s`; or a number alone, in `unit`, or in the limit's own unless that is bits, which
    /// people write in several.
    #[serde(default)]
    pub rate: Option<String>,
    /// Units that may come at once.
    #[serde(default)]
    pub burst: Option<u64>,
    /// No burst at all.
    #[serde(default)]
    pub strict: bool,
    /// As [`LimitRow::action`].
    #[serde(default)]
    pub over: Option<String>,
}

/// `POST /v1/limits/unset`: the limits of a service as the configuration has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsOf {
    /// The service.
    pub service: String,
}

/// For how long pressing sources are watched at most, in seconds.
pub const MAX_TOP_S: u64 = 60;

/// How many of them are told at most.
pub const MAX_TOP: usize = 1_000;

/// `GET /v1/limits/top`: which sources press hardest on the limits of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopOf {
    /// The service.
    pub service: String,
    /// For how long they are watched, in seconds, 1 to [`MAX_TOP_S`].
    #[serde(default = "one")]
    pub seconds: u64,
    /// How many are told, 1 to [`MAX_TOP`].
    #[serde(default = "ten")]
    pub count: usize,
}

/// A source that presses on a limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopRow {
    /// The source: an address, or a prefix.
    pub source: String,
    /// What has a bucket of its own: `source` or `source-prefix`.
    pub per: String,
    /// As in [`LimitRow`].
    pub direction: String,
    /// The limit, for a person.
    pub limit: String,
    /// How many packets a second met the limit.
    pub asked_per_s: f64,
    /// How many of them were over it.
    pub over_per_s: f64,
}

const fn one() -> u64 {
    1
}

const fn ten() -> usize {
    10
}
