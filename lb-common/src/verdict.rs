//! What becomes of a packet.

use crate::refusal::{Refusal, Stop};

/// What becomes of a packet, which has been rewritten where it had to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not forwarded. The packet is as it came.
    Refused(Refusal),
    /// Rewritten, with Ethernet addresses: to be sent out of this device.
    Transmit {
        /// The device's index.
        ifindex: u32,
        /// Whether it has to be redirected also into the device it came in by. Most drivers send a frame back cheaper
        /// (`XDP_TX`), but a veth device does so only when its peer has a program too.
        redirect: bool,
    },
    /// Rewritten, with Ethernet addresses: for the tc program to put into a device of this host, past the stack.
    Hand {
        /// The device's index.
        ifindex: u32,
        /// How: one of [`Delivery`](crate::abi::Delivery)'s from `PEER` on.
        delivery: u16,
    },
    /// Rewritten, for the host's stack to route; the time to live is the stack's to lower.
    Stack,
}

/// What a step of the packet path comes to.
pub type Outcome = Result<Verdict, Stop>;

const TRANSMIT: u64 = 0;
const REDIRECT: u64 = 1;
const STACK: u64 = 2;
const REFUSED: u64 = 3;
const STOP: u64 = 4;
const HAND: u64 = 5;

/// An outcome in one word, which is all that a function of the kernel's gives back.
#[inline(always)]
pub const fn pack(outcome: Outcome) -> u64 {
    let (kind, value, mtu) = match outcome {
        Ok(Verdict::Transmit { ifindex, redirect: false }) => (TRANSMIT, ifindex, 0),
        Ok(Verdict::Transmit { ifindex, redirect: true }) => (REDIRECT, ifindex, 0),
        Ok(Verdict::Hand { ifindex, delivery }) => (HAND, ifindex, delivery),
        Ok(Verdict::Stack) => (STACK, 0, 0),
        Ok(Verdict::Refused(refusal)) => (REFUSED, refusal as u32, 0),
        Err(Stop { refusal, mtu }) => (STOP, refusal as u32, mtu),
    };
    kind << 56 | (mtu as u64) << 32 | value as u64
}

/// The inverse of [`pack`]. What cannot have come from there is a malformed packet.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "parts of the word are meant")]
pub const fn unpack(word: u64) -> Outcome {
    let value = word as u32;
    let refusal = match Refusal::from_index(value) {
        Some(refusal) => refusal,
        None => Refusal::Malformed,
    };
    match word >> 56 {
        TRANSMIT => Ok(Verdict::Transmit { ifindex: value, redirect: false }),
        REDIRECT => Ok(Verdict::Transmit { ifindex: value, redirect: true }),
        HAND => Ok(Verdict::Hand { ifindex: value, delivery: (word >> 32) as u16 }),
        STACK => Ok(Verdict::Stack),
        REFUSED => Ok(Verdict::Refused(refusal)),
        _ => Err(Stop { refusal, mtu: (word >> 32) as u16 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Delivery;

    #[test]
    fn a_word_says_what_was_put_into_it() {
        for ifindex in [0, 1, u32::MAX] {
            for redirect in [false, true] {
                let outcome = Ok(Verdict::Transmit { ifindex, redirect });
                assert_eq!(unpack(pack(outcome)), outcome);
            }
            for delivery in [Delivery::PEER, Delivery::PORT, Delivery::UP, Delivery::NEIGHBOUR] {
                let outcome = Ok(Verdict::Hand { ifindex, delivery });
                assert_eq!(unpack(pack(outcome)), outcome);
            }
        }
        assert_eq!(unpack(pack(Ok(Verdict::Stack))), Ok(Verdict::Stack));
        for &refusal in Refusal::ALL {
            for outcome in [Ok(Verdict::Refused(refusal)), Err(Stop { refusal, mtu: 1500 })] {
                assert_eq!(unpack(pack(outcome)), outcome);
            }
        }
    }
}
