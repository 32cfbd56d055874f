//! How packets reach a backend.

use lb_common::abi;

/// How packets reach a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Forward {
    /// Destination address and port are rewritten; replies come back through this host and are translated back.
    Nat,
    /// Both ends are rewritten: packets come from an address of Weir's own, to which replies come back.
    Snat,
    /// Only the Ethernet addresses are: the backend is on the link, has the VIP too, and answers the client itself.
    L2,
    /// In an IP packet to the backend, which unwraps it and answers the client itself.
    Ipip,
    /// As `Ipip`, with UDP in between, so that routers spread the flows.
    Gue,
}

/// The words of the configuration.
pub(crate) const FORWARDS: [(&str, Forward); 5] = [
    ("nat", Forward::Nat),
    ("snat", Forward::Snat),
    ("l2", Forward::L2),
    ("ipip", Forward::Ipip),
    ("gue", Forward::Gue),
];

impl Forward {
    /// The word used in configuration, registries and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Snat => "snat",
            Self::L2 => "l2",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
        }
    }

    /// What is called so.
    pub fn named(word: &str) -> Option<Self> {
        FORWARDS.iter().find(|(name, _)| *name == word).map(|(_, forward)| *forward)
    }

    /// What a backend's row says: [`abi::Forward`].
    pub const fn number(self) -> u8 {
        match self {
            Self::Nat => abi::Forward::NAT,
            Self::Snat => abi::Forward::SNAT,
            Self::L2 => abi::Forward::L2,
            Self::Ipip => abi::Forward::IPIP,
            Self::Gue => abi::Forward::GUE,
        }
    }

    /// What a row with this number means.
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            abi::Forward::NAT => Some(Self::Nat),
            abi::Forward::SNAT => Some(Self::Snat),
            abi::Forward::L2 => Some(Self::L2),
            abi::Forward::IPIP => Some(Self::Ipip),
            abi::Forward::GUE => Some(Self::Gue),
            _ => None,
        }
    }

    /// Whether the backend answers the client itself (direct server return): it sees the VIP, its port and the client.
    pub const fn is_direct(self) -> bool {
        matches!(self, Self::L2 | Self::Ipip | Self::Gue)
    }

    /// Whether packets go to the backend inside of others.
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_and_number_is_read_back() {
        for (word, forward) in FORWARDS {
            assert_eq!((forward.name(), Forward::named(word)), (word, Some(forward)));
            assert_eq!(Forward::of_number(forward.number()), Some(forward));
        }
        assert_eq!((Forward::named("dsr"), Forward::of_number(5)), (None, None));
    }
}
