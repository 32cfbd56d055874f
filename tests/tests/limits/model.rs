//! The leaky bucket as textbooks have it, in integers that cannot overflow: a level that leaks as time passes (ITU-T I.371 Annex A,
//! the continuous-state form). What runs in the kernel is the other form, which keeps the time at which the bucket will be empty,
//! in 64 bits that wrap; and nothing here is taken from it but the parameters.

/// Ticks of the limiters' clock in a nanosecond.
const TICKS_PER_NS: u128 = 16;

/// A bucket, with what a unit costs in ticks times 2^`shift`, and how many ticks it holds; 0 is the strict one.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    cost: u128,
    shift: u32,
    depth: u128,
    level: u128,
    last_ns: u64,
}

impl Model {
    /// An empty one.
    pub(crate) fn new(cost: u64, shift: u32, depth: u64) -> Self {
        Self { cost: cost.into(), shift, depth: depth.into(), level: 0, last_ns: 0 }
    }

    /// Whether it admits so many units at this time, which is no earlier than the last one.
    pub(crate) fn admits(&mut self, now_ns: u64, units: u32) -> bool {
        assert!(now_ns >= self.last_ns, "time goes on");
        let leaked = u128::from(now_ns - self.last_ns) * TICKS_PER_NS;
        self.last_ns = now_ns;
        self.level = self.level.saturating_sub(leaked);
        // Costs are whole ticks: the rest, less than a sixteenth of a nanosecond, is the packet's.
        let cost = (u128::from(units) * self.cost) >> self.shift;
        let fits = if self.depth == 0 { self.level == 0 } else { self.level + cost <= self.depth };
        if fits {
            self.level += cost;
        }
        fits
    }
}

#[test]
fn strictly_they_are_evenly_spaced() {
    let mut model = Model::new(1_000 * 16, 0, 0);
    let verdicts: Vec<bool> = [0, 1, 999, 1_000, 1_500, 2_000, 5_000, 5_001].map(|now| model.admits(now, 1)).into();
    assert_eq!(verdicts, [true, false, false, true, false, true, true, false]);
}

#[test]
fn with_a_burst_as_many_come_at_once() {
    let mut model = Model::new(1_000 * 16, 0, 3 * 1_000 * 16);
    let verdicts: Vec<bool> = [7, 7, 7, 7, 1_006, 1_007, 1_007, 9_000].map(|now| model.admits(now, 1)).into();
    assert_eq!(verdicts, [true, true, true, false, false, true, false, true]);
}
