//! What unwrapping and clamping ask for.

use crate::Address;

use super::{ClampOutcome, DecapOutcome};

/// What `weir decap` was told, and what it remembers.
pub trait DecapTables {
    /// The UDP port of gue, as on the wire.
    fn gue_port(&self) -> [u8; 2];

    /// Whether tunnels may end at this address.
    fn is_ours(&self, address: &Address) -> bool;

    /// Whether tunnels may come from this address.
    fn is_sender(&self, address: &Address) -> bool;

    /// Notes that packets to this address come in a tunnel that adds so many bytes. Of several the largest stays.
    fn note_unwrapped(&self, destination: &Address, overhead: u32);

    /// The bytes that were noted, if some were.
    fn overhead(&self, address: &Address) -> Option<u32>;

    /// The largest packet that tunnels carry, with their own headers, in bytes.
    fn mtu(&self) -> u32;

    /// The same number. The kernel's verifier knows nothing of it afterwards, so that it looks at what follows once, and
    /// not once for each number that it can be; it wants to see it compared with a bound then.
    #[inline(always)]
    fn forget(&self, number: usize) -> usize {
        number
    }

    /// Counts a packet.
    fn count(&self, outcome: DecapOutcome);

    /// Counts a SYN-ACK.
    fn count_clamp(&self, outcome: ClampOutcome);
}
