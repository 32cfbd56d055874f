//! What is none of Weir's business passes as it came, whatever it is.

use weir_tests::frame::{
    ACK, Extension, Frame, QINQ, SYN, Tag, VLAN, at, echo, gue, icmp, ipip, other, protocol, sctp, tcp, udp,
};

use super::Row;
use super::cast::{CLIENT, CLIENT6, MODES};

const HOST: &str = "192.0.2.99";
const HOST6: &str = "2001:db8:9::9";

pub(super) fn rows() -> Vec<Row> {
    let (web, web6) = (tcp(at(CLIENT, 4000), at(HOST, 80), ACK), tcp(at(CLIENT6, 4000), at(HOST6, 80), ACK));
    let (dns, dns6) = (udp(at(CLIENT, 4000), at(HOST, 53)), udp(at(CLIENT6, 4000), at(HOST6, 53)));
    let mut rows = Vec::new();
    let mut same = |what: &str, frame: Frame, refusal| rows.push(Row::same(what, frame, refusal));
    // Layer 2.
    let arp =
        [&[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 198, 51, 100, 11][..], &[0; 6], &[203, 0, 113, 110]].concat();
    let asked = Frame { mac_destination: [0xff; 6], ..other(0x0806, arp) };
    same("ARP for a VIP", asked.clone(), "not_ip");
    same("ARP in a VLAN", Frame { tags: vec![Tag(VLAN, 5)], ..asked }, "not_ip");
    same("LLDP", Frame { mac_destination: [1, 0x80, 0xc2, 0, 0, 0x0e], ..other(0x88cc, [0; 40]) }, "not_ip");
    same("MPLS", other(0x8847, [0; 40]), "not_ip");
    same("PPPoE", other(0x8864, [0x11; 40]), "not_ip");
    same("a length instead of an ether type", other(0x0026, [0x42; 46]), "not_ip");
    same("an Ethernet header alone", web.clone().cut(14), "truncated");
    // TCP and UDP.
    same("TCP", web.clone(), "no_service");
    same("TCP, IPv6", web6.clone(), "no_service");
    same("a SYN", tcp(at(CLIENT, 4000), at(HOST, 80), SYN), "no_service");
    same("flags of no connection", tcp(at(CLIENT, 4000), at(HOST, 80), 0), "no_service");
    same("UDP", dns.clone(), "no_service");
    same("UDP, IPv6", dns6.clone(), "no_service");
    same("a time to live of 0", Frame { ttl: 0, ..web.clone() }, "no_service");
    same("a full one", web.clone().sized(1460), "no_service");
    same("source port 0", udp(at(CLIENT, 0), at(HOST, 53)), "no_service");
    same("one VLAN", Frame { tags: vec![Tag(VLAN, 5)], ..web.clone() }, "no_service");
    same("QinQ", Frame { tags: vec![Tag(QINQ, 5), Tag(VLAN, 6)], ..web6.clone() }, "no_service");
    same("three tags", Frame { tags: vec![Tag(VLAN, 5); 3], ..web.clone() }, "vlan_tag");
    same("options", Frame { options: vec![0x94, 4, 0, 0], ..web.clone() }, "no_service");
    same("a record of the route", Frame { options: vec![7, 7, 4, 0, 0, 0, 0, 0], ..dns.clone() }, "no_service");
    let hop = Extension::HopByHop(vec![5, 2, 0, 0]);
    same("hop-by-hop options", Frame { extensions: vec![hop.clone()], ..web6.clone() }, "no_service");
    same("SCTP", sctp(at(CLIENT, 4000), at(HOST, 5000), true), "no_service");
    same("SCTP, IPv6", sctp(at(CLIENT6, 4000), at(HOST6, 5000), false), "no_service");
    // Multicast.
    let group = |frame: Frame| Frame { mac_destination: [1, 0, 0x5e, 0, 0, 0xfb], ..frame };
    same("mDNS", group(udp(at(CLIENT, 5353), at("224.0.0.251", 5353))), "no_service");
    same("IGMP", group(protocol(CLIENT, "224.0.0.22", 2)), "other_protocol");
    same("OSPF", group(protocol(CLIENT, "224.0.0.5", 89)), "other_protocol");
    same("VRRP", group(protocol(CLIENT, "224.0.0.18", 112)), "other_protocol");
    let group6 = |frame: Frame| Frame { mac_destination: [0x33, 0x33, 0, 0, 0, 1], ..frame };
    let mld = icmp("fe80::1", "ff02::16", 143, 0, [0; 4], []);
    same("MLD", group6(Frame { extensions: vec![hop], ttl: 1, ..mld }), "other_protocol");
    same("DHCP", udp(at("0.0.0.0", 68), at("255.255.255.255", 67)), "no_service");
    // ICMP.
    same("an echo request", echo(CLIENT, HOST, true, 1, 1, b"ping"), "other_protocol");
    same("an echo reply, IPv6", echo(CLIENT6, HOST6, false, 1, 1, b"ping"), "other_protocol");
    same("a timestamp request", icmp(CLIENT, HOST, 13, 0, [0; 4], [0; 12]), "other_protocol");
    for (what, kind) in [("a neighbour solicitation", 135), ("a neighbour advertisement", 136)] {
        let target = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        same(what, Frame { ttl: 255, ..icmp("fe80::2", "ff02::1:ff00:1", kind, 0, [0; 4], target) }, "other_protocol");
        same(what, Frame { ttl: 255, ..icmp(CLIENT6, MODES[1].vip, kind, 0, [0; 4], target) }, "other_protocol");
    }
    same(
        "a router advertisement",
        Frame { ttl: 255, ..icmp("fe80::2", "ff02::1", 134, 0, [0; 4], [0; 8]) },
        "other_protocol",
    );
    same("an error", icmp(CLIENT, HOST, 3, 1, [0; 4], udp(at(HOST, 1), at(CLIENT, 2)).quote(28)), "other_protocol");
    // Other protocols.
    same("4 in 4", ipip(CLIENT, HOST, &web), "other_protocol");
    same("6 in 4", ipip(CLIENT, HOST, &web6), "other_protocol");
    same("4 in 6", ipip(CLIENT6, HOST6, &web), "other_protocol");
    same("in UDP", gue(at(CLIENT, 50_000), at(HOST, 6080), &web, false), "no_service");
    for (what, number) in
        [("GRE", 47), ("ESP", 50), ("AH", 51), ("EIGRP", 88), ("L2TP", 115), ("UDP-Lite", 136), ("none", 255)]
    {
        same(what, protocol(CLIENT, HOST, number), "other_protocol");
        same(what, protocol(CLIENT, MODES[0].vip, number), "other_protocol");
    }
    same("ESP, IPv6", protocol(CLIENT6, HOST6, 50), "extension_header");
    same("ESP to a VIP, IPv6", protocol(CLIENT6, MODES[1].vip, 50), "extension_header");
    // Fragments, in any order.
    for (what, whole) in [("a fragment", dns.sized(3000)), ("a fragment, IPv6", dns6.sized(3000))] {
        let pieces = whole.pieces(&[1480, 2960]);
        for number in [0, 1, 2, 2, 1, 0] {
            let refusal = if number == 0 { "no_service" } else { "later_fragment" };
            same(what, pieces[number].clone(), refusal);
        }
    }
    rows
}
