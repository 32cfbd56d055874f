//! How much else the machine did meanwhile.

use std::hint::black_box;
use std::time::Instant;

use serde::Serialize;

/// How often the fixed piece of work is repeated.
const REPETITIONS: usize = 200;
/// How long one piece shall take at least, in microseconds.
const PIECE_US: f64 = 500.0;
/// What the kernel counts processor time in: USER_HZ, 100 a second on every architecture that Weir runs on.
const TICK_MS: u64 = 10;

/// Before and after the run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Noise {
    /// Before.
    pub before: Sample,
    /// After.
    pub after: Sample,
    /// Processor time in ms that the hypervisor gave to others during the run, over all processors.
    pub stolen_ms: u64,
    /// How long the run took, in seconds.
    pub seconds: f64,
}

/// At one time.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    /// A fixed piece of work, repeated: half of the repetitions took no longer, in microseconds.
    pub spin_p50_us: f64,
    /// 99 of 100 took no longer.
    pub spin_p99_us: f64,
    /// Processes that wanted a processor, on average over the last minute.
    pub load: f64,
}

impl Sample {
    /// How much longer than the median the slow repetitions took: 0 on a machine without noise.
    pub(crate) fn spread(&self) -> f64 {
        self.spin_p99_us / self.spin_p50_us - 1.0
    }

    /// Measures it; `work` makes both samples of a run the same piece of work.
    fn take(work: Work) -> Self {
        // The load first: the spin is load, too.
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        let load = load.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(f64::NAN);
        let mut times: Vec<f64> = (0..REPETITIONS).map(|_| work.time_us()).collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times[(REPETITIONS * percent / 100).min(REPETITIONS - 1)];
        Self { spin_p50_us: at(50), spin_p99_us: at(99), load }
    }
}

/// A piece of pure work: no memory, no calls into the kernel.
#[derive(Debug, Clone, Copy)]
struct Work {
    steps: u64,
}

impl Work {
    /// As much as takes [`PIECE_US`].
    fn calibrated() -> Self {
        let mut work = Self { steps: 1_000 };
        while work.time_us() < PIECE_US {
            work.steps *= 2;
        }
        work
    }

    fn time_us(self) -> f64 {
        let started = Instant::now();
        let mut x = black_box(0x9e37_79b9_7f4a_7c15_u64);
        for _ in 0..self.steps {
            // xorshift64 (Marsaglia 2003): each step needs the one before.
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        black_box(x);
        1e6 * started.elapsed().as_secs_f64()
    }
}

/// Listens while the run runs.
#[derive(Debug)]
pub(crate) struct Listener {
    work: Work,
    before: Sample,
    stolen_ms: u64,
    started: Instant,
}

impl Listener {
    /// Begins.
    pub(crate) fn start() -> Self {
        let work = Work::calibrated();
        Self { work, before: Sample::take(work), stolen_ms: stolen_ms(), started: Instant::now() }
    }

    /// What it was before the run.
    pub(crate) fn before(&self) -> &Sample {
        &self.before
    }

    /// Ends.
    pub(crate) fn end(self) -> Noise {
        let seconds = self.started.elapsed().as_secs_f64();
        let stolen_ms = stolen_ms().saturating_sub(self.stolen_ms);
        Noise { before: self.before, after: Sample::take(self.work), stolen_ms, seconds }
    }
}

/// The eighth figure of the first line of /proc/stat (proc_stat(5)).
fn stolen_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: u64 = stat.split_whitespace().nth(8).and_then(|word| word.parse().ok()).unwrap_or_default();
    ticks * TICK_MS
}
