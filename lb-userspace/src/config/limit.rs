//! `limit`: how much a service takes, from everybody or from each source.

use super::table::Table;

/// How many limits a service may have.
pub const MAX_LIMITS: usize = 4;
/// The largest rate, in units a second: 80 Gbit/s of bytes.
pub const MAX_RATE: u64 = 10_000_000_000;
/// The largest rate of packets, where a packet's cost in the limiter's ticks is still right to half a percent.
pub const MAX_PACKET_RATE: u64 = 100_000_000;
/// The longest time a full bucket takes to empty, in seconds: a day, so that times in nanoseconds stay far from 2⁶⁴.
pub const MAX_BURST_S: u64 = 86_400;

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What has a bucket of its own.
    pub per: Per,
    /// Units a second, 1 to [`MAX_RATE`].
    pub rate: u64,
    /// What is counted.
    pub unit: Unit,
    /// How many units may come at once, at least 1 and at most what [`MAX_BURST_S`] seconds of `rate` make; `None` is
    /// the strict leaky bucket, which spaces them evenly.
    pub burst: Option<u64>,
}

/// What has a bucket of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// The service as a whole.
    Service,
    /// Each source address.
    Source,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Packets.
    Packets,
    /// Bytes of layer 3: what is left of a frame without its Ethernet header.
    Bytes,
}

const PERS: [(&str, Per); 2] = [("service", Per::Service), ("source", Per::Source)];
const UNITS: [(&str, Unit); 2] = [("packets/s", Unit::Packets), ("bytes/s", Unit::Bytes)];

/// Reads `limit` of a service: a table or an array of them.
pub(super) fn read(service: &mut Table<'_, '_>) -> Vec<Limit> {
    let mut tables = service.tables("limit", "a table { per, rate, unit, burst } or an array of such tables", true);
    if let Some(table) = tables.get(MAX_LIMITS) {
        let text = format!("found {} limits, expected at most {MAX_LIMITS}", tables.len());
        service.problem(table.line, "limit", text);
        tables.truncate(MAX_LIMITS);
    }
    tables.into_iter().filter_map(read_one).collect()
}

/// Reads the table of one limit.
pub(crate) fn read_one(mut table: Table<'_, '_>) -> Option<Limit> {
    table.require("per", "service or source");
    let per = table.choice("per", &PERS);
    table.require("unit", "packets/s or bytes/s");
    let unit = table.choice("unit", &UNITS);
    let fastest = match unit.as_ref().map(|unit| unit.value) {
        Some(Unit::Packets) => MAX_PACKET_RATE,
        Some(Unit::Bytes) | None => MAX_RATE,
    };
    let rate_expected = format!("an integer from 1 to {fastest}");
    table.require("rate", &rate_expected);
    let rate = table.integer("rate", &rate_expected, 1, fastest);
    let most = rate.map_or(MAX_RATE, |rate| rate.value) * MAX_BURST_S;
    let burst_expected =
        format!("an integer from 1 to {most}, a day's worth of the rate; without a burst the limit is strict");
    let burst = table.integer("burst", &burst_expected, 1, most);
    table.finish();
    Some(Limit { per: per?.value, rate: rate?.value, unit: unit?.value, burst: burst.map(|burst| burst.value) })
}
