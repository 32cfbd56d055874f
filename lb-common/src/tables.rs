//! What the packet path looks things up in: the maps in the kernel, plain collections on the host.

use crate::abi::{
    Backend, Datagram, Device, Endpoint, Flow, FlowKey, FragmentKey, PathMtu, QuicKey, ReplyKey, ReplyOwner, Service,
    Settings, Slot, Snat, SnatReply, SnatReplyKey, Table, Tags, VipKey,
};
use crate::headers::Headers;
use crate::limits::LimitTables;
use crate::{Address, Refusal, find, snat};

/// Which way a counted packet went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a client to a backend.
    Request,
    /// From a backend to a client.
    Reply,
}

/// A way out that XDP can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The device to send from.
    pub ifindex: u32,
    /// The next hop's Ethernet address.
    pub mac_destination: [u8; 6],
    /// The device's own.
    pub mac_source: [u8; 6],
    /// The VLAN tags that frames leave with.
    pub tags: Tags,
    /// How frames get there: [`Delivery`](crate::abi::Delivery).
    pub delivery: u16,
    /// Whether the device takes frames of several buffers.
    pub scatter: bool,
}

/// What the kernel's routes say of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayOut {
    /// XDP can send it.
    Device(Route),
    /// The stack has to: no route, no neighbour yet, a device that takes no frames.
    Stack,
    /// It is larger than the way takes, which is so many bytes.
    TooBig(u32),
}

/// A packet's addresses and size, for a look into the kernel's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteQuery {
    /// Where it will come from, after translation.
    pub source: Address,
    /// Where it goes.
    pub destination: Address,
    /// The device it came in by.
    pub ingress_ifindex: u32,
    /// Its layer-3 length in bytes.
    pub length: u16,
    /// Its transport protocol.
    pub protocol: u8,
}

/// What became of a use of the flow table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowUse {
    /// It was asked.
    Lookup,
    /// A flow was remembered.
    Remembered,
    /// A flow was not, for want of room or because of their rate.
    Refused,
}

/// A remembered flow, shared by every CPU.
pub trait FlowCell {
    /// What is known.
    fn read(&self) -> Flow;
    /// Writes what a packet from the client changes: all but the backend and what the server sent.
    fn note_client(&self, seen_s: u32, flags: u32, next: u32, expects: u32);
    /// Writes what a packet from the backend changes.
    fn note_server(&self, seen_s: u32, flags: u32);
    /// Begins anew, for another connection between the same ends.
    fn begin(&self, flow: Flow);
}

/// A word of bits, shared by every CPU and the controller. Every change is atomic.
pub trait Bits {
    /// All of them.
    fn load(&self) -> u64;
    /// Sets bits; returns the word as it was.
    fn set(&self, bits: u64) -> u64;
    /// Clears bits.
    fn clear(&self, bits: u64);
}

/// A datagram in fragments, shared by every CPU.
pub trait FragmentsCell {
    /// Where it goes.
    fn datagram(&self) -> Datagram;
    /// Marks blocks of eight bytes as come, 64 of them a word; returns the word as it was. Atomic.
    fn mark(&self, word: usize, blocks: u64) -> u64;
    /// Adds to the bytes that have come; returns how many there were before. Atomic.
    fn add(&self, bytes: u32) -> u64;
    /// Writes what becomes of the rest: [`FragmentFate`](crate::abi::FragmentFate).
    fn set_fate(&self, fate: u32);
    /// Writes where it ends, in bytes.
    fn set_end(&self, end: u32);
}

/// A flow both ends of which are rewritten, as the client sees it; shared by every CPU.
pub trait SnatCell {
    /// What is known.
    fn read(&self) -> Snat;
    /// Writes what a packet from the client changes: when it was seen, and [`FlowFlags`](crate::abi::FlowFlags).
    fn note(&self, seen_s: u32, client: u32);
}

/// The same flow as the backend sees it.
pub trait SnatReplyCell {
    /// What is known.
    fn read(&self) -> SnatReply;
    /// Writes what a packet from the backend changes.
    fn note(&self, seen_s: u32, server: u32);
}

/// A backend's row, of which each part is read when it is wanted. It may be written meanwhile: what was read is one backend's
/// when [`Self::version`] was even before, and is the same afterwards.
pub trait BackendCell {
    /// See [`Backend::version`].
    fn version(&self) -> u32;
    /// See [`Backend::address`].
    fn address(&self) -> Address;
    /// [`Backend::delivery`] and [`Backend::ifindex`].
    fn way(&self) -> (u16, u32);
    /// See [`Backend::mtu`].
    fn mtu(&self) -> u32;
    /// [`Backend::mac_destination`] and [`Backend::mac_source`]: how an Ethernet header begins.
    fn macs(&self) -> [u8; 12];
    /// See [`Backend::lane`].
    fn lane(&self) -> u8;
}

/// Everything the packet path reads and the little it writes.
///
/// Writes are per CPU (the counters), one word by compare-and-swap (the buckets) or a whole entry (the flows): none
/// needs a lock.
pub trait Tables: LimitTables {
    /// A backend's row.
    type Backend<'a>: BackendCell
    where
        Self: 'a;
    /// A remembered flow.
    type Flow<'a>: FlowCell
    where
        Self: 'a;
    /// A word of bits.
    type Bits<'a>: Bits
    where
        Self: 'a;
    /// A datagram in fragments.
    type Fragments<'a>: FragmentsCell
    where
        Self: 'a;
    /// A flow both ends of which are rewritten, as the client sees it.
    type Snat<'a>: SnatCell
    where
        Self: 'a;
    /// The same, as the backend sees it.
    type SnatReply<'a>: SnatReplyCell
    where
        Self: 'a;

    /// The id of the service at this VIP.
    fn vip(&self, key: &VipKey) -> Option<u32>;
    /// The id of the service that has the place of this VIP's, whosever it is; never of one that packets do not find, and
    /// cheaper than [`Self::vip`].
    fn place(&self, vip: &VipKey) -> Option<u32>;
    /// Whether an address may be a VIP's, a backend's or one of Weir's own. One that is not is nobody's whom
    /// [`Self::vip`], [`Self::address`] or [`Self::endpoint`] know; it may be said of others, too.
    fn is_known(&self, address: &Address) -> bool;
    /// A service's head.
    fn service(&self, id: u32) -> Option<&Service>;
    /// Where the service's Maglev table lies at this moment.
    fn table(&self, service: &Service) -> Table;
    /// A slot.
    fn slot(&self, index: u32) -> Option<Slot>;
    /// A backend's row, to be read in parts.
    fn backend_cell(&self, id: u32) -> Option<Self::Backend<'_>>;
    /// A backend, read whole; by the host's stack when its row is being written all the time.
    fn backend(&self, id: u32) -> Option<Backend>;
    /// The same, but for one whose row is being written at this moment.
    fn backend_now(&self, id: u32) -> Option<Backend>;
    /// The backend that listens here.
    fn endpoint(&self, key: &VipKey) -> Option<Endpoint>;
    /// The service at an address and port, or else what is known of the address: see [`find::service_at`].
    #[inline(always)]
    fn service_at(&self, at: &VipKey) -> Result<u32, u32> {
        find::service_at(self, at)
    }
    /// The backend that listens at an address and port, or at every port of the address.
    #[inline(always)]
    fn endpoint_at(&self, at: &VipKey) -> Option<Endpoint> {
        find::endpoint_at(self, at)
    }
    /// A remembered flow of a slot that hands over.
    fn flow(&self, key: &FlowKey) -> Option<Self::Flow<'_>>;
    /// The same as [`Self::flow`], without a call where that is one.
    #[inline(always)]
    fn flow_at_once(&self, key: &FlowKey) -> Option<Self::Flow<'_>> {
        self.flow(key)
    }
    /// Remembers a flow that is not there yet, and was seen just now. Bounded: false when there is no room.
    fn remember_flow(&self, key: &FlowKey, flow: &Flow) -> bool;
    /// Notes that a service's slot sent a flow that is not remembered elsewhere than to its current backend.
    fn stamp(&self, service: u32, table: Table, slot: u32, now_s: u32);
    /// Notes a flow while a census is taken.
    fn note_in_census(&self, key: &FlowKey);
    /// The owner of a remembered reply.
    fn reply_owner(&self, key: &ReplyKey) -> Option<ReplyOwner>;
    /// Remembers whose a flow's replies are. Bounded: the least recently used make room.
    fn remember_reply(&self, key: &ReplyKey, owner: ReplyOwner);
    /// Forgets whose they are.
    fn forget_reply(&self, key: &ReplyKey);
    /// The way to an address by the kernel's routes and neighbours.
    fn route(&self, query: &RouteQuery) -> WayOut;
    /// What is known of a device; nothing of one that is not there.
    fn device(&self, ifindex: u32) -> Device;
    /// What is known of an address: [`AddressFlags`](crate::abi::AddressFlags).
    fn address(&self, address: &Address) -> u32;
    /// What holds for all services.
    fn settings(&self) -> Option<&Settings>;
    /// The MTU that was told of the path to a tunnel's far end, when one was.
    fn path_mtu(&self, far_end: &Address) -> Option<PathMtu>;
    /// Whether anything was ever told of any path: as long as nothing was, [`Self::path_mtu`] need not be asked.
    fn has_told_paths(&self) -> bool;
    /// Notes what was told of the path to a tunnel's far end, if there is a tunnel to it; says whether there is.
    fn learn_path_mtu(&self, far_end: &Address, path: PathMtu) -> bool;
    /// The backend of a service that has a QUIC server id.
    fn quic_server(&self, key: &QuicKey) -> Option<u32>;
    /// A datagram whose first fragment has come.
    fn fragments(&self, key: &FragmentKey) -> Option<Self::Fragments<'_>>;
    /// Remembers a datagram by its first fragment, of which nothing was seen yet. Bounded: the least recently used make
    /// room. Nothing when another CPU was first, or there is no room.
    fn begin_fragments(&self, key: &FragmentKey, datagram: &Datagram) -> Option<Self::Fragments<'_>>;
    /// Forgets a datagram, all of which has come.
    fn forget_fragments(&self, key: &FragmentKey);
    /// A number that no other CPU gets, for identifications. Wraps.
    fn fresh_id(&self) -> u32;
    /// What a flow of [`Forward::SNAT`](crate::abi::Forward::SNAT) has.
    fn snat(&self, key: &FlowKey) -> Option<Self::Snat<'_>>;
    /// The backend that a flow goes to, if it has a port already: see [`snat::backend`].
    #[inline(always)]
    fn snat_backend(&self, headers: &Headers, key: &FlowKey) -> Option<u32> {
        snat::backend(self, headers, key)
    }
    /// Whose a reply to such a flow is.
    fn snat_reply(&self, key: &SnatReplyKey) -> Option<Self::SnatReply<'_>>;
    /// Remembers such a flow, unless it is there; false when it is, or there is no room.
    fn remember_snat(&self, key: &FlowKey, snat: &Snat) -> bool;
    /// Remembers whose replies are, unless it is known; false when it is, or there is no room.
    fn remember_snat_reply(&self, key: &SnatReplyKey, reply: &SnatReply) -> bool;
    /// Forgets whose replies are.
    fn forget_snat_reply(&self, key: &SnatReplyKey);
    /// Forgets what a flow has.
    fn forget_snat(&self, key: &FlowKey);
    /// A word of `PORTS`.
    fn port_word(&self, index: u32) -> Option<Self::Bits<'_>>;
    /// The monotonic clock in nanoseconds. Costs more than all the rest: asked only when a verdict depends on it.
    fn now_ns(&self) -> u64;
    /// The same clock in seconds, as of the last timer tick: much cheaper. Wraps after 136 years.
    fn now_s(&self) -> u32;
    /// Counts a packet that came otherwise than by XDP.
    fn count_inside(&self);
    /// Counts how the flow table was used.
    fn count_flows(&self, used: FlowUse);
    /// Counts a packet of `bytes` bytes of layer 3 for a backend; of [`Slot::NOBODY`] for the service.
    fn count_traffic(&self, service: u32, backend: u32, direction: Direction, bytes: u32);
    /// Counts a packet that is not forwarded.
    fn count_refusal(&self, refusal: Refusal);
}
