//! How busy the machine's processors are.

use std::time::Duration;

use anyhow::{Context, Result};

/// What the processors have done since the machine started, in the kernel's ticks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Processors {
    idle: u64,
    all: u64,
}

impl Processors {
    /// Now.
    pub(super) fn now() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::read(&text).context("/proc/stat does not begin with the processors' times (proc(5))")
    }

    /// The part of all processors' time that was idle since then, in per cent.
    pub(super) fn idle_percent_since(&self, then: &Self) -> f64 {
        100.0 * (self.idle - then.idle) as f64 / (self.all - then.all).max(1) as f64
    }

    /// The fields are user, nice, system, idle, iowait, irq, softirq, steal; what follows is in them already.
    fn read(text: &str) -> Option<Self> {
        let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
        let fields: Vec<u64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
        Some(Self { idle: fields.get(3)? + fields.get(4)?, all: fields.iter().sum() })
    }
}

/// A number of seconds, for a person.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_idle_and_waiting() {
        let then = Processors::read("cpu  10 0 10 70 10 0 0 0 5 5\ncpu0 1 2").unwrap();
        let now = Processors::read("cpu  20 0 20 130 30 0 0 0 9 9\n").unwrap();
        assert_eq!((then.idle, then.all), (80, 100));
        assert_eq!(now.idle_percent_since(&then), 80.0);
        assert!(Processors::read("intr 1").is_none());
    }
}
