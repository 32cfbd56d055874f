//! The flows of slots that hand over: who is remembered stays where it is.

use crate::Address;

/// A flow as it looks on the client's side.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FlowKey {
    /// The client's address.
    pub client: Address,
    /// The id of the service whose VIP it speaks to.
    pub service: u32,
    /// The client's port, in network byte order as it lies in memory.
    pub client_port: u16,
    /// The VIP's port, likewise, for services of every port; 0 for others.
    pub port: u16,
}

impl FlowKey {
    /// A key from the client's end, its port as the bytes on the wire, and the service.
    #[inline(always)]
    pub const fn new(client: Address, client_port: [u8; 2], service: u32) -> Self {
        Self { client, service, client_port: u16::from_ne_bytes(client_port), port: 0 }
    }

    /// The same client's flow to this port of a service of every port.
    #[inline(always)]
    #[must_use]
    pub const fn at(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// The client's port as its bytes on the wire.
    #[inline(always)]
    pub const fn client_port_bytes(&self) -> [u8; 2] {
        self.client_port.to_ne_bytes()
    }
}

/// What is remembered of a flow. Every field is written by one direction's packets alone, but for `seen_s`, of which
/// any value is as good.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// The id of the backend it goes to.
    pub backend: u32,
    /// When its last packet came, of either direction, in seconds of the kernel's monotonic clock.
    pub seen_s: u32,
    /// What the client sent so far: [`FlowFlags`].
    pub client: u32,
    /// What the backend sent since the flow is remembered: [`FlowFlags`].
    pub server: u32,
    /// TCP: the sequence number after the client's last packet.
    pub client_next: u32,
    /// TCP: what the client's last packet acknowledged, which is where it expects the server's next byte.
    pub client_expects: u32,
}

impl Flow {
    /// How long a TCP connection is believed of which only the opening was seen, or only one side, in seconds.
    /// Retransmissions come far more often (RFC 6298: 1 s, doubled each time; Linux sends six SYNs over a minute), and each
    /// counts. A connection that goes on after it is not lost: see [`Self::is_half_heard`].
    pub const HALF_OPEN_S: u32 = 30;

    /// How long an ended TCP connection's last packets are waited for, in seconds.
    pub const LINGER_S: u32 = 1;

    /// Whether both ends are through with it, or one of them reset it.
    #[inline(always)]
    pub const fn is_closed(&self) -> bool {
        (self.client | self.server) & FlowFlags::RST != 0 || self.client & self.server & FlowFlags::FIN != 0
    }

    /// Whether it is not believed any more for no other reason than that one side alone was heard. It may go on: of a
    /// connection on which the server speaks now and then, only the client's acknowledgement was seen.
    pub const fn is_half_heard(&self, now_s: u32, idle_s: u32) -> bool {
        let silent_s = now_s.wrapping_sub(self.seen_s).cast_signed();
        self.client & FlowFlags::SPOKE != 0 && !self.is_closed() && (silent_s < 0 || silent_s.cast_unsigned() <= idle_s)
    }

    /// Whether it can still have packets, at `now_s` and with this idle time-out, both in seconds.
    pub const fn is_living(&self, now_s: u32, idle_s: u32, tcp: bool) -> bool {
        let silent_s = now_s.wrapping_sub(self.seen_s).cast_signed();
        // The kernel's clock may be ahead of the one that was read before.
        let silent_s = if silent_s < 0 { 0 } else { silent_s.cast_unsigned() };
        if tcp && self.is_closed() {
            return silent_s < Self::LINGER_S;
        }
        let opening = tcp && self.client & self.server & FlowFlags::SPOKE == 0 && Self::HALF_OPEN_S < idle_s;
        // Both clocks are cut to whole seconds: what looks like five may be little more than four.
        silent_s <= if opening { Self::HALF_OPEN_S } else { idle_s }
    }
}

/// Bits of [`Flow::client`] and [`Flow::server`].
pub struct FlowFlags;

impl FlowFlags {
    /// A packet; from the client one that was no SYN.
    pub const SPOKE: u32 = 1;
    /// A FIN: this end has no more to say.
    pub const FIN: u32 = 2;
    /// A RST, and nothing since.
    pub const RST: u32 = 4;
}

const _: () = assert!(size_of::<FlowKey>() == 24);
const _: () = assert!(size_of::<Flow>() == 24);
