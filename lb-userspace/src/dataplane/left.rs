//! Connections that are counted no more.

use lb_common::abi::{BucketKey, Connection, FlowKey};

/// Where a connection counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gauge {
    /// In the one bucket of the limit with this id.
    Service(u32),
    /// In the bucket of a source or a backend.
    Own(BucketKey),
}

/// A connection that is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its flow.
    pub flow: FlowKey,
    /// As it was read. If it has changed since, all of this stays.
    pub connection: Connection,
    /// Where it counts: one less in each.
    pub gauges: Vec<Gauge>,
}
