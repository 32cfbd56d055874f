//! What becomes of a packet.

use crate::Refusal;

/// What becomes of a packet, which has been rewritten where it had to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not forwarded. The packet is as it came.
    Refused(Refusal),
    /// Rewritten, with Ethernet addresses and a lowered time to live: to be sent out of this device.
    Transmit {
        /// The device's index.
        ifindex: u32,
        /// Whether it has to be redirected also into the device it came in by. Most drivers send a frame back cheaper
        /// (`XDP_TX`), but a veth device does so only when its peer has a program too.
        redirect: bool,
    },
    /// Rewritten, for the host's stack to route; the time to live is the stack's to lower.
    Stack,
}
