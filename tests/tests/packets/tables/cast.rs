//! Who is in the tables: clients, services, their backends and the ways to them.

use weir_tests::frame::{End, Frame, QINQ, Tag, Transport, VLAN, at, gue, ipip, udp};

/// Clients with a neighbour entry, one of each family.
pub(crate) const CLIENT: &str = "198.51.100.11";
pub(crate) const CLIENT6: &str = "2001:db8:1::11";

/// The Ethernet addresses towards backends: the next hop's and our own.
pub(crate) const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(crate) const BACK_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// The Ethernet addresses towards clients, in the kernel's routes.
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
pub(crate) const FRONT_MAC: [u8; 6] = [2, 0, 0, 0, 2, 2];

/// Where tunnels begin.
pub(crate) const TUNNEL: &str = "192.0.2.6";
pub(crate) const TUNNEL6: &str = "2001:db8:5::6";

/// Where flows leave from whose source is rewritten, too.
pub(crate) const SNAT: &str = "192.0.2.5";
pub(crate) const SNAT6: &str = "2001:db8:5::5";

/// The port of UDP tunnels.
pub(crate) const GUE_PORT: u16 = 6080;

/// How packets reach a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forward {
    Nat,
    Snat,
    L2,
    Ipip,
    Gue,
}

/// How they leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Device,
    Stack,
}

/// A VIP with services at three ports (two where SCTP cannot be), or at all of them, and one backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service {
    pub name: &'static str,
    pub forward: Forward,
    pub vip: &'static str,
    pub backend: &'static str,
    pub tags: &'static [Tag],
    pub mtu: u32,
    pub way: Way,
    /// One service for every port instead of single ones.
    pub any_port: bool,
    /// Whether echo requests are answered, and closed ports.
    pub echo: bool,
    pub closed: bool,
}

pub(crate) const WEB: u16 = 80;
pub(crate) const DNS: u16 = 53;
pub(crate) const SIGNAL: u16 = 5000;

/// Where backends listen whose ports need not be the VIP's.
pub(crate) const WEB_AT: u16 = 8080;
pub(crate) const DNS_AT: u16 = 5353;

const fn service(name: &'static str, forward: Forward, vip: &'static str, backend: &'static str) -> Service {
    Service {
        name,
        forward,
        vip,
        backend,
        tags: &[],
        mtu: 1500,
        way: Way::Device,
        any_port: false,
        echo: true,
        closed: false,
    }
}

/// One service of each mode and each combination of families, each with a way of 1,500 bytes and no tags.
pub(crate) const MODES: [Service; 14] = [
    service("nat", Forward::Nat, "203.0.113.110", "10.0.3.10"),
    service("nat, IPv6", Forward::Nat, "2001:db8:f00d::110", "fd00:3::10"),
    service("snat", Forward::Snat, "203.0.113.111", "10.0.3.11"),
    service("snat, IPv6", Forward::Snat, "2001:db8:f00d::111", "fd00:3::11"),
    service("l2", Forward::L2, "203.0.113.112", "10.0.3.12"),
    service("l2, IPv6", Forward::L2, "2001:db8:f00d::112", "fd00:3::12"),
    service("ipip, 4 in 4", Forward::Ipip, "203.0.113.113", "10.0.3.13"),
    service("ipip, 4 in 6", Forward::Ipip, "203.0.113.114", "fd00:3::14"),
    service("ipip, 6 in 6", Forward::Ipip, "2001:db8:f00d::113", "fd00:3::13"),
    service("ipip, 6 in 4", Forward::Ipip, "2001:db8:f00d::114", "10.0.3.14"),
    service("gue, 4 in 4", Forward::Gue, "203.0.113.115", "10.0.3.15"),
    service("gue, 4 in 6", Forward::Gue, "203.0.113.116", "fd00:3::16"),
    service("gue, 6 in 6", Forward::Gue, "2001:db8:f00d::115", "fd00:3::15"),
    service("gue, 6 in 4", Forward::Gue, "2001:db8:f00d::116", "10.0.3.16"),
];

const ONE: &[Tag] = &[Tag(VLAN, 100)];
const TWO: &[Tag] = &[Tag(QINQ, 200), Tag(VLAN, 300)];

/// Services whose ways have tags.
pub(crate) const TAGGED: [Service; 8] = [
    Service { tags: ONE, ..service("nat, tag", Forward::Nat, "203.0.113.120", "10.0.3.20") },
    Service { tags: TWO, ..service("nat, two tags", Forward::Nat, "203.0.113.121", "10.0.3.21") },
    Service { tags: ONE, ..service("l2, tag", Forward::L2, "203.0.113.122", "10.0.3.22") },
    Service { tags: TWO, ..service("l2, two tags", Forward::L2, "2001:db8:f00d::123", "fd00:3::23") },
    Service { tags: ONE, ..service("ipip, tag", Forward::Ipip, "203.0.113.124", "10.0.3.24") },
    Service { tags: TWO, ..service("ipip, two tags", Forward::Ipip, "2001:db8:f00d::125", "fd00:3::25") },
    Service { tags: ONE, ..service("gue, tag", Forward::Gue, "203.0.113.126", "fd00:3::26") },
    Service { tags: TWO, ..service("gue, two tags", Forward::Gue, "2001:db8:f00d::127", "10.0.3.27") },
];

/// Services whose ways take little.
pub(crate) const NARROW: [Service; 8] = [
    Service { mtu: 1000, ..service("nat, narrow", Forward::Nat, "203.0.113.130", "10.0.3.30") },
    Service { mtu: 1300, ..service("nat, narrow, IPv6", Forward::Nat, "2001:db8:f00d::131", "fd00:3::31") },
    Service { mtu: 1000, ..service("l2, narrow", Forward::L2, "203.0.113.132", "10.0.3.32") },
    Service { mtu: 1300, ..service("l2, narrow, IPv6", Forward::L2, "2001:db8:f00d::132", "fd00:3::32") },
    Service { mtu: 1400, ..service("ipip, narrow", Forward::Ipip, "203.0.113.134", "10.0.3.34") },
    Service { mtu: 1400, ..service("ipip, narrow, IPv6", Forward::Ipip, "2001:db8:f00d::135", "fd00:3::35") },
    Service { mtu: 1400, ..service("gue, narrow", Forward::Gue, "203.0.113.136", "fd00:3::36") },
    Service { mtu: 1400, ..service("gue, narrow, IPv6", Forward::Gue, "2001:db8:f00d::137", "10.0.3.37") },
];

/// Services of every port.
pub(crate) const ANY_PORT: [Service; 4] = [
    Service { any_port: true, ..service("nat, every port", Forward::Nat, "203.0.113.140", "10.0.3.40") },
    Service { any_port: true, ..service("l2, every port", Forward::L2, "203.0.113.141", "10.0.3.41") },
    Service { any_port: true, ..service("ipip, every port", Forward::Ipip, "2001:db8:f00d::142", "fd00:3::42") },
    Service { any_port: true, ..service("gue, every port", Forward::Gue, "203.0.113.143", "10.0.3.43") },
];

/// Services that XDP cannot deliver, one whose VIP does not answer echo requests, and one whose closed ports are refused.
pub(crate) const ODD: [Service; 7] = [
    Service { way: Way::Stack, ..service("nat, by the stack", Forward::Nat, "203.0.113.150", "10.0.3.50") },
    Service { way: Way::Stack, ..service("l2, by the stack", Forward::L2, "203.0.113.151", "10.0.3.51") },
    Service { way: Way::Stack, ..service("ipip, by the stack", Forward::Ipip, "203.0.113.152", "10.0.3.52") },
    Service { way: Way::Stack, ..service("gue, by the stack", Forward::Gue, "2001:db8:f00d::153", "10.0.3.53") },
    Service { echo: false, ..service("no echo", Forward::Nat, "203.0.113.154", "10.0.3.54") },
    Service { closed: true, ..service("closed", Forward::Nat, "203.0.113.155", "10.0.3.55") },
    Service { closed: true, ..service("closed, IPv6", Forward::Nat, "2001:db8:f00d::155", "fd00:3::55") },
];

/// Every service there is.
pub(crate) fn services() -> Vec<Service> {
    [&MODES[..], &TAGGED, &NARROW, &ANY_PORT, &ODD].concat()
}

/// The mode's service by its name.
pub(crate) fn named(name: &str) -> Service {
    services().into_iter().find(|service| service.name == name).unwrap_or_else(|| panic!("no service {name}"))
}

impl Service {
    pub(crate) fn is_v4(&self) -> bool {
        self.at(0).0.is_ipv4()
    }

    /// The VIP at a port.
    pub(crate) fn at(&self, port: u16) -> End {
        at(self.vip, port)
    }

    /// A client of the VIP's family.
    pub(crate) fn client(&self) -> End {
        at(if self.is_v4() { CLIENT } else { CLIENT6 }, 40_000)
    }

    /// Whether SCTP can be forwarded.
    pub(crate) fn takes_sctp(&self) -> bool {
        !matches!(self.forward, Forward::Nat | Forward::Snat)
    }

    /// Where the backend listens for what is for this port of the VIP.
    pub(crate) fn listens(&self, port: u16) -> End {
        let port = match port {
            _ if self.any_port || self.takes_sctp() => port,
            WEB => WEB_AT,
            DNS => DNS_AT,
            other => other,
        };
        at(self.backend, port)
    }

    /// The whole frame as it leaves for the backend, by the RFCs: [`Forward::Snat`]'s source is still the client's.
    pub(crate) fn forwarded(&self, frame: &Frame) -> Frame {
        let hop =
            Frame { mac_destination: BACKEND_MAC, mac_source: BACK_MAC, tags: self.tags.to_vec(), ..frame.clone() };
        let later = Frame { ttl: hop.ttl.wrapping_sub(1), ..hop.clone() };
        let padding = later.padding.clone();
        let bare = Frame { padding: Vec::new(), ..later.clone() };
        let outer_v4 = at(self.backend, 0).0.is_ipv4();
        let begin = if outer_v4 { TUNNEL } else { TUNNEL6 };
        match self.forward {
            Forward::L2 => hop,
            Forward::Nat | Forward::Snat => Frame { destination: self.listens(frame.destination.1), ..later },
            Forward::Ipip => Frame { padding, ..ipip(begin, self.backend, &bare) },
            Forward::Gue => {
                let (from, to) = (at(begin, 0xc000), at(self.backend, GUE_PORT));
                Frame { padding, ..gue(from, to, &bare, !outer_v4 && self.can_derive(&bare)) }
            }
        }
    }

    /// Whether the sum over the inner packet is known without reading all of it: it is nothing where a transport checksum
    /// makes it so (RFC 1071 §2).
    fn can_derive(&self, inner: &Frame) -> bool {
        let covered = match inner.transport {
            Transport::Tcp(_) => true,
            Transport::Udp { checksum } => {
                checksum && inner.lies.udp_length.is_none_or(|length| usize::from(length) == 8 + inner.payload.len())
            }
            _ => false,
        };
        let whole = if self.is_v4() { inner.fragment & 0x3fff == 0 } else { inner.fragment == 0 };
        covered && whole && inner.extensions.is_empty()
    }

    /// The largest packet of a client's that is forwarded without being cut.
    pub(crate) fn takes(&self) -> usize {
        let ip = if at(self.backend, 0).0.is_ipv4() { 20 } else { 40 };
        let overhead = match self.forward {
            Forward::Ipip => ip,
            Forward::Gue => ip + 8,
            _ => 0,
        };
        self.mtu as usize - overhead
    }

    /// A datagram of a client's to the service for DNS.
    pub(crate) fn datagram(&self) -> Frame {
        udp(self.client(), self.at(DNS))
    }
}

/// Where flows leave from whose source is rewritten, too.
pub(crate) fn snat(v4: bool) -> std::net::IpAddr {
    at(if v4 { SNAT } else { SNAT6 }, 0).0
}
