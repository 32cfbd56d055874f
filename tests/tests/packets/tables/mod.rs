//! The tables: one file a topic, each a list of rows that are sent in their order.

mod bad_lengths;
mod bad_sources;
pub(crate) mod cast;
mod echo;
mod errors;
mod extensions;
mod flags;
mod fragments;
mod modes;
mod mtu;
mod ports;
mod row;
mod strangers;
mod time_to_live;
mod truncated;
mod vlan;
mod ways;

pub(crate) use mtu::error;
use row::Free;
pub(crate) use row::{Fate, Row};

/// A table.
pub(crate) struct Table {
    pub topic: &'static str,
    pub rows: fn() -> Vec<Row>,
}

/// All of them.
pub(crate) const TABLES: &[Table] = &[
    Table { topic: "modes", rows: modes::rows },
    Table { topic: "vlan", rows: vlan::rows },
    Table { topic: "extensions", rows: extensions::rows },
    Table { topic: "ports", rows: ports::rows },
    Table { topic: "mtu", rows: mtu::rows },
    Table { topic: "time to live", rows: time_to_live::rows },
    Table { topic: "truncated", rows: truncated::rows },
    Table { topic: "bad lengths", rows: bad_lengths::rows },
    Table { topic: "bad sources", rows: bad_sources::rows },
    Table { topic: "flags", rows: flags::rows },
    Table { topic: "echo", rows: echo::rows },
    Table { topic: "fragments", rows: fragments::rows },
    Table { topic: "errors", rows: errors::rows },
    Table { topic: "ways", rows: ways::rows },
    Table { topic: "strangers", rows: strangers::rows },
];

/// What is sent before each table: flows whose source is rewritten begin with a SYN.
pub(crate) fn opening() -> Vec<weir_tests::frame::Frame> {
    let snat = cast::MODES.iter().filter(|service| service.forward == cast::Forward::Snat);
    snat.map(|service| weir_tests::frame::tcp(service.client(), service.at(cast::WEB), weir_tests::frame::SYN))
        .collect()
}
