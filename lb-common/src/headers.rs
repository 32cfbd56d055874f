//! What the packet path wants to know of a packet.

use crate::abi::{Tags, VipKey};
use crate::parse::{ICMP, ICMP6, SCTP, TCP, UDP};

/// Whether a packet is whole.
pub struct Part;

impl Part {
    /// It is.
    pub const WHOLE: u8 = 0;
    /// The first fragment, which has the ports.
    pub const FIRST: u8 = 1;
    /// A later fragment, which has none.
    pub const LATER: u8 = 2;
}

/// What is known of a packet after one pass over its headers. Offsets are from the frame's first byte.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers {
    /// Where it comes from; the port's bytes as on the wire, zero where there is none.
    pub source: VipKey,
    /// Where it goes.
    pub destination: VipKey,
    /// Length of layer 3 in bytes, as its header says.
    pub length: u32,
    /// A fragment's identification, as its bytes on the wire: two of them for IPv4, which come first in memory.
    pub fragment_id: u32,
    /// Where the IP header starts.
    pub l3: u16,
    /// Where the transport header starts, or a fragment's data.
    pub l4: u16,
    /// Where the IPv6 fragment header starts; 0 without.
    pub fragment_at: u16,
    /// How far into its datagram a fragment's data begins, in bytes.
    pub fragment_offset: u16,
    /// The VLAN tags it came with.
    pub tags: Tags,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class: six bits DSCP, two bits ECN.
    pub tos: u8,
    /// [`Part`].
    pub part: u8,
    /// The type of an ICMP message.
    pub icmp_type: u8,
    /// IPv4, or else IPv6.
    pub v4: bool,
    /// The first packet of a connection: TCP's SYN without ACK, SCTP's INIT.
    pub opens: bool,
    /// Whether more fragments follow this one.
    pub more: bool,
    /// IPv4: whether nobody may fragment it on its way.
    pub whole_only: bool,
    /// Whether the frame is for all, or for a group, on its link.
    pub link_group: bool,
    /// Whether every length agrees with every other and with the frame.
    pub well_formed: bool,
    /// TCP flags that no connection has.
    pub bad_flags: bool,
    /// Always false.
    pub pad: bool,
}

const _: () = assert!(size_of::<Headers>() == 76);

impl Headers {
    /// Where the packet ends in the frame, as its IP header says. What follows is the link's padding.
    #[inline(always)]
    pub const fn ends_at(&self) -> usize {
        self.l3 as usize + self.length as usize
    }

    /// Whether it is a TCP segment, or a part of one.
    #[inline(always)]
    pub const fn tcp(&self) -> bool {
        self.source.protocol == TCP
    }

    /// Whether it is a UDP datagram, or a part of one.
    #[inline(always)]
    pub const fn udp(&self) -> bool {
        self.source.protocol == UDP
    }

    /// Whether it is an SCTP packet, or a part of one.
    #[inline(always)]
    pub const fn sctp(&self) -> bool {
        self.source.protocol == SCTP
    }

    /// Whether it is an ICMP message of its own family.
    #[inline(always)]
    pub const fn icmp(&self) -> bool {
        self.source.protocol == if self.v4 { ICMP } else { ICMP6 }
    }

    /// Whether connections tell where they begin.
    #[inline(always)]
    pub const fn has_openings(&self) -> bool {
        !self.udp()
    }
}
