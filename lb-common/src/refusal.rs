//! Why a packet was not forwarded. Every reason has a name, which is also its counter and its label.

/// What becomes of a packet that is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is none of Weir's business and goes on to the host as it came.
    Pass,
    /// It was meant for a VIP (or came from behind one) and ends here.
    Drop,
}

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $variant:ident = $index:literal, $name:literal, $action:ident;)+) => {
        /// Why a packet was not forwarded. The number is its place in the map of counters.
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Refusal { $($(#[doc = $doc])+ $variant = $index),+ }

        impl Refusal {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in output, counters and labels.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What becomes of the packet.
            #[inline(always)]
            pub const fn action(self) -> Action {
                match self { $(Self::$variant => Action::$action),+ }
            }

            /// One sentence for a person.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+)),+ }
            }
        }
    };
}

refusals! {
    /// Neither IPv4 nor IPv6: ARP and the like.
    NotIp = 0, "not_ip", Pass;
    /// The frame carries a VLAN tag, which is not looked behind.
    VlanTag = 1, "vlan_tag", Pass;
    /// The frame ends before the addresses and ports do.
    Truncated = 2, "truncated", Pass;
    /// The IP header contradicts itself: wrong version or impossible length.
    BadIpHeader = 3, "bad_ip_header", Pass;
    /// Neither TCP nor UDP.
    OtherProtocol = 4, "other_protocol", Pass;
    /// An IPv6 extension header hides the ports.
    ExtensionHeader = 5, "extension_header", Pass;
    /// A later fragment, which carries no ports.
    LaterFragment = 6, "later_fragment", Pass;
    /// Not for a VIP and not from a backend: a stranger's.
    NoService = 7, "no_service", Pass;
    /// To or from a backend, but not through a VIP.
    Direct = 8, "direct", Pass;
    /// The lengths in the headers contradict each other or the frame.
    Malformed = 9, "malformed", Drop;
    /// The first fragment of a datagram: the others could not follow it.
    Fragment = 10, "fragment", Drop;
    /// Its time to live ends here.
    TtlExpired = 11, "ttl_expired", Drop;
    /// The service has no backend that takes flows.
    NoBackend = 12, "no_backend", Drop;
    /// The service as a whole is over its limit.
    OverServiceLimit = 13, "over_service_limit", Drop;
    /// Its source is over the limit each source has.
    OverSourceLimit = 14, "over_source_limit", Drop;
    /// Too many CPUs pressed on one bucket at once for a verdict; refused, since admitting would break the limit.
    LimitContended = 15, "limit_contended", Drop;
    /// The bucket of its source could not be made.
    LimitTableFull = 16, "limit_table_full", Drop;
    /// Larger than the way to the backend takes.
    TooBig = 17, "too_big", Drop;
    /// Sent to all on the link, by Ethernet broadcast or multicast: nothing to be routed.
    LinkGroup = 18, "link_group", Pass;
    /// For a VIP, from an address that no client can have: the VIP itself, a backend of its own (UDP), loopback, multicast.
    MartianSource = 19, "martian_source", Drop;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_dense_and_names_unique() {
        for (index, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, index);
        }
        let names: BTreeSet<_> = Refusal::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
    }
}
