//! `slow_start`: how a new backend comes to its share.

use std::time::Duration;

use super::share::Share;
use super::table::Table;
use super::weir::DURATION;

/// How much of a table a step may move unless the file says otherwise.
const DEFAULT_MAX_MOVED: Share = Share::percent(1);
/// The least that a step may be allowed: steps must end.
const MIN_MAX_MOVED: Share = Share(1_000);

/// `slow_start`: how a new backend comes to its share, in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    /// How long it takes to the whole share, 1 s to 24 h. Longer where `max_moved` asks for more steps.
    pub over: Duration,
    /// How much of the service's table one step may move at most, 0.1% to 100%.
    pub max_moved: Share,
}

/// Reads `slow_start` of a service.
pub(super) fn read(service: &mut Table<'_, '_>) -> Option<SlowStart> {
    let mut table = service.table("slow_start", "a table { over, max_moved }")?;
    table.require("over", DURATION);
    let over = table.duration("over", DURATION);
    let expected = format!("a share from {MIN_MAX_MOVED} to {}, such as \"{DEFAULT_MAX_MOVED}\"", Share::ALL);
    let max_moved =
        table.parsed("max_moved", &expected, |text| text.parse().ok().filter(|share| *share >= MIN_MAX_MOVED));
    table.finish();
    Some(SlowStart { over: over?.value, max_moved: max_moved.map_or(DEFAULT_MAX_MOVED, |found| found.value) })
}
