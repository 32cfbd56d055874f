//! Services made up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Numbers;
use crate::frame::{QINQ, Tag, VLAN};

/// How packets reach a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Destination rewritten.
    Nat,
    /// Both ends rewritten.
    Snat,
    /// Ethernet addresses rewritten.
    L2,
    /// Wrapped in IP.
    Ipip,
    /// Wrapped in UDP.
    Gue,
}

/// A limit that does not depend on when packets come: it takes all of them, or one in a test's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// One packet, or else as many as come.
    pub one: bool,
    /// Whose the bucket is.
    pub per: Per,
    /// What becomes of what is over it.
    pub over: Over,
    /// Of replies.
    pub out: bool,
}

/// Whose bucket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Per {
    /// Each source's.
    Source,
    /// That of every so many bits of addresses of IPv4, and IPv6.
    Prefix(u8, u8),
    /// The service's.
    Service,
    /// Each backend's.
    Backend,
}

/// What becomes of packets over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// They are dropped.
    Drop,
    /// They are marked.
    Mark,
    /// They are counted.
    Count,
}

/// A backend.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 for every one.
    pub port: u16,
    /// How packets reach it.
    pub forward: Forward,
    /// The tags of the way.
    pub tags: Vec<Tag>,
    /// What the way takes.
    pub mtu: u32,
    /// By the host's stack.
    pub stack: bool,
    /// By redirection also into the device that packets came in by.
    pub redirect: bool,
    /// Which QUIC server it is; of the length that the service has.
    pub server_id: Vec<u8>,
}

/// A service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its VIP.
    pub vip: IpAddr,
    /// Its port; 0 for every one.
    pub port: u16,
    /// Its protocol.
    pub protocol: u8,
    /// Its backends.
    pub backends: Vec<Backend>,
    /// Its limits.
    pub limits: Vec<Limit>,
    /// QUIC: the configuration, and bytes of a server id.
    pub quic: Option<(u8, u8)>,
    /// Slots of its table that move: from the first backend to the next, nobody new, learning.
    pub moving: Vec<(usize, usize, bool)>,
    /// Whether flows are noted.
    pub census: bool,
}

/// Everything that is configured.
#[derive(Debug, Clone)]
pub struct World {
    /// Services.
    pub services: Vec<Service>,
    /// VIPs that answer echo requests.
    pub echo: Vec<IpAddr>,
    /// VIPs whose closed ports are refused.
    pub closed: Vec<IpAddr>,
    /// Where flows leave from.
    pub snat: Vec<IpAddr>,
    /// Clients with a known neighbour.
    pub near: Vec<IpAddr>,
    /// Others.
    pub far: Vec<IpAddr>,
}

/// Slots of a table.
pub const SLOTS: usize = 61;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    Ipv4Addr::new(a, b, c, d).into()
}

fn v6(net: u16, host: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host).into()
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let numbers = &mut numbers;
        let mut world = Self {
            services: Vec::new(),
            echo: Vec::new(),
            closed: Vec::new(),
            snat: vec![v4(192, 0, 2, 5), v6(5, 5)],
            near: vec![v4(198, 51, 100, 11), v6(1, 0x11)],
            far: vec![v4(198, 51, 100, 99), v4(203, 0, 113, 250), v6(1, 0x99), v6(0x77, 7)],
        };
        for number in 0..10_u8 {
            let of_v4 = numbers.once_in(2);
            let vip = if of_v4 { v4(203, 0, 113, 10 + number) } else { v6(0xf00d, 0x10 + u16::from(number)) };
            if !numbers.once_in(4) {
                world.echo.push(vip);
            }
            if numbers.once_in(3) {
                world.closed.push(vip);
            }
            for protocol in [TCP, UDP, SCTP] {
                for turn in 0..2 {
                    if numbers.once_in(2) {
                        let service = world.service(numbers, vip, protocol, turn);
                        world.services.push(service);
                    }
                }
            }
        }
        world
    }

    fn service(&self, numbers: &mut Numbers, vip: IpAddr, protocol: u8, turn: u16) -> Service {
        // The second service of a VIP and protocol may have every port.
        let port = if turn == 1 && numbers.once_in(2) { 0 } else { *numbers.of(&[80, 443, 53, 5000]) + turn };
        let modes: &[Forward] = if protocol == SCTP {
            &[Forward::L2, Forward::Ipip, Forward::Gue]
        } else {
            &[Forward::Nat, Forward::Nat, Forward::Snat, Forward::L2, Forward::Ipip, Forward::Gue]
        };
        let forward = *numbers.of(modes);
        let id_length = 1 + numbers.byte() % 15;
        let quic = (protocol == UDP && numbers.once_in(2)).then_some((numbers.byte() % 7, id_length));
        let count = numbers.below(5);
        let mut backends: Vec<Backend> = Vec::new();
        for _ in 0..count {
            let forward = if numbers.once_in(4) { *numbers.of(modes) } else { forward };
            let tunnel = matches!(forward, Forward::Ipip | Forward::Gue);
            let of_v4 = if tunnel { numbers.once_in(2) } else { vip.is_ipv4() };
            // Few addresses, so that services share backends now and then.
            let host = 1 + numbers.byte() % 40;
            let address = if of_v4 { v4(10, 0, 3, host) } else { v6(3, host.into()) };
            let direct = tunnel || forward == Forward::L2;
            let kept = if direct || port == 0 && numbers.once_in(2) { port } else { *numbers.of(&[8080, 5353, 80]) };
            if backends.iter().any(|other| (other.address, other.port) == (address, kept)) {
                continue;
            }
            let tags = match numbers.below(6) {
                0 => vec![Tag(VLAN, 100)],
                1 => vec![Tag(QINQ, 200), Tag(VLAN, 300)],
                _ => Vec::new(),
            };
            backends.push(Backend {
                address,
                port: kept,
                forward,
                tags,
                mtu: *numbers.of(&[576, 1280, 1400, 1500, 1500, 1500, 9000]),
                stack: numbers.once_in(8),
                redirect: numbers.once_in(4),
                server_id: (0..id_length).map(|_| numbers.byte()).collect(),
            });
        }
        let some = |numbers: &mut Numbers| Limit {
            one: numbers.once_in(4),
            per: *numbers.of(&[
                Per::Source,
                Per::Source,
                Per::Prefix(28, 120),
                Per::Service,
                Per::Service,
                Per::Backend,
            ]),
            over: *numbers.of(&[Over::Drop, Over::Drop, Over::Mark, Over::Count]),
            out: numbers.once_in(6),
        };
        let mut limits: Vec<Limit> = (0..numbers.below(4)).map(|_| some(numbers)).collect();
        // Limits per source come first.
        limits.sort_by_key(|limit| limit.per);
        let mut moving = Vec::new();
        if backends.len() > 1 && numbers.once_in(2) {
            for slot in 0..SLOTS {
                if numbers.once_in(2) {
                    // One more than the number of backends is nobody.
                    moving.push((slot, numbers.below(backends.len() + 1), numbers.once_in(2)));
                }
            }
        }
        Service { vip, port, protocol, backends, limits, quic, moving, census: numbers.once_in(8) }
    }
}
