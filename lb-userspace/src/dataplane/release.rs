//! What a flow of snat had, to be given back.

use lb_common::abi::{FlowKey, PORT_WORDS, Snat, SnatReplyKey};

/// A port of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The pool.
    pub pool: u16,
    /// Which of the addresses of its family it belongs to.
    pub index: u32,
    /// The port, as a number.
    pub port: u16,
}

/// What is given back, in this order: as long as its bit is set, nobody else gets the port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Release {
    /// The flow as it was read. If it has changed since, all of this stays.
    pub flow: Option<(FlowKey, Snat)>,
    /// What its replies are known by.
    pub reply: Option<SnatReplyKey>,
    /// The port.
    pub port: Option<Port>,
}

impl Port {
    /// The port of a flow.
    pub const fn of(snat: &Snat) -> Self {
        Self { pool: snat.pool, index: snat.index, port: u16::from_be(snat.port) }
    }

    /// The words and bits that say it is taken, of pools for `stride` addresses: its own, and then the one that says that
    /// its own word is full. `None` when there is no such pool.
    pub(crate) fn bits(self, stride: u32) -> Option<[(u32, u64); 2]> {
        if self.index >= stride {
            return None;
        }
        let base = (u32::from(self.pool) * stride).checked_add(self.index)?.checked_mul(PORT_WORDS)?;
        let (port, word) = (u32::from(self.port), u32::from(self.port) / 64);
        Some([(base + word, 1 << (port % 64)), (base + word / 64, 1 << (word % 64))])
    }
}
