//! The parts of the bench.

use anyhow::Result;

use crate::context::Context;
use crate::gate::Measure;
use crate::report::Report;

/// What `--only` calls curves alone.
pub(crate) const GROWTH: &str = "growth";

/// What measures the gate's cells.
pub(crate) const GATE: Option<Measure> = Some(crate::packet::gate);

/// One part: what `--only` calls it, and what measures it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Its name; `weir_tests::bench::PARTS` has it, too.
    pub name: &'static str,
    /// What it measures, for whoever waits.
    pub what: &'static str,
    /// Whether it has curves.
    pub grows: bool,
    /// Adds to the report what it measured, and a sentence for what it could not.
    pub run: fn(&Context, &mut Report) -> Result<()>,
}

/// In the order in which they are measured. A part is a line here.
pub(crate) const PARTS: &[Part] = &[
    Part { name: "packet", what: "nanoseconds a packet, in the kernel", grows: true, run: crate::packet::run },
    Part { name: "frames", what: "packets a second through veth", grows: false, run: crate::frames::run },
    Part { name: "connections", what: "connections, beside peers", grows: false, run: crate::connections::run },
    Part {
        name: "control",
        what: "from a registry's change to the kernel's maps, and the memory of both",
        grows: true,
        run: crate::control::run,
    },
];

impl Part {
    /// Whether it is to be measured, by what `--only` says.
    pub(crate) fn is_wanted(&self, only: &[String]) -> bool {
        let named = |name: &str| only.iter().any(|wanted| wanted == name);
        only.is_empty() || named(self.name) || (self.grows && only.iter().all(|wanted| wanted == GROWTH))
    }
}
