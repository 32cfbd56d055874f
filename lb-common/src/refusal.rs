//! Why a packet was not forwarded. Every reason has a name, which is also its counter and its label.

/// What becomes of a packet that is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is none of Weir's business and goes on to the host as it came.
    Pass,
    /// It was meant for a VIP (or came from behind one) and ends here.
    Drop,
    /// It ends here, and whoever sent it is told, as often as the rate of such answers allows.
    Answer,
}

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $variant:ident = $index:literal, $name:literal, $action:ident, $advice:literal;)+) => {
        /// Why a packet was not forwarded. The number is its place in the map of counters.
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Refusal { $($(#[doc = $doc])+ $variant = $index),+ }

        impl Refusal {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The one with this number.
            #[inline(always)]
            pub const fn from_index(index: u32) -> Option<Self> {
                match index { $($index => Some(Self::$variant),)+ _ => None }
            }

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

            /// What a person can do about it.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice),+ }
            }
        }
    };
}

refusals! {
    /// Neither IPv4 nor IPv6: ARP and the like.
    NotIp = 0, "not_ip", Pass, "nothing: the host's own";
    /// The frame carries more than two VLAN tags.
    VlanTag = 1, "vlan_tag", Pass, "send what is for VIPs with two tags at most";
    /// The frame ends before the addresses and ports do.
    Truncated = 2, "truncated", Pass, "look for a broken sender or cable when there are many";
    /// The IP header contradicts itself: wrong version or impossible length.
    BadIpHeader = 3, "bad_ip_header", Pass, "look for a broken sender when there are many";
    /// Neither TCP, UDP nor SCTP, or an ICMP message that is the host's.
    OtherProtocol = 4, "other_protocol", Pass, "nothing: the host's own";
    /// IPv6 extension headers hide the ports: too many, or such as only a packet's receiver may read.
    ExtensionHeader = 5, "extension_header", Pass, "nothing: the host's own";
    /// A later fragment of a stranger's datagram.
    LaterFragment = 6, "later_fragment", Pass, "nothing: the host's own";
    /// Not for a VIP and not from a backend: a stranger's.
    NoService = 7, "no_service", Pass, "nothing, unless it was for a service: compare its address, port and protocol with `weir services`";
    /// To or from a backend, but not through a VIP.
    Direct = 8, "direct", Pass, "nothing: connections with backends' own addresses; if clients miss replies, see \"It does not forward\" in docs/operating.md";
    /// The lengths in the headers contradict each other or the frame.
    Malformed = 9, "malformed", Drop, "look for a broken or hostile sender";
    /// A fragment that no sender makes: of no length, not of eight-byte blocks, beyond 65,535 bytes, or with another end
    /// than its datagram had before.
    BadFragment = 10, "bad_fragment", Drop, "look for a hostile sender";
    /// Its time to live ends here.
    TtlExpired = 11, "ttl_expired", Answer, "nothing when somebody traces the route; look for a routing loop when there are many";
    /// The service has no backend that takes flows.
    NoBackend = 12, "no_backend", Drop, "see `weir services` (is `registry_service` right?), `weir backends` (are all weights 0?), `weir status`";
    /// The service as a whole is over its limit.
    OverServiceLimit = 13, "over_service_limit", Drop, "see `weir limits`; raise the service's limit if this is not an attack";
    /// Its source is over the limit each source has.
    OverSourceLimit = 14, "over_source_limit", Drop, "see `weir limits`; raise the limit per source if this is not an attack";
    /// Too many CPUs pressed on one bucket at once for a verdict; refused, since admitting would break the limit.
    LimitContended = 15, "limit_contended", Drop, "nothing when there are few";
    /// The bucket of its source could not be made, or its connection not be counted.
    LimitTableFull = 16, "limit_table_full", Drop, "raise `max_sources` under [weir]; for limits of connections, `max_flows`, too";
    /// Larger than the way to the backend takes.
    TooBig = 17, "too_big", Answer, "nothing when there are few: that is how senders learn the path MTU";
    /// Sent to all on the link, by Ethernet broadcast or multicast: nothing to be routed.
    LinkGroup = 18, "link_group", Pass, "nothing: the host's own";
    /// For a VIP, from an address that no client can have: the VIP itself, a backend of its own (UDP), loopback, multicast.
    MartianSource = 19, "martian_source", Drop, "look for a hostile sender, or for a backend that calls its own service";
    /// A later fragment that came before the first one, which alone has the ports; or the first one was lost or forgotten.
    FragmentWithoutFirst = 20, "fragment_without_first", Drop, "raise `max_fragments` under [weir] when there are many and the network keeps their order";
    /// Overlaps what came before of the same datagram (RFC 5722, RFC 8200 section 4.5), or repeats it.
    FragmentOverlap = 21, "fragment_overlap", Drop, "look for a hostile sender when there are many";
    /// The datagram could not be remembered, so that its later fragments could not follow.
    FragmentTableFull = 22, "fragment_table_full", Drop, "raise `max_fragments` under [weir]";
    /// Every port towards the backend is taken, or there is no room for another flow.
    SnatExhausted = 23, "snat_exhausted", Drop, "add an address to `snat_addresses`, or raise `max_snat_flows`, under [weir]";
    /// Too many CPUs looked for a port at once.
    SnatContended = 24, "snat_contended", Drop, "nothing when there are few: senders try again";
    /// In the midst of a connection that nobody remembers, whose packets need a port of this host.
    UnknownFlow = 25, "unknown_flow", Drop, "nothing: its connection was silent for longer than the service's `idle`, or never was";
    /// The backend's next hop is not known (yet), or cannot be reached by XDP, and the stack cannot deliver in its stead.
    NoWay = 26, "no_way", Drop, "see `weir backends` for what is wrong with the way";
    /// TCP flags that no connection has: none of SYN, ACK and RST; SYN with FIN or RST; FIN without ACK.
    BadFlags = 27, "bad_flags", Drop, "nothing: somebody scans";
    /// An echo request to a VIP, answered in place of a backend.
    EchoAnswered = 28, "echo_answered", Answer, "nothing; `echo = false` under [weir] leaves them to the host";
    /// For a port of a VIP at which no service is.
    ClosedPort = 29, "closed_port", Answer, "nothing; `closed_ports = \"pass\"` under [weir] leaves them to the host";
    /// An ICMP error that quotes an ICMP error.
    IcmpNested = 30, "icmp_nested", Pass, "nothing: RFC 1122 forbids them, and the host ignores them";
    /// An ICMP error that quotes too little to tell whose it is.
    IcmpShort = 31, "icmp_short", Pass, "nothing when there are few";
    /// Told that packets to a tunnel's far end are too big: noted, and senders are told as their packets come.
    PathMtuLearnt = 32, "path_mtu_learnt", Drop, "nothing: that is how a path MTU is learnt";
    /// From port 0, to which nobody could answer.
    SourcePortZero = 33, "source_port_zero", Drop, "look for a broken or hostile sender";
    /// In several buffers, for a device that takes only one.
    Scattered = 34, "scattered", Drop, "lower the MTU of the device it came in by to a page, or use a device that takes jumbo frames";
    /// From a network that may not use the service.
    OtherNetwork = 35, "other_network", Drop, "nothing if networks are to be apart; else put the client's container on a network of the service's, or name its network in `weir.allow_networks`";
    /// Its backend is over the limit each backend has.
    OverBackendLimit = 36, "over_backend_limit", Drop, "see `weir limits`; add backends, or raise the limit per backend if they can take more";
}

/// Why a packet is not forwarded, and what its sender has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// Why.
    pub refusal: Refusal,
    /// For [`Refusal::TooBig`], the largest packet that would be taken, in bytes.
    pub mtu: u16,
}

impl From<Refusal> for Stop {
    #[inline(always)]
    fn from(refusal: Refusal) -> Self {
        Self { refusal, mtu: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_dense_and_names_unique() {
        for (index, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, index);
            assert_eq!(Refusal::from_index(*refusal as u32), Some(*refusal));
        }
        assert_eq!(Refusal::from_index(u32::try_from(Refusal::ALL.len()).unwrap()), None);
        let names: BTreeSet<_> = Refusal::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
    }
    #[test]
    fn the_operators_page_says_of_each_what_the_program_says() {
        let page = include_str!("../../docs/operating.md");
        let head = "| name | outcome | meaning | what to do |\n|---|---|---|---|\n";
        let (_, table) = page.split_once(head).expect("the table of refusals");
        let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
        let expected: Vec<String> = Refusal::ALL
            .iter()
            .map(|refusal| {
                let outcome = match refusal.action() {
                    Action::Pass => "pass",
                    Action::Drop => "drop",
                    Action::Answer => "answered",
                };
                let meaning = refusal.meaning().trim().trim_end_matches('.');
                format!("| `{}` | {outcome} | {meaning} | {} |", refusal.name(), refusal.advice())
            })
            .collect();
        assert_eq!(rows, expected);
    }
}
