//! The tables over plain collections, and a frame's checksum.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::Address;
use crate::abi::Settings;
use crate::checksum::Delta;
use crate::host::HostFrame;
use crate::packet::Packet;

use super::{ClampOutcome, DecapOutcome, DecapTables, Segment, sender_bits};

/// What the maps hold, on the host.
#[derive(Debug, Clone)]
pub struct HostDecap {
    /// Where tunnels may come from: addresses and the bits of them that count, of 32 or 128.
    pub senders: Vec<(Address, u32)>,
    /// Where they may end.
    pub ours: BTreeSet<Address>,
    /// The UDP port of gue.
    pub gue_port: u16,
    /// The largest packet tunnels carry, in bytes.
    pub mtu: u32,
    /// What was noted of inner destinations.
    pub unwrapped: RefCell<BTreeMap<Address, u32>>,
    /// Packets, by what became of them.
    pub outcomes: RefCell<BTreeMap<DecapOutcome, u64>>,
    /// SYN-ACKs, by what became of them.
    pub clamped: RefCell<BTreeMap<ClampOutcome, u64>>,
}

impl Default for HostDecap {
    fn default() -> Self {
        Self {
            senders: Vec::new(),
            ours: BTreeSet::new(),
            gue_port: Settings::GUE_PORT,
            mtu: 1500,
            unwrapped: RefCell::default(),
            outcomes: RefCell::default(),
            clamped: RefCell::default(),
        }
    }
}

impl DecapTables for HostDecap {
    fn gue_port(&self) -> [u8; 2] {
        self.gue_port.to_be_bytes()
    }

    fn is_ours(&self, address: &Address) -> bool {
        self.ours.contains(address)
    }

    fn is_sender(&self, address: &Address) -> bool {
        let bits = |address: &Address| u128::from_be_bytes(address.v6());
        self.senders.iter().any(|(sender, prefix)| {
            let beyond = 128 - sender_bits(sender.is_v4(), *prefix);
            (bits(sender) ^ bits(address)).checked_shr(beyond).unwrap_or(0) == 0
        })
    }

    fn note_unwrapped(&self, destination: &Address, overhead: u32) {
        let mut unwrapped = self.unwrapped.borrow_mut();
        let noted = unwrapped.entry(*destination).or_default();
        *noted = overhead.max(*noted);
    }

    fn overhead(&self, address: &Address) -> Option<u32> {
        self.unwrapped.borrow().get(address).copied()
    }

    fn mtu(&self) -> u32 {
        self.mtu
    }

    fn count(&self, outcome: DecapOutcome) {
        *self.outcomes.borrow_mut().entry(outcome).or_default() += 1;
    }

    fn count_clamp(&self, outcome: ClampOutcome) {
        *self.clamped.borrow_mut().entry(outcome).or_default() += 1;
    }
}

impl Segment for HostFrame {
    fn correct_checksum(&mut self, offset: usize, old: u16, new: u16) -> Option<()> {
        let checksum = u16::from_ne_bytes(self.read(offset)?);
        self.write(offset, Delta::none().replace16(old, new).apply(checksum).to_ne_bytes())
    }
}
