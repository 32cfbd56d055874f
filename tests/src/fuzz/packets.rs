//! Packets made up.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::fragments::pieces;
use super::mutation::mutate;
use super::{Numbers, Service, World};
use crate::frame::{
    ACK, Extension, FIN, Frame, PSH, QINQ, RST, SYN, Segment, Tag, Transport, URG, VLAN, mss, quic_long, quic_short,
    sctp, sctp_data, tcp, udp,
};

/// The longest frame. `BPF_PROG_TEST_RUN` lays what is longer than a page less the room before it and behind it (4,096 - 256 -
/// 320 bytes, bpf_prog_test_run_xdp in net/bpf/test_run.c) into several buffers, and frames of the host have one.
const LONGEST: usize = 3520;

/// How many frames are remembered that were sent, or came out.
const REMEMBERED: usize = 64;

/// Packets of a seed, for a world.
#[derive(Debug)]
pub struct Packets<'a> {
    pub(super) world: &'a World,
    pub(super) numbers: Numbers,
    /// What will be sent next.
    waiting: VecDeque<Vec<u8>>,
    /// What was sent, and what came out.
    pub(super) past: Vec<Vec<u8>>,
}

impl<'a> Packets<'a> {
    /// The packets of a seed.
    pub const fn new(world: &'a World, seed: u64) -> Self {
        Self { world, numbers: Numbers::new(seed), waiting: VecDeque::new(), past: Vec::new() }
    }

    /// The next one.
    pub fn make(&mut self) -> Vec<u8> {
        let mut frame = if let Some(frame) = self.waiting.pop_front() { frame } else { self.fresh() };
        frame.truncate(LONGEST);
        self.remember(&frame);
        frame
    }

    /// Notes what came out.
    pub fn remember(&mut self, frame: &[u8]) {
        if self.past.len() < REMEMBERED {
            self.past.push(frame.to_vec());
        } else {
            let at = self.numbers.below(REMEMBERED);
            self.past[at].clear();
            self.past[at].extend(frame);
        }
    }

    fn fresh(&mut self) -> Vec<u8> {
        let mut frame = match self.numbers.below(20) {
            0..9 => self.request().bytes(),
            9..12 => self.reply(),
            12..14 => self.error(),
            14..16 => self.fragments(),
            16 => self.icmp(),
            17 => self.stranger().bytes(),
            18 => self.tunnel(),
            _ => self.again(),
        };
        if self.numbers.once_in(3) {
            mutate(&mut self.numbers, &mut frame);
        }
        if frame.len() < 14 {
            frame.resize(14, 0);
        }
        frame
    }

    fn again(&mut self) -> Vec<u8> {
        if self.past.is_empty() { self.request().bytes() } else { self.numbers.of(&self.past).clone() }
    }

    pub(super) fn pick(&mut self) -> Service {
        let world = self.world;
        self.numbers.of(&world.services).clone()
    }

    pub(super) fn client(&mut self, v4: bool) -> IpAddr {
        let world = self.world;
        let all = if self.numbers.once_in(3) { &world.far } else { &world.near };
        let mut all: Vec<IpAddr> = all.iter().copied().filter(|client| client.is_ipv4() == v4).collect();
        if self.numbers.once_in(40) {
            all = world.services.iter().map(|service| service.vip).filter(|vip| vip.is_ipv4() == v4).collect();
        }
        if self.numbers.once_in(60) || all.is_empty() {
            let odd: &[&str] = if v4 {
                &["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"]
            } else {
                &["::", "::1", "ff02::1", "fe80::1"]
            };
            return self.numbers.of(odd).parse().expect("an address");
        }
        *self.numbers.of(&all)
    }

    /// A packet of a client's to a service.
    pub(super) fn request(&mut self) -> Frame {
        let service = self.pick();
        self.to(&service)
    }

    fn to(&mut self, service: &Service) -> Frame {
        let v4 = service.vip.is_ipv4();
        let client = (self.client(v4), if self.numbers.once_in(100) { 0 } else { 40_000 + self.numbers.word() % 24 });
        let port = match self.numbers.below(12) {
            0 => self.numbers.word(),
            _ if service.port == 0 => *self.numbers.of(&[1, 80, 8080, 65_535]),
            _ => service.port,
        };
        let vip = (service.vip, port);
        let numbers = &mut self.numbers;
        let flags = match numbers.below(12) {
            0..3 => SYN,
            3..7 => ACK,
            7 => ACK | PSH,
            8 => ACK | FIN,
            9 => RST | ACK,
            10 => *numbers.of(&[RST, URG | ACK, SYN | ACK, SYN | FIN, 0]),
            _ => numbers.byte(),
        };
        let frame = match service.protocol {
            6 => {
                let options = if numbers.once_in(4) { mss(1400) } else { Vec::new() };
                let segment = Segment { flags, options, sequence: numbers.word().into(), ..Segment::default() };
                Frame { transport: Transport::Tcp(segment), ..tcp(client, vip, flags) }
            }
            17 => {
                let frame = Frame { transport: Transport::Udp { checksum: !numbers.once_in(4) }, ..udp(client, vip) };
                let id = Self::quic_id(numbers, service);
                match numbers.below(4) {
                    0 => frame.with(quic_long(1, &id, &id)),
                    1 => frame.with(quic_short(&id)),
                    _ => frame,
                }
            }
            _ if numbers.once_in(2) => sctp(client, vip, numbers.once_in(2)),
            _ => sctp_data(client, vip, 200),
        };
        self.dressed(frame)
    }

    fn quic_id(numbers: &mut Numbers, service: &Service) -> Vec<u8> {
        let (config, length) = service.quic.unwrap_or((1, 4));
        let first = if numbers.once_in(8) { numbers.byte() } else { config << 5 | numbers.byte() & 0x1f };
        let mut id = vec![first];
        match service.backends.get(numbers.below(service.backends.len())) {
            Some(backend) if !numbers.once_in(8) => id.extend(&backend.server_id),
            _ => id.extend((0..length).map(|_| numbers.byte())),
        }
        id.extend((0..numbers.below(5)).map(|_| numbers.byte()));
        if numbers.once_in(10) {
            id.truncate(numbers.below(id.len()));
        }
        id
    }

    /// Gives a frame what is independent of where it goes.
    pub(super) fn dressed(&mut self, mut frame: Frame) -> Frame {
        let numbers = &mut self.numbers;
        frame.tos = if numbers.once_in(2) { 0 } else { numbers.byte() };
        frame.ttl = if numbers.once_in(16) { numbers.byte() % 3 } else { 2 + numbers.byte() % 200 };
        frame.id = numbers.word().into();
        frame.label = numbers.word().into();
        if numbers.once_in(8) {
            frame = frame.sized([0, 1, 18, 500, 1400, 1432, 1452, 1460, 1472, 1473, 3000][numbers.below(11)]);
        }
        match numbers.below(12) {
            0 => frame.tags = vec![Tag(VLAN, numbers.word())],
            1 => frame.tags = vec![Tag(QINQ, 7), Tag(VLAN, 8)],
            2 if numbers.once_in(4) => frame.tags = vec![Tag(VLAN, 8); 3],
            3 => frame.padding = vec![0; numbers.below(20)],
            _ => {}
        }
        if frame.is_v4() {
            if numbers.once_in(3) {
                frame.fragment = 0x4000;
            }
            if numbers.once_in(10) {
                frame.options = vec![1; 4 * (1 + numbers.below(10))];
            }
        } else if numbers.once_in(8) {
            for _ in 0..numbers.below(4) {
                frame.extensions.push(match numbers.below(5) {
                    0 => Extension::HopByHop(vec![5, 2, 0, 0]),
                    1 => Extension::Destination(vec![0x1e, 4, 0, 0, 0, 0]),
                    2 => Extension::Routing { kind: 0, left: (numbers.byte() % 4) / 3, data: vec![0; 20] },
                    3 => Extension::Fragment { field: 0, id: 5 },
                    _ => Extension::Destination(vec![0; numbers.below(300)]),
                });
            }
        }
        if numbers.once_in(60) {
            frame.mac_destination = [0xff; 6];
        }
        frame
    }

    /// All fragments of a datagram; the first of them is given, the others wait.
    fn fragments(&mut self) -> Vec<u8> {
        let service = self.pick();
        let size = 100 + self.numbers.below(3000);
        let mut whole = self.to(&service).sized(size);
        if self.numbers.once_in(4)
            && let Some(turned) = self.backend_datagram(&service)
        {
            whole = turned.sized(size);
        }
        whole.padding.clear();
        whole.fragment = 0;
        whole.extensions.retain(|extension| !matches!(extension, Extension::Fragment { .. }));
        let mut frames: VecDeque<Vec<u8>> = pieces(&mut self.numbers, &whole).into();
        let first = frames.pop_front().unwrap_or_else(|| whole.bytes());
        for frame in frames {
            // What happens meanwhile.
            if self.numbers.once_in(4) {
                let between = self.request().bytes();
                self.waiting.push_back(between);
            }
            self.waiting.push_back(frame);
        }
        first
    }

    fn backend_datagram(&mut self, service: &Service) -> Option<Frame> {
        let backend = service.backends.get(self.numbers.below(service.backends.len()))?;
        let client = (self.client(backend.address.is_ipv4()), 40_000 + self.numbers.word() % 24);
        let from = (backend.address, if backend.port == 0 { 80 } else { backend.port });
        let frame = if service.protocol == 6 { tcp(from, client, ACK) } else { udp(from, client) };
        Some(self.dressed(frame))
    }
}
