//! How often something took how long, to within 1.6 per cent, in a few kilobytes.

use std::time::Duration;

/// Cells for each power of two, as a power of two.
const FINE: u32 = 6;

/// Durations, counted in cells of a width that grows with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    cells: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        let cell = cell(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        if self.cells.len() <= cell {
            self.cells.resize(cell + 1, 0);
        }
        self.cells[cell] += 1;
        self.count += 1;
        self.longest = self.longest.max(took);
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        if self.cells.len() < other.cells.len() {
            self.cells.resize(other.cells.len(), 0);
        }
        self.cells.iter_mut().zip(&other.cells).for_each(|(own, theirs)| *own += theirs);
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// What this part (0 to 1) of them did not exceed; zero of none.
    pub fn quantile(&self, part: f64) -> Duration {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the counts there are")]
        let rank = ((part.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (cell, count) in self.cells.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper(cell)).min(self.longest);
            }
        }
        self.longest
    }
}

/// Values below 2^FINE have a cell each; above, each power of two has 2^FINE cells.
fn cell(value: u64) -> usize {
    let shift = (63 - (value | 1).leading_zeros()).saturating_sub(FINE);
    let cell = (u64::from(shift) << FINE) + (value >> shift);
    usize::try_from(cell).expect("a few thousand cells")
}

/// The largest value of a cell.
fn upper(cell: usize) -> u64 {
    let cell = cell as u64;
    if cell < 2 << FINE {
        return cell;
    }
    let shift = (cell >> FINE) - 1;
    let lower = ((cell & ((1 << FINE) - 1)) + (1 << FINE)) << shift;
    lower + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_cell_little_wider_than_itself() {
        for value in (0..2_000).chain((11..63).flat_map(|power| [(1 << power) - 1, 1 << power, 3 << (power - 1)])) {
            let upper = upper(cell(value));
            assert!(upper >= value && upper - value <= value >> FINE, "{value} is in a cell up to {upper}");
            assert!(cell(upper) == cell(value) && cell(upper + 1) == cell(value) + 1, "{value}");
        }
    }

    #[test]
    fn quantiles_are_of_what_was_recorded() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        (1..=1_000).for_each(|ms| histogram.record(Duration::from_millis(ms)));
        let off = |part, ms: f64| (histogram.quantile(part).as_secs_f64() * 1e3 / ms - 1.0).abs();
        assert!(off(0.5, 500.0) < 0.016 && off(0.99, 990.0) < 0.016);
        assert_eq!((histogram.quantile(1.0), histogram.count()), (Duration::from_secs(1), 1_000));
    }
}
