//! What the packet path looks things up in: the maps in the kernel, plain collections on the host.

use crate::abi::{
    Backend, Endpoint, Flow, FlowKey, Limit, ReplyKey, ReplyOwner, Service, Slot, SourceKey, Table, VipKey,
};
use crate::gcra::Bucket;
use crate::{Address, Refusal};

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
    /// Whether a frame has to be redirected also into the device it came in by.
    pub redirect: bool,
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

/// Everything the packet path reads and the little it writes.
///
/// Writes are per CPU (the counters), one word by compare-and-swap (the buckets) or a whole entry (the flows): none
/// needs a lock.
pub trait Tables {
    /// A limiter's bucket.
    type Bucket<'a>: Bucket
    where
        Self: 'a;
    /// A remembered flow.
    type Flow<'a>: FlowCell
    where
        Self: 'a;

    /// The id of the service at this VIP.
    fn vip(&self, key: &VipKey) -> Option<u32>;
    /// A service's head.
    fn service(&self, id: u32) -> Option<&Service>;
    /// Where the service's Maglev table lies at this moment.
    fn table(&self, service: &Service) -> Table;
    /// A slot.
    fn slot(&self, index: u32) -> Option<Slot>;
    /// A backend, read whole; by the host's stack when its row is being written all the time.
    fn backend(&self, id: u32) -> Option<Backend>;
    /// The backend that listens here.
    fn endpoint(&self, key: &VipKey) -> Option<Endpoint>;
    /// A remembered flow of a slot that hands over.
    fn flow(&self, key: &FlowKey) -> Option<Self::Flow<'_>>;
    /// Remembers a flow that is not there yet. Bounded: false when there is no room.
    fn remember_flow(&self, key: &FlowKey, flow: Flow) -> bool;
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
    /// The way to an address by the kernel's routes and neighbours, where XDP can take it and the packet fits.
    fn route(&self, query: &RouteQuery) -> Option<Route>;
    /// A limit.
    fn limit(&self, id: u32) -> Option<&Limit>;
    /// The one bucket of a limit per service.
    fn service_bucket(&self, limit: u32) -> Option<Self::Bucket<'_>>;
    /// A source's bucket, made empty when there is none.
    fn source_bucket(&self, key: &SourceKey) -> Option<Self::Bucket<'_>>;
    /// The monotonic clock in nanoseconds. Costs more than all the rest: asked only when a verdict depends on it.
    fn now_ns(&self) -> u64;
    /// The same clock in seconds, as of the last timer tick: much cheaper. Wraps after 136 years.
    fn now_s(&self) -> u32;
    /// Counts how the flow table was used.
    fn count_flows(&self, used: FlowUse);
    /// Counts a packet of `bytes` bytes of layer 3.
    fn count_traffic(&self, service: u32, backend: u32, direction: Direction, bytes: u32);
    /// Counts what a limit said.
    fn count_limit(&self, limit: u32, admitted: bool);
    /// Counts a packet that is not forwarded.
    fn count_refusal(&self, refusal: Refusal);
}
