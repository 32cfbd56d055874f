//! The data plane as the controller sees it: a list of small operations, and counters.

mod fake;
mod faulty;
pub mod kernel;
mod op;

use lb_common::Refusal;
use lb_common::abi::{LimitCount, Traffic};

pub use fake::Fake;
pub use faulty::Faulty;
pub use op::Op;

/// How much the maps hold. Fixed when they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Services.
    pub services: u32,
    /// Backends of all services together.
    pub backends: u32,
    /// Slots of one table.
    pub table_size: u32,
    /// Tables.
    pub tables: u32,
    /// Limits of all services together.
    pub limits: u32,
    /// Sources that limits per source remember.
    pub sources: u32,
    /// Flows that are remembered.
    pub flows: u32,
    /// Network devices.
    pub devices: u32,
}

/// Where the packet path reads its tables.
pub trait DataPlane: Send {
    /// Carries out one operation. After an error the operation may be tried again; nothing half written is found by
    /// packets.
    fn apply(&mut self, op: &Op) -> anyhow::Result<()>;

    /// What a service carried.
    fn service_traffic(&self, id: u32) -> anyhow::Result<Traffic>;

    /// What a backend carried.
    fn backend_traffic(&self, id: u32) -> anyhow::Result<Traffic>;

    /// What a limit said.
    fn limit_count(&self, id: u32) -> anyhow::Result<LimitCount>;

    /// Packets that were not forwarded, for every reason in the order of [`Refusal::ALL`].
    fn refusals(&self) -> anyhow::Result<Vec<(Refusal, u64)>>;
}
