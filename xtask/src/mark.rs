//! What was measured, held to what it had to be.

use std::time::Duration;

use serde::Serialize;

/// One thing that was measured, and what it had to be.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Mark {
    /// What was measured.
    pub(crate) what: &'static str,
    /// What came out, in words.
    pub(crate) found: String,
    /// What it had to be, in words.
    pub(crate) wanted: String,
    /// Whether it was.
    pub(crate) passed: bool,
}

/// The middle one, the later of the two middle ones where there are two.
pub(crate) fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    1_000.0 * duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let ms = Duration::from_millis;
        assert_eq!(median(&[ms(9), ms(1), ms(5)]), ms(5));
        assert_eq!(median(&[]), Duration::ZERO);
    }
}
