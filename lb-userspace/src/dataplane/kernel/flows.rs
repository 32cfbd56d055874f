//! The table of remembered flows, as programs have it.

use anyhow::Result;
use lb_common::abi::{FlowGroup, map};
use lb_common::flow_table::{self, FlowHash};
use lb_common::host::SharedFlows;

use super::mapped::Mapped;
use super::{Capacity, Object};

/// The table, mapped into memory, and where flows are in it.
#[derive(Debug)]
pub struct Flows {
    groups: Mapped<FlowGroup>,
    hash: FlowHash,
}

impl Flows {
    /// The table of a loaded object.
    ///
    /// # Errors
    /// When it is not there, or cannot be mapped into memory.
    pub fn new(object: &Object, capacity: Capacity) -> Result<Self> {
        let groups = Mapped::new(object.array_fd(map::FLOWS)?, flow_table::groups(capacity.flows))?;
        Ok(Self::of(groups, object.flow_seed()))
    }

    /// The same, of an array whose length says how large it is.
    pub(super) fn of(groups: Mapped<FlowGroup>, seed: u64) -> Self {
        let hash = FlowHash::new(groups.len(), seed);
        Self { groups, hash }
    }

    /// The table, for as long as it is mapped.
    pub fn shared(&self) -> SharedFlows<'_> {
        SharedFlows::new(self.groups.words(), self.hash)
    }
}
