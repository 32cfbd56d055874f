//! Frames that are no business of Weir's: they leave byte for byte as they came, and as they would without Weir.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use weir_tests::lab::{BACK, FRONT, FrameSocket, HOST_DEVICE, Lab, WEIR_FRONT_V4, WEIR_FRONT_V6, vip_v4, vip_v6};

use crate::craft::{self, TCP, UDP, Way, echo_request, error, error6, ethernet, tcp, udp};
use crate::stand::{SOON, Service, Stand};

const MARK: &[u8] = b"a stranger's";

/// What is sent, and whether Weir's host forwards it to the backend.
struct Stranger {
    name: &'static str,
    frame: Vec<u8>,
    routed: bool,
}

fn services() -> [Service; 4] {
    [
        Service::tcp("web", (vip_v4(10), 80).into()),
        Service::tcp("web6", (vip_v6(10), 80).into()),
        Service::udp("echo", (vip_v4(10), 7).into()),
        Service::udp("echo6", (vip_v6(10), 7).into()),
    ]
}

/// From the client to one destination, each family.
struct From {
    ethernet: [[u8; 6]; 2],
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl From {
    fn client(lab: &Lab) -> Self {
        let ethernet = [lab.weir.mac(FRONT).unwrap(), lab.clients[0].netns.mac(HOST_DEVICE).unwrap()];
        Self { ethernet, v4: lab.clients[0].v4, v6: lab.clients[0].v6 }
    }

    fn to_v4(&self, destination: Ipv4Addr) -> Way<Ipv4Addr> {
        Way { ethernet: self.ethernet, source: self.v4, destination }
    }

    fn to_v6(&self, destination: Ipv6Addr) -> Way<Ipv6Addr> {
        Way { ethernet: self.ethernet, source: self.v6, destination }
    }
}

/// Forwarded by the kernel, to ports that no service has.
fn routed(from: &From, backend: &weir_tests::lab::Backend) -> Vec<(&'static str, Vec<u8>)> {
    let (v4, v6) = (from.to_v4(backend.v4), from.to_v6(backend.v6));
    let (p4, p6) = (v4.pseudo(), v6.pseudo());
    let other = [4_000, 4_001];
    let mut unsummed = udp(&p4, other, MARK);
    unsummed[6..8].fill(0);
    let options = [1, 1, 1, 0];
    let quoted4 = v4.udp(other, MARK)[14..].to_vec();
    let quoted6 = v6.packet(UDP, &udp(&p6, other, MARK))[14..].to_vec();
    let routing = [&[UDP, 0, 4, 0, 0, 0, 0, 0][..], &udp(&p6, other, MARK)].concat();
    let atomic = [&[UDP, 0, 0, 0, 0, 0, 0, 8][..], &udp(&p6, other, MARK)].concat();
    let destination_options = [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &udp(&p6, other, MARK)].concat();
    let fragment_header = [&[UDP, 0, 0, 1, 0, 0, 0, 9][..], &udp(&p6, other, &[7; 16])].concat();
    let later_header = [&[UDP, 0, 0, 24, 0, 0, 0, 9][..], MARK].concat();
    vec![
        ("v4 UDP", v4.udp(other, MARK)),
        ("v4 UDP without a checksum", v4.packet(UDP, &[], 0, &unsummed)),
        ("v4 UDP without payload", v4.udp(other, &[])),
        ("v4 UDP direct to where a service's backend listens", v4.udp([4_000, 9_000], MARK)),
        ("v4 TCP SYN", v4.packet(TCP, &[], 0, &tcp(&p4, other, 2, &[]))),
        (
            "v4 TCP direct to where a service's backend listens",
            v4.packet(TCP, &[], 0, &tcp(&p4, [4_000, 8_080], 2, &[])),
        ),
        ("v4 ICMP", v4.packet(1, &[], 0, &echo_request(8, &p4, MARK))),
        ("v4 GRE", v4.packet(47, &[], 0, MARK)),
        ("v4 with options", v4.packet(UDP, &options, 0, &udp(&p4, other, MARK))),
        ("v4 first fragment", v4.packet(UDP, &[], 0x2000, &udp(&p4, other, &[7; 16]))),
        ("v4 later fragment", v4.packet(UDP, &[], 3, MARK)),
        ("v4 later fragment to a backend that serves", v4.packet(TCP, &[], 0x2003, &[0x1f; 24])),
        ("v4 last fragment of an overlapping datagram", v4.packet(UDP, &[], 2, MARK)),
        ("v4 lone fragment in the middle", v4.packet(UDP, &[], 0x2010, &[7; 32])),
        ("v4 record route, full", v4.packet(UDP, &[7, 7, 8, 10, 9, 9, 9, 0], 0, &udp(&p4, other, MARK))),
        ("v4 port unreachable about a stranger", v4.packet(1, &[], 0, &error(3, 3, &quoted4))),
        ("v4 time exceeded about 8 bytes", v4.packet(1, &[], 0, &error(11, 0, &quoted4[..28]))),
        ("v4 error that quotes nothing", v4.packet(1, &[], 0, &error(3, 4, &[]))),
        ("v4 SCTP", v4.packet(132, &[], 0, &[0x0f, 0xa0, 0x0f, 0xa1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("v4 in v4", v4.packet(4, &[], 0, &quoted4)),
        ("v6 in v4", v4.packet(41, &[], 0, &quoted6)),
        ("v4 UDP to the port of UDP tunnels", v4.udp([4_000, 6_080], &quoted4)),
        ("v4 UDP whose header is cut off", v4.packet(UDP, &[], 0, &[0x0f, 0xa0])),
        ("v4 TCP whose header is cut off", v4.packet(TCP, &[], 0, &[0x0f, 0xa0, 0x1f, 0x90, 1])),
        ("v4 UDP of a wrong length", v4.packet(UDP, &[], 0, &[0x0f, 0xa0, 0x0f, 0xa1, 0xff, 0xff, 0, 0])),
        ("v6 UDP", v6.packet(UDP, &udp(&p6, other, MARK))),
        ("v6 UDP direct to where a service's backend listens", v6.packet(UDP, &udp(&p6, [4_000, 9_000], MARK))),
        ("v6 TCP SYN", v6.packet(TCP, &tcp(&p6, other, 2, &[]))),
        ("v6 ICMPv6", v6.packet(58, &echo_request(128, &p6, MARK))),
        ("v6 destination options", v6.packet(60, &destination_options)),
        ("v6 ESP", v6.packet(50, MARK)),
        ("v6 routing header", v6.packet(43, &routing)),
        ("v6 atomic fragment", v6.packet(44, &atomic)),
        ("v6 port unreachable about a stranger", v6.packet(58, &error6(&p6, 1, 4, &quoted6))),
        ("v6 error that quotes nothing", v6.packet(58, &error6(&p6, 2, 0, &[]))),
        ("v4 in v6", v6.packet(4, &quoted4)),
        ("v6 in v6", v6.packet(41, &quoted6)),
        ("v6 first fragment", v6.packet(44, &fragment_header)),
        ("v6 later fragment", v6.packet(44, &later_header)),
        ("v6 no next header", v6.packet(59, MARK)),
    ]
}

/// For Weir's host itself, or for nobody.
fn kept(from: &From) -> Vec<(&'static str, Vec<u8>)> {
    let [front, client] = from.ethernet;
    let (std::net::IpAddr::V4(vip4), std::net::IpAddr::V6(vip6)) = (vip_v4(10), vip_v6(10)) else { unreachable!() };
    let (host, host6) = (from.to_v4(WEIR_FRONT_V4), from.to_v6(WEIR_FRONT_V6));
    let (vip, vip6) = (from.to_v4(vip4), from.to_v6(vip6));
    let arp: Vec<u8> =
        [&[0, 1, 8, 0, 6, 4, 0, 1][..], &client, &from.v4.octets(), &[0; 6], &WEIR_FRONT_V4.octets()].concat();
    let good = vip.udp([4_000, 7], MARK);
    let tagged = |tags: &[u8], frame: &[u8]| [&frame[..12], tags, &frame[12..]].concat();
    let solicitation = {
        let target = WEIR_FRONT_V6.octets();
        let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, target[13], target[14], target[15]]);
        let way =
            Way { ethernet: [[0x33, 0x33, 0xff, target[13], target[14], target[15]], client], ..from.to_v6(group) };
        let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target, &[1, 1], &client].concat();
        // Neighbour discovery wants a hop limit of 255 (RFC 4861 §7.1.1).
        let mut frame = way.packet(58, &craft::summed(&way.pseudo(), 58, message));
        frame[21] = 255;
        frame
    };
    let multicast = |kind| {
        ethernet(
            [1, 0, 0x5e, 0, 0, 0xfb],
            client,
            kind,
            &from.to_v4([224, 0, 0, 251].into()).udp([5_353; 2], MARK)[14..],
        )
    };
    let multicast6 = {
        let way = from.to_v6([0xff02, 0, 0, 0, 0, 0, 0, 0xfb].into());
        ethernet(
            [0x33, 0x33, 0, 0, 0, 0xfb],
            client,
            0x86dd,
            &way.packet(UDP, &udp(&way.pseudo(), [5_353; 2], MARK))[14..],
        )
    };
    let broadcast = ethernet([0xff; 6], client, 0x0800, &from.to_v4([255; 4].into()).udp([68, 67], MARK)[14..]);
    let mut to_all_but_for_a_vip = good.clone();
    to_all_but_for_a_vip[..6].fill(0xff);
    let mut wrong_version = good.clone();
    wrong_version[14] = 0x65;
    let mut short_header = good.clone();
    short_header[14] = 0x44;
    let to_host = host.packet(UDP, &[], 0, &udp(&host.pseudo(), [4_000, 4_001], MARK));
    let to_host6 = host6.packet(UDP, &udp(&host6.pseudo(), [4_000, 4_001], MARK));
    vec![
        ("ARP", ethernet(front, client, 0x0806, &arp)),
        ("ARP to all", ethernet([0xff; 6], client, 0x0806, &arp)),
        ("neighbour solicitation", solicitation),
        ("v4 multicast", multicast(0x0800)),
        ("v6 multicast", multicast6),
        ("v4 broadcast", broadcast),
        ("v4 to a VIP, but to all on the link", to_all_but_for_a_vip),
        ("unknown ethertype", ethernet(front, client, 0x88b5, MARK)),
        ("a length instead of an ethertype", ethernet(front, client, 38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0])),
        ("one byte of IPv4", ethernet(front, client, 0x0800, &[0x45])),
        ("one byte of IPv6", ethernet(front, client, 0x86dd, &[0x60])),
        ("v4 TCP to a port of the host", host.packet(TCP, &[], 0, &tcp(&host.pseudo(), [4_000, 22], 2, &[]))),
        ("v4 ping of the host", host.packet(1, &[], 0, &echo_request(8, &[], MARK))),
        ("v6 ping of the host", host6.packet(58, &echo_request(128, &host6.pseudo(), MARK))),
        ("v4 to a VIP at another port", vip.udp([4_000, 8], MARK)),
        ("v4 to a VIP by GRE", vip.packet(47, &[], 0, MARK)),
        ("v4 to a VIP, cut off in the IP header", good[..30].to_vec()),
        ("v4 to a VIP, of another version", wrong_version),
        ("v4 to a VIP, with a short header", short_header),
        ("v6 to a VIP at another port", vip6.packet(UDP, &udp(&vip6.pseudo(), [4_000, 8], MARK))),
        ("a VLAN tag", tagged(&[0x81, 0, 0, 42], &to_host)),
        ("a VLAN tag before IPv6", tagged(&[0x81, 0, 0x20, 42], &to_host6)),
        ("two VLAN tags", tagged(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 42], &to_host)),
        ("a VLAN tag and ARP", tagged(&[0x81, 0, 0, 42], &ethernet(front, client, 0x0806, &arp))),
        ("two VLAN tags, cut off", tagged(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 42], &to_host)[..22].to_vec()),
        ("to a VIP with three VLAN tags", tagged(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 42, 0x81, 0, 0, 43], &good)),
    ]
}

fn strangers(lab: &Lab) -> Vec<Stranger> {
    let from = From::client(lab);
    let make = |routed| move |(name, frame)| Stranger { name, frame, routed };
    let all = routed(&from, &lab.backends[0]).into_iter().map(make(true));
    all.chain(kept(&from).into_iter().map(make(false))).collect()
}

/// Sends every stranger, sees it arrive at Weir's host as it was, and returns how it arrived at the backend.
fn arrivals(lab: &Lab, strangers: &[Stranger]) -> BTreeMap<&'static str, Vec<u8>> {
    // The other end of the host's own cable: a bridge between them may drop what is malformed.
    let sender = FrameSocket::open(&lab.switch, "weir-front").unwrap();
    let host = FrameSocket::open(&lab.weir, FRONT).unwrap();
    let backend = FrameSocket::open(&lab.backends[0].netns, HOST_DEVICE).unwrap();
    let gateway = lab.weir.mac(BACK).unwrap();
    let mut arrived = BTreeMap::new();
    for Stranger { name, frame, routed } in strangers {
        sender.send(frame).unwrap();
        host.expect(SOON, |found| found == frame).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        if *routed {
            // Forwarding changes the Ethernet addresses, the time to live and IPv4's checksum: not the end.
            let l3_addresses = if frame[12] == 0x08 { 26 } else { 22 };
            let is_it = |found: &[u8]| {
                found.len() == frame.len() && found[6..12] == gateway && found[l3_addresses..] == frame[l3_addresses..]
            };
            let found = backend.expect(SOON, is_it).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            arrived.insert(*name, found);
        }
    }
    arrived
}

#[test]
fn a_stranger_leaves_byte_for_byte_as_without_weir() {
    let lab = Lab::builder().backends(1).build().unwrap();
    // As on a wire: the tag is in the frame, not beside it.
    lab.switch.command("ethtool", &["-K", "weir-front", "txvlan", "off", "tx-vlan-stag-hw-insert", "off"]).unwrap();
    let strangers = strangers(&lab);
    let without = arrivals(&lab, &strangers);
    let mut stand = Stand::in_lab(lab, &services());
    let with = arrivals(&stand.lab, &strangers);
    assert_eq!(with, without);
    for refusal in ["not_ip", "vlan_tag", "truncated", "bad_ip_header", "other_protocol", "extension_header"]
        .into_iter()
        .chain(["later_fragment", "no_service", "direct", "link_group", "icmp_short"])
    {
        assert!(stand.refused(refusal) > 0, "nothing was counted as {refusal}");
    }
    for service in ["web", "web6", "echo", "echo6"] {
        assert!(stand.backends(service).iter().all(|row| row.packets == 0 && row.reply_packets == 0));
    }
    stand.weir.stop().unwrap();
    assert_eq!(arrivals(&stand.lab, &strangers), without);
}

#[test]
fn a_backends_other_packets_leave_byte_for_byte() {
    let stand = Stand::new(1, 1, &services());
    let (backend, client) = (&stand.lab.backends[0], &stand.lab.clients[0]);
    let sender = FrameSocket::open(&backend.netns, HOST_DEVICE).unwrap();
    let wire = FrameSocket::open(&client.netns, HOST_DEVICE).unwrap();
    let ethernet = [stand.lab.weir.mac(BACK).unwrap(), backend.netns.mac(HOST_DEVICE).unwrap()];
    let way = Way { ethernet, source: backend.v4, destination: client.v4 };
    for (name, frame) in [
        ("from another port", way.udp([4_000, 5_000], MARK)),
        ("ICMP", way.packet(1, &[], 0, &craft::echo_request(8, &[], MARK))),
        ("a later fragment", way.packet(UDP, &[], 3, MARK)),
    ] {
        sender.send(&frame).unwrap();
        let mut expected = frame.clone();
        expected[..6].copy_from_slice(&client.netns.mac(HOST_DEVICE).unwrap());
        expected[6..12].copy_from_slice(&stand.lab.weir.mac(FRONT).unwrap());
        // The time to live is one less, so IPv4's checksum one more in its upper byte (RFC 1624).
        expected[22] -= 1;
        expected[24] += 1;
        wire.expect(SOON, |found| found == expected).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}
