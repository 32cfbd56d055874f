//! What became of every packet, in JSON.

use serde::{Deserialize, Serialize};

use super::types::{InterfaceRow, RefusalRow};

/// `GET /v1/ledger`: every packet that came in is counted once, as forwarded or under one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// What services forwarded, those that only finish connections last.
    pub services: Vec<Carried>,
    /// What services forwarded that are gone.
    pub gone: Carried,
    /// What was not forwarded, by reason; also reasons that nothing was refused for.
    pub refusals: Vec<RefusalRow>,
    /// All packets of the above together, since the maps were made.
    pub sum: u64,
    /// Those of them that came from containers behind bridges of this host, or from this host itself, and by none of the
    /// interfaces.
    #[serde(default)]
    pub inside: u64,
    /// What Weir is attached to.
    pub interfaces: Vec<InterfaceRow>,
}

/// Packets that were forwarded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The service's name; none for all that are gone.
    pub service: String,
    /// Packets towards backends.
    pub packets: u64,
    /// Packets of replies.
    pub reply_packets: u64,
}

impl Ledger {
    /// Adds everything up.
    pub fn add_up(&mut self) {
        let forwarded = self.services.iter().chain([&self.gone]).map(|row| row.packets + row.reply_packets);
        self.sum = forwarded.chain(self.refusals.iter().map(|row| row.packets)).sum();
    }
}
