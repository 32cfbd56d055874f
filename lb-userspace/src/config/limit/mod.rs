//! `limit`: how much a service takes, from everybody, from each source or for each backend.

mod rate;
mod read;
mod rules;

use std::fmt;

pub use rate::Rate;
pub(crate) use rate::unit_named;
pub(super) use read::read;
pub(crate) use read::{LIMIT_KEYS, read_one};
pub use rules::{DELAY_MAX_MS, MAX_BURST_S, MAX_MERGED_BYTES, MAX_MERGED_PACKETS, Wrong, check_together};

/// How many limits a service may have.
pub const MAX_LIMITS: usize = lb_common::abi::MAX_LIMITS;

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What has a bucket of its own.
    pub per: Per,
    /// Units a second, within the bounds of [`Unit::bounds`]; of [`Unit::Connections`], how many there may be at once.
    pub rate: u64,
    /// What is counted.
    pub unit: Unit,
    /// How many units may come at once, in bytes where the rate is in bits; `None` is the strict leaky bucket, which spaces them
    /// evenly. Of [`Over::Delay`], how many may wait; `None` is what [`crate::limiter`] chooses.
    pub burst: Option<u64>,
    /// Whose packets are counted.
    pub direction: Direction,
    /// What becomes of those over it.
    pub over: Over,
    /// Sources below their fair share are not the ones that lose.
    pub fair: bool,
}

/// What has a bucket of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Per {
    /// Each source address.
    Source,
    /// Each network of sources: all whose addresses have so many first bits in common. A family without is none that the service
    /// has.
    SourcePrefix {
        /// 1 to 32.
        v4: Option<u8>,
        /// 1 to 128.
        v6: Option<u8>,
    },
    /// The service as a whole.
    Service,
    /// Each backend.
    Backend,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Packets.
    Packets,
    /// Bytes of layer 3: what is left of a frame without its Ethernet header.
    Bytes,
    /// The same in bits.
    Bits,
    /// Packets that open a connection.
    NewConnections,
    /// Connections at the same time.
    Connections,
}

/// Whose packets a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Those of clients.
    In,
    /// Those that backends send to clients.
    Out,
}

/// What becomes of what is over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// It is dropped.
    Drop,
    /// Its sender is told to slow down by ECN, if it understands; else it is dropped.
    Mark,
    /// It is counted, and goes on.
    Count,
    /// It waits.
    Delay,
}

/// The words of the configuration.
const PERS: [&str; 4] = ["service", "source", "source-prefix", "backend"];
const DIRECTIONS: [(&str, Direction); 2] = [("in", Direction::In), ("out", Direction::Out)];
const OVERS: [(&str, Over); 4] =
    [("drop", Over::Drop), ("mark", Over::Mark), ("count", Over::Count), ("delay", Over::Delay)];
const SHARES: [(&str, bool); 2] = [("first", false), ("fair", true)];

impl Per {
    /// The word used in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => PERS[0],
            Self::Source => PERS[1],
            Self::SourcePrefix { .. } => PERS[2],
            Self::Backend => PERS[3],
        }
    }

    /// How many first bits of an IPv4 and of an IPv6 source's address say whose bucket it is, where not all do.
    pub const fn prefixes(self) -> (Option<u8>, Option<u8>) {
        match self {
            Self::SourcePrefix { v4, v6 } => (v4, v6),
            Self::Service | Self::Source | Self::Backend => (None, None),
        }
    }

    /// Whether sources have the buckets.
    pub const fn is_source(self) -> bool {
        matches!(self, Self::Source | Self::SourcePrefix { .. })
    }
}

impl fmt::Display for Per {
    /// `source-prefix /24 /56`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Self::SourcePrefix { v4, v6 } = self {
            for bits in [v4, v6].into_iter().flatten() {
                write!(f, " /{bits}")?;
            }
        }
        Ok(())
    }
}

impl Unit {
    /// The word used in output, and in configuration where there is no shorter one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packets => "packets/s",
            Self::Bytes => "bytes/s",
            Self::Bits => "bits/s",
            Self::NewConnections => "new-connections/s",
            Self::Connections => "connections",
        }
    }

    /// What is called so in output.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Packets, Self::Bytes, Self::Bits, Self::NewConnections, Self::Connections]
            .into_iter()
            .find(|unit| unit.name() == word)
    }

    /// The least and the largest rate. Of packets the largest is where a packet's cost is still right to half a percent.
    pub const fn bounds(self) -> (u64, u64) {
        match self {
            Self::Packets | Self::NewConnections | Self::Connections => (1, 100_000_000),
            Self::Bytes => (1, 100_000_000_000),
            // A byte a second.
            Self::Bits => (8, 800_000_000_000),
        }
    }

    /// Whether it is how long packets are that counts.
    pub const fn is_bytes(self) -> bool {
        matches!(self, Self::Bytes | Self::Bits)
    }

    /// What a burst of it is counted in.
    pub const fn of_burst(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Bytes | Self::Bits => "bytes",
            Self::NewConnections | Self::Connections => "connections",
        }
    }
}

impl Direction {
    /// The word used in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl Over {
    /// The word used in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Mark => "mark",
            Self::Count => "count",
            Self::Delay => "delay",
        }
    }

    /// What is called so.
    pub fn named(word: &str) -> Option<Self> {
        OVERS.iter().find(|(name, _)| *name == word).map(|(_, over)| *over)
    }
}

impl Limit {
    /// A strict limit of what comes in, over which it is dropped.
    pub const fn strict(per: Per, rate: u64, unit: Unit) -> Self {
        Self { per, rate, unit, burst: None, direction: Direction::In, over: Over::Drop, fair: false }
    }

    /// The same, of which so many units may come at once.
    pub const fn with_burst(self, burst: u64) -> Self {
        Self { burst: Some(burst), ..self }
    }

    /// Its rate.
    pub const fn rate(&self) -> Rate {
        Rate { value: self.rate, unit: self.unit }
    }

    /// Whether both limit the same thing, whatever the rate and what becomes of those over it: one can become the other.
    pub fn is_same(&self, other: &Self) -> bool {
        let of = |limit: &Self| {
            let unit = if limit.unit == Unit::Bits { Unit::Bytes } else { limit.unit };
            (limit.per, unit, limit.direction)
        };
        of(self) == of(other)
    }
}

impl fmt::Display for Limit {
    /// `50 Mbit/s per service, out, burst 65536 bytes, over: delay`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.rate(), self.per)?;
        if self.direction == Direction::Out {
            f.write_str(", out")?;
        }
        match self.burst {
            Some(burst) if self.over == Over::Delay => write!(f, ", {burst} {} may wait", self.unit.of_burst())?,
            Some(burst) => write!(f, ", burst {burst} {}", self.unit.of_burst())?,
            None if self.over == Over::Delay || self.unit == Unit::Connections => {}
            None => f.write_str(", strict")?,
        }
        if self.fair {
            f.write_str(", shared fairly")?;
        }
        if self.over != Over::Drop {
            write!(f, ", over: {}", self.over.name())?;
        }
        Ok(())
    }
}
