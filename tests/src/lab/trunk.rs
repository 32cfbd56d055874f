//! VLANs: a port of the lab's switch that is a trunk.
//!
//! The bridges know no VLANs, and not every kernel that tests run on has any (`CONFIG_VLAN_8021Q`). So the port tags what
//! it sends and untags what it receives by itself, with two programs of a few instructions on its tcx hooks. ARP and
//! neighbour discovery travel untagged, as on a trunk's native VLAN: Weir's host has no VLAN devices here, and its own
//! stack would neither ask nor answer behind a tag. All else that comes untagged, or with other tags, is dropped.

use anyhow::{Context, Result};

use super::bytecode::{Attached, Direction, Program, TCX_DROP, TCX_PASS};
use super::netns::Netns;

/// Bytes of an Ethernet header.
const ETHERNET: i32 = 14;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;
/// ICMPv6's number, where IPv6 says what follows, and where its type is.
const ICMPV6: i32 = 58;
const NEXT_HEADER_AT: i32 = ETHERNET + 6;
const ICMPV6_TYPE_AT: i32 = ETHERNET + 40;
/// Neighbour discovery's types, from router solicitation to redirect (RFC 4861 §4).
const DISCOVERY: std::ops::RangeInclusive<i32> = 133..=137;

/// A tag: what kind it is, 0x8100 or 0x88a8, and the VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The EtherType that announces it (IEEE 802.1Q §9.6).
    pub kind: u16,
    /// The VLAN's number, 1 to 4094.
    pub vlan: u16,
}

impl Tag {
    /// A customer's tag, 802.1Q.
    pub const fn customer(vlan: u16) -> Self {
        Self { kind: 0x8100, vlan }
    }

    /// A provider's tag, which stands before a customer's (802.1ad, "QinQ").
    pub const fn provider(vlan: u16) -> Self {
        Self { kind: 0x88a8, vlan }
    }
}

/// A port of the switch that tags and untags for as long as this lives.
#[derive(Debug)]
pub struct Trunk {
    _programs: [Attached; 2],
}

impl Trunk {
    /// Makes a device of the switch's a trunk, with one or two tags, the outer one first.
    pub fn on(switch: &Netns, device: &str, tags: &[Tag]) -> Result<Self> {
        // Tags are in the frames, where XDP looks for them, and not in a note beside them.
        switch.command("ethtool", &["-K", device, "txvlan", "off", "rxvlan", "off"])?;
        let attach = |program: &Program, direction| {
            program.attach(switch, device, direction).with_context(|| format!("cannot make {device} a trunk"))
        };
        let programs = [attach(&tagging(tags), Direction::Egress)?, attach(&untagging(tags), Direction::Ingress)?];
        Ok(Self { _programs: programs })
    }
}

fn tagging(tags: &[Tag]) -> Program {
    let mut program = Program::new();
    unless_native(&mut program);
    // The inner one first.
    for tag in tags.iter().rev() {
        program.push_tag(tag.kind, tag.vlan).unless_zero_end(TCX_DROP);
    }
    program.end(TCX_PASS);
    program
}

fn untagging(tags: &[Tag]) -> Program {
    let mut program = Program::new();
    program.when_tagged(|program| {
        for tag in tags {
            program.unless_tag_end(tag.kind, tag.vlan, TCX_DROP).pop_tag().unless_zero_end(TCX_DROP);
        }
        // One tag too many.
        program.when_tagged(|program| program.end(TCX_DROP));
        program.end(TCX_PASS);
    });
    unless_native(&mut program);
    program.end(TCX_DROP);
    program
}

/// Ends with [`TCX_PASS`] for what needs no tag.
fn unless_native(program: &mut Program) {
    program.when_protocol(ETH_P_ARP, |program| program.end(TCX_PASS));
    program.when_protocol(ETH_P_IPV6, |program| {
        program.when_byte(NEXT_HEADER_AT, ICMPV6..=ICMPV6, |program| {
            program.when_byte(ICMPV6_TYPE_AT, DISCOVERY, |program| program.end(TCX_PASS));
        });
    });
}
