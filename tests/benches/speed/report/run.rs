//! What is said of a run beside its figures.

use crate::machine::{Build, Machine};
use crate::noise::Noise;

/// What ran, where, and how noisy it was there.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The machine.
    pub machine: Machine,
    /// The sources.
    pub build: Build,
    /// What else the machine did.
    pub noise: Noise,
    /// How often each cell was measured.
    pub rounds: usize,
    /// Whether it was only a look.
    pub quick: bool,
    /// The parts that were asked for.
    pub parts: Vec<String>,
}
