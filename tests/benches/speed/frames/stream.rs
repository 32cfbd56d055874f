//! What is sent: frames of so many flows to one target.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_tests::frame::{self, ACK, Frame};

/// A frame's place in the generator's map; frames of IPv4 fill less of it.
pub(super) const LONGEST: usize = 80;
/// Bytes of a frame of IPv4, the least that Ethernet has, with its check sequence.
const SHORTEST: usize = 64;
/// Ethernet's header, IPv6's and TCP's.
const HEADERS: usize = 74;

/// Where frames go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// The device at the far end.
    pub mac: [u8; 6],
    /// What is asked for.
    pub address: SocketAddr,
}

/// Established TCP connections of clients, as the generator takes them.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    /// One for each source address, with a source port of 0.
    pub frames: [[u8; LONGEST]; 2],
    /// Bytes of each.
    pub length: usize,
    /// How many flows, a power of two up to 65,536.
    pub flows: u32,
    /// Where the source port is.
    pub port_at: u32,
}

impl Stream {
    pub(super) fn new(target: Target, flows: u32) -> Self {
        let v6 = target.address.is_ipv6();
        let length = if v6 { LONGEST } else { SHORTEST };
        let frames = [0, 1].map(|host| {
            let source: IpAddr = if v6 {
                Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 1, host).into()
            } else {
                let [_, host] = host.to_be_bytes();
                Ipv4Addr::new(198, 51, 100, 200 + host).into()
            };
            let payload = if v6 { LONGEST - HEADERS } else { SHORTEST - (HEADERS - 20) };
            let segment = frame::tcp((source, 0), (target.address.ip(), target.address.port()), ACK).sized(payload);
            let bytes = Frame { mac_destination: target.mac, ..segment }.bytes();
            assert_eq!(bytes.len(), length);
            let mut place = [0; LONGEST];
            place[..length].copy_from_slice(&bytes);
            place
        });
        Self { frames, length, flows, port_at: if v6 { 54 } else { 34 } }
    }
}
