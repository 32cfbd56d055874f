//! What was counted, for a person and for a program.

use lb_common::decap::{ClampOutcome, DecapOutcome};
use serde::Serialize;

/// How many packets had an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What the host got: `unwrap`, `pass` or `drop`.
    pub action: &'static str,
    /// Packets since the start.
    pub packets: u64,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it, or nothing.
    pub advice: &'static str,
}

/// Every counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The device.
    pub interface: String,
    /// What became of packets that came in. Every packet is in one of them.
    pub outcomes: Vec<Row>,
    /// What became of SYN-ACKs that left from addresses whose packets come in tunnels.
    pub syn_acks: Vec<Row>,
}

impl Report {
    /// Of the counters' values, in the order of their numbers.
    pub(super) fn new(
        interface: &str,
        outcomes: impl Iterator<Item = (DecapOutcome, u64)>,
        syn_acks: impl Iterator<Item = (ClampOutcome, u64)>,
    ) -> Self {
        let outcome = |(outcome, packets): (DecapOutcome, u64)| Row {
            name: outcome.name(),
            action: outcome.action().name(),
            packets,
            meaning: outcome.meaning().trim(),
            advice: outcome.advice(),
        };
        let syn_ack = |(outcome, packets): (ClampOutcome, u64)| Row {
            name: outcome.name(),
            action: "pass",
            packets,
            meaning: outcome.meaning().trim(),
            advice: outcome.advice(),
        };
        Self {
            interface: interface.to_owned(),
            outcomes: outcomes.map(outcome).collect(),
            syn_acks: syn_acks.map(syn_ack).collect(),
        }
    }

    /// The counters that are not zero.
    pub fn seen(&self) -> impl Iterator<Item = &Row> {
        self.outcomes.iter().chain(&self.syn_acks).filter(|row| row.packets > 0)
    }
}
