//! Packets that are not from a client to a service: replies, errors, strangers', tunnels'.

use super::Packets;
use super::turned::{quoted, turned};
use crate::frame::{ACK, FIN, Frame, RST, SYN, echo, gue, icmp, ipip, other, protocol, sctp, tcp, udp};

impl Packets<'_> {
    /// What a backend might answer to what came out; or to whom nobody spoke.
    pub(super) fn reply(&mut self) -> Vec<u8> {
        if !self.past.is_empty() && !self.numbers.once_in(4) {
            let past = self.numbers.of(&self.past).clone();
            if let Some(frame) = turned(&past) {
                return frame;
            }
        }
        let service = self.pick();
        let Some(backend) = service.backends.get(self.numbers.below(service.backends.len())) else {
            return self.stranger().bytes();
        };
        let port = if backend.port == 0 { 80 } else { backend.port };
        let v4 = backend.address.is_ipv4();
        let mut client = (self.client(v4), 40_000 + self.numbers.word() % 24);
        let world = self.world;
        if self.numbers.once_in(6)
            && let Some(own) = world.snat.iter().find(|own| own.is_ipv4() == v4)
        {
            client = (*own, self.numbers.word());
        }
        let ends =
            if self.numbers.once_in(5) { (client, (backend.address, port)) } else { ((backend.address, port), client) };
        let frame = match service.protocol {
            6 => tcp(ends.0, ends.1, *self.numbers.of(&[SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST])),
            17 => udp(ends.0, ends.1),
            _ => sctp(ends.0, ends.1, false),
        };
        self.dressed(frame).bytes()
    }

    /// An ICMP error about something that was sent before.
    pub(super) fn error(&mut self) -> Vec<u8> {
        if self.past.is_empty() {
            return self.icmp();
        }
        let past = self.numbers.of(&self.past).clone();
        let past = if self.numbers.once_in(2) { turned(&past).unwrap_or(past) } else { past };
        let Some((to, mut packet)) = quoted(&past) else { return self.icmp() };
        let v4 = !to.contains(':');
        packet.truncate(match self.numbers.below(6) {
            0 => self.numbers.below(80),
            1 => 28,
            2 => 56,
            3 => 548,
            _ => 1232,
        });
        let (kinds, from): (&[u8], _) =
            if v4 { (&[3, 3, 3, 11, 12, 5], "198.18.0.1") } else { (&[1, 2, 3, 4], "2001:db8:7::1") };
        let kind = *self.numbers.of(kinds);
        let code = if v4 && kind == 3 { self.numbers.byte() % 6 } else { self.numbers.byte() % 3 };
        let mtu = *self.numbers.of(&[0, 68, 576, 1280, 1300, 1400, 1500, 65_535_u16]);
        let [high, low] = mtu.to_be_bytes();
        let from = if self.numbers.once_in(3) { self.client(v4).to_string() } else { from.to_owned() };
        let to = if self.numbers.once_in(10) { self.client(v4).to_string() } else { to };
        self.dressed(icmp(&from, &to, kind, code, [0, 0, high, low], packet)).bytes()
    }

    pub(super) fn icmp(&mut self) -> Vec<u8> {
        let service = self.pick();
        let v4 = service.vip.is_ipv4();
        let (client, vip) = (self.client(v4).to_string(), service.vip.to_string());
        let size = self.numbers.below(200);
        let frame = if self.numbers.once_in(4) {
            let kind = self.numbers.byte();
            icmp(&client, &vip, kind, self.numbers.byte() % 3, [0; 4], vec![0; size])
        } else {
            echo(&client, &vip, true, self.numbers.word(), 1, vec![0x5a; size])
        };
        self.dressed(frame).bytes()
    }

    pub(super) fn stranger(&mut self) -> Frame {
        let v4 = self.numbers.once_in(2);
        let (one, host) = (self.client(v4), if v4 { "192.0.2.99" } else { "2001:db8:9::9" });
        let end = (host.parse().expect("an address"), self.numbers.word());
        let frame = match self.numbers.below(6) {
            0 => tcp((one, 4000), end, ACK),
            1 => udp((one, 4000), end),
            2 => return other(self.numbers.word(), vec![0x42; self.numbers.below(100)]),
            3 => echo(&one.to_string(), host, true, 1, 1, b"ping"),
            _ => protocol(&one.to_string(), host, self.numbers.byte()),
        };
        self.dressed(frame)
    }

    /// A packet that is in a tunnel already, for a VIP or somebody else.
    pub(super) fn tunnel(&mut self) -> Vec<u8> {
        let inner = self.request();
        let service = self.pick();
        let client = self.client(service.vip.is_ipv4());
        let frame = if self.numbers.once_in(2) {
            ipip(&client.to_string(), &service.vip.to_string(), &inner)
        } else {
            gue((client, 50_000), (service.vip, 6080), &inner, false)
        };
        frame.bytes()
    }
}
