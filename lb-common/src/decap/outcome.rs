//! What became of a packet. Every outcome has a name, which is also its counter.

/// What the host gets of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes on to the host as it came.
    Pass,
    /// The inner packet goes on to the host.
    Unwrap,
    /// It was a tunnel's, and ends here.
    Drop,
}

impl Action {
    /// The word for a person.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Unwrap => "unwrap",
            Self::Drop => "drop",
        }
    }
}

macro_rules! outcomes {
    ($(#[doc = $about:literal])+ $enum:ident { $($(#[doc = $doc:literal])+ $variant:ident = $index:literal, $name:literal, $advice:literal;)+ }) => {
        $(#[doc = $about])+
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $enum { $($(#[doc = $doc])+ $variant = $index),+ }

        impl $enum {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in output and counters.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// One sentence for a person.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+)),+ }
            }

            /// What to do about it; empty when there is nothing.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice),+ }
            }
        }
    };
}

outcomes! {
    /// What became of a packet that came in. The number is its place in the map of counters.
    DecapOutcome {
        /// Taken out of ipip, and given to the host.
        Ipip = 0, "ipip", "";
        /// Taken out of gue, and given to the host.
        Gue = 1, "gue", "";
        /// Neither IPv4 nor IPv6, or behind more than two VLAN tags.
        NotIp = 2, "not_ip", "";
        /// The frame ends before its headers do.
        Truncated = 3, "truncated", "";
        /// The outer IP header contradicts itself or the frame, or its checksum is wrong.
        BadIpHeader = 4, "bad_ip_header", "look for a broken cable or driver: `ethtool -S` of the device";
        /// IPv6 with an extension header.
        ExtensionHeader = 5, "extension_header", "";
        /// Neither ipip nor UDP.
        NotTunnel = 6, "not_tunnel", "";
        /// UDP to another port than gue's.
        OtherPort = 7, "other_port", "";
        /// A tunnel's or its fragment, but not to an address of ours.
        NotOurs = 8, "not_ours", "if it should end here, name the address with --to";
        /// A tunnel's, but not from a sender that was named.
        UnknownSender = 9, "unknown_sender", "if it is a balancer's, name it with --from";
        /// A fragment of a tunnel's packet: only whole ones are unwrapped.
        OuterFragment = 10, "outer_fragment", "give the way from the sender to here one MTU";
        /// Sent to all on the link, by Ethernet broadcast or multicast.
        LinkGroup = 11, "link_group", "";
        /// To gue's port, but its UDP header contradicts the packet.
        BadUdpHeader = 12, "bad_udp_header", "";
        /// To gue's port, but no IP packet behind UDP: variant 0, a control message, or nothing.
        OtherGue = 13, "other_gue", "have the sender use variant 1, or another program another port: --gue-port";
        /// The inner packet is longer than what the outer one carries.
        InnerCutOff = 14, "inner_cut_off", "the sender wraps packets that are not whole";
        /// The inner IP header contradicts itself, or is not of the version that was announced.
        InnerMalformed = 15, "inner_malformed", "the sender wraps what is no IP packet";
        /// The inner packet is from or to what is no host: loopback, multicast, link-local, unspecified.
        InnerMartian = 16, "inner_martian", "the sender should not have taken it";
        /// The inner packet is a tunnel's itself.
        Nested = 17, "nested", "let VIPs not be tunnel addresses: the sender wraps what was wrapped";
        /// The inner packet is for one of the tunnel's own ends, and would go around.
        Looped = 18, "looped", "let VIPs not be tunnel addresses";
        /// Congestion was met on the way, and the inner packet's transport would not understand (RFC 6040 §4.2).
        CongestionDrop = 19, "congestion_drop", "";
        /// The kernel would not move the frame's beginning.
        Immovable = 20, "immovable", "tell Weir's authors which driver it is: `ethtool -i` of the device";
    }
}

impl DecapOutcome {
    /// What the host gets of the packet.
    #[inline(always)]
    pub const fn action(self) -> Action {
        match self {
            Self::Ipip | Self::Gue => Action::Unwrap,
            Self::NotIp
            | Self::Truncated
            | Self::BadIpHeader
            | Self::ExtensionHeader
            | Self::NotTunnel
            | Self::OtherPort
            | Self::NotOurs
            | Self::UnknownSender
            | Self::OuterFragment
            | Self::LinkGroup
            | Self::BadUdpHeader
            | Self::OtherGue => Action::Pass,
            Self::InnerCutOff
            | Self::InnerMalformed
            | Self::InnerMartian
            | Self::Nested
            | Self::Looped
            | Self::CongestionDrop
            | Self::Immovable => Action::Drop,
        }
    }
}

outcomes! {
    /// What became of a SYN-ACK that left from an address whose packets come in tunnels. All of them go on.
    ClampOutcome {
        /// The MSS was lowered to what the tunnel carries.
        Lowered = 0, "mss_lowered", "";
        /// The MSS was small enough.
        SmallEnough = 1, "mss_small_enough", "";
        /// It has no MSS option, so the peer takes 536 or 1220 bytes (RFC 9293 §3.7.1).
        NoOption = 2, "mss_absent", "";
        /// Its headers are cut off, or contradict themselves.
        Unreadable = 3, "mss_unreadable", "";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_dense_and_names_unique() {
        let names: BTreeSet<_> = DecapOutcome::ALL.iter().map(|outcome| outcome.name()).collect();
        assert_eq!(names.len(), DecapOutcome::ALL.len());
        assert!(DecapOutcome::ALL.iter().enumerate().all(|(index, outcome)| *outcome as usize == index));
        let names: BTreeSet<_> = ClampOutcome::ALL.iter().map(|outcome| outcome.name()).collect();
        assert_eq!(names.len(), ClampOutcome::ALL.len());
        assert!(ClampOutcome::ALL.iter().enumerate().all(|(index, outcome)| *outcome as usize == index));
    }
}
