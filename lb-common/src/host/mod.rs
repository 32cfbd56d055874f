//! The tables as plain collections: the packet path on the host.

mod buckets;
mod cells;
mod flows;
mod frame;
mod limits;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

pub use buckets::{HostBuckets, Owned, SharedBuckets};
pub use cells::{Entry, HostBits, HostBucket, HostOwn};
pub use flows::{HostFlows, SharedFlows, SharedLine};
pub use frame::HostFrame;

use crate::abi::{
    Backend, Connection, Datagram, Device, Endpoint, FRAGMENT_WORDS, Flow, FlowKey, FragmentKey, Fragments, Limit,
    LimitCount, PathMtu, QuicKey, ReplyKey, ReplyOwner, Service, Settings, SketchCell, Slot, Snat, SnatReply,
    SnatReplyKey, Table, Tally, Traffic, VipKey,
};
use crate::packet::Packet;
use crate::path::Path;
use crate::tables::{Direction, FlowUse, RouteQuery, Tables, WayOut};
use crate::{Address, Refusal};

/// Everything the maps hold, without a kernel. The fields are the maps.
#[derive(Debug, Default)]
pub struct HostTables {
    /// VIP to service id.
    pub vips: BTreeMap<VipKey, u32>,
    /// Heads by service id.
    pub services: Vec<Service>,
    /// All tables.
    pub slots: Vec<Slot>,
    /// Backends by id.
    pub backends: Vec<Backend>,
    /// Where backends listen.
    pub endpoints: BTreeMap<VipKey, Endpoint>,
    /// Limits by id.
    pub limits: Vec<Limit>,
    /// Buckets of limits per service, by limit id.
    pub service_buckets: Vec<Cell<u64>>,
    /// The words beside those buckets, as fair limits use them and those that mark, by limit id: `share`, `adapted_ns`,
    /// `seen_or_due` and `debt` of [`BucketCell`](crate::abi::BucketCell).
    pub shares: Vec<[Cell<u64>; 4]>,
    /// What sources sent under fair limits.
    pub sketch: RefCell<BTreeMap<u32, SketchCell>>,
    /// Connections that are counted; at most `max_connections`.
    pub connections: RefCell<BTreeMap<FlowKey, Connection>>,
    /// How many of them are remembered at most.
    pub max_connections: usize,
    /// Buckets of sources and backends.
    pub buckets: HostBuckets,
    /// Flows of slots that hand over.
    pub flows: HostFlows,
    /// When slots sent flows that are not remembered, by service id and slot.
    pub stamps: RefCell<BTreeMap<(u32, u32), u32>>,
    /// What is counted of all services together.
    pub tally: Cell<Tally>,
    /// Flows that were seen while a census was taken.
    pub census: RefCell<BTreeSet<FlowKey>>,
    /// Remembered replies. Not bounded here.
    pub replies: RefCell<BTreeMap<ReplyKey, ReplyOwner>>,
    /// Ways out by destination; the stack's to all others.
    pub routes: BTreeMap<Address, WayOut>,
    /// Devices by index.
    pub devices: BTreeMap<u32, Device>,
    /// What is known of addresses.
    pub addresses: BTreeMap<Address, u32>,
    /// What holds for all services.
    pub settings: Settings,
    /// What was told of the paths to tunnels' far ends.
    pub paths: RefCell<BTreeMap<Address, PathMtu>>,
    /// Backends by the server ids that QUIC connection ids have.
    pub quic_servers: BTreeMap<QuicKey, u32>,
    /// Datagrams in fragments; at most `max_fragments`, of which the oldest make room.
    pub fragments: RefCell<BTreeMap<FragmentKey, Fragments>>,
    /// How many datagrams are remembered at most.
    pub max_fragments: usize,
    /// The last identification that was given.
    pub last_id: Cell<u32>,
    /// What flows have both ends of which are rewritten; at most `max_snats`.
    pub snats: RefCell<BTreeMap<FlowKey, Snat>>,
    /// Whose the replies to such flows are.
    pub snat_replies: RefCell<BTreeMap<SnatReplyKey, SnatReply>>,
    /// How many of them are remembered at most.
    pub max_snats: usize,
    /// Pools of ports.
    pub ports: Vec<Cell<u64>>,
    /// The clock in nanoseconds.
    pub now_ns: Cell<u64>,
    /// What services carried, by id.
    pub service_traffic: RefCell<BTreeMap<u32, Traffic>>,
    /// What backends carried, by id.
    pub backend_traffic: RefCell<BTreeMap<u32, Traffic>>,
    /// What limits said, by id.
    pub limit_counts: RefCell<BTreeMap<u32, LimitCount>>,
    /// Packets not forwarded.
    pub refusals: RefCell<BTreeMap<Refusal, u64>>,
}

/// An element of a `Vec` by a 32-bit index.
fn at<T>(all: &[T], index: u32) -> Option<&T> {
    all.get(usize::try_from(index).ok()?)
}

/// Puts an entry into a map that holds so many, unless it is there.
fn remember<K: Ord + Copy, V: Copy>(map: &RefCell<BTreeMap<K, V>>, room: usize, key: &K, value: &V) -> bool {
    let mut map = map.borrow_mut();
    let new = map.len() < room && !map.contains_key(key);
    if new {
        map.insert(*key, *value);
    }
    new
}

impl<P: Packet + ?Sized> Path<P> for HostTables {}

impl Tables for HostTables {
    type Backend<'a> = &'a Backend;
    type Flow<'a> = SharedLine<'a>;
    type Bits<'a> = HostBits<'a>;
    type Fragments<'a> = Entry<'a, FragmentKey, Fragments>;
    type Snat<'a> = Entry<'a, FlowKey, Snat>;
    type SnatReply<'a> = Entry<'a, SnatReplyKey, SnatReply>;

    fn vip(&self, key: &VipKey) -> Option<u32> {
        self.vips.get(key).copied()
    }

    fn service(&self, id: u32) -> Option<&Service> {
        at(&self.services, id)
    }

    fn table(&self, service: &Service) -> Table {
        Table::unpack(service.table)
    }

    fn slot(&self, index: u32) -> Option<Slot> {
        at(&self.slots, index).copied()
    }

    fn backend(&self, id: u32) -> Option<Backend> {
        at(&self.backends, id).copied()
    }

    fn backend_cell(&self, id: u32) -> Option<&Backend> {
        at(&self.backends, id)
    }

    fn backend_now(&self, id: u32) -> Option<Backend> {
        self.backend(id)
    }

    fn place(&self, vip: &VipKey) -> Option<u32> {
        self.vip(vip)
    }

    fn is_known(&self, address: &Address) -> bool {
        self.addresses.contains_key(address)
            || [&self.vips.keys().collect::<Vec<_>>(), &self.endpoints.keys().collect()]
                .into_iter()
                .any(|keys| keys.iter().any(|key| key.address == *address))
    }

    fn endpoint(&self, key: &VipKey) -> Option<Endpoint> {
        self.endpoints.get(key).copied()
    }

    fn flow(&self, key: &FlowKey) -> Option<SharedLine<'_>> {
        self.flows.shared().find(key)
    }

    fn remember_flow(&self, key: &FlowKey, flow: &Flow) -> bool {
        self.flows.shared().insert(key, *flow, flow.seen_s)
    }

    fn stamp(&self, service: u32, _: Table, slot: u32, now_s: u32) {
        self.stamps.borrow_mut().insert((service, slot), now_s);
    }

    fn note_in_census(&self, key: &FlowKey) {
        self.census.borrow_mut().insert(*key);
    }

    fn reply_owner(&self, key: &ReplyKey) -> Option<ReplyOwner> {
        self.replies.borrow().get(key).copied()
    }

    fn remember_reply(&self, key: &ReplyKey, owner: ReplyOwner) {
        self.replies.borrow_mut().insert(*key, owner);
    }

    fn forget_reply(&self, key: &ReplyKey) {
        self.replies.borrow_mut().remove(key);
    }

    fn route(&self, query: &RouteQuery) -> WayOut {
        self.routes.get(&query.destination).copied().unwrap_or(WayOut::Stack)
    }

    fn device(&self, ifindex: u32) -> Device {
        self.devices.get(&ifindex).copied().unwrap_or_default()
    }

    fn address(&self, address: &Address) -> u32 {
        self.addresses.get(address).copied().unwrap_or(0)
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn path_mtu(&self, far_end: &Address) -> Option<PathMtu> {
        self.paths.borrow().get(far_end).copied()
    }

    fn has_told_paths(&self) -> bool {
        self.paths.borrow().values().any(|path| path.mtu != 0)
    }

    fn learn_path_mtu(&self, far_end: &Address, path: PathMtu) -> bool {
        self.paths.borrow_mut().get_mut(far_end).map(|known| *known = path).is_some()
    }

    fn quic_server(&self, key: &QuicKey) -> Option<u32> {
        self.quic_servers.get(key).copied()
    }

    fn fragments(&self, key: &FragmentKey) -> Option<Self::Fragments<'_>> {
        Entry::find(&self.fragments, key)
    }

    fn begin_fragments(&self, key: &FragmentKey, datagram: &Datagram) -> Option<Self::Fragments<'_>> {
        let mut all = self.fragments.borrow_mut();
        if all.contains_key(key) {
            return None;
        }
        if all.len() >= self.max_fragments {
            let oldest = *all.iter().min_by_key(|(_, known)| known.datagram.began_s)?.0;
            all.remove(&oldest);
        }
        all.insert(*key, Fragments { seen: [0; FRAGMENT_WORDS], datagram: *datagram });
        drop(all);
        Entry::find(&self.fragments, key)
    }

    fn forget_fragments(&self, key: &FragmentKey) {
        self.fragments.borrow_mut().remove(key);
    }

    fn fresh_id(&self) -> u32 {
        let id = self.last_id.get().wrapping_add(1);
        self.last_id.set(id);
        id
    }

    fn snat(&self, key: &FlowKey) -> Option<Self::Snat<'_>> {
        Entry::find(&self.snats, key)
    }

    fn snat_reply(&self, key: &SnatReplyKey) -> Option<Self::SnatReply<'_>> {
        Entry::find(&self.snat_replies, key)
    }

    fn remember_snat(&self, key: &FlowKey, snat: &Snat) -> bool {
        remember(&self.snats, self.max_snats, key, snat)
    }

    fn remember_snat_reply(&self, key: &SnatReplyKey, reply: &SnatReply) -> bool {
        remember(&self.snat_replies, self.max_snats, key, reply)
    }

    fn forget_snat_reply(&self, key: &SnatReplyKey) {
        self.snat_replies.borrow_mut().remove(key);
    }

    fn forget_snat(&self, key: &FlowKey) {
        self.snats.borrow_mut().remove(key);
    }

    fn port_word(&self, index: u32) -> Option<HostBits<'_>> {
        at(&self.ports, index).map(HostBits)
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    #[expect(clippy::cast_possible_truncation, reason = "wraps after 136 years")]
    fn now_s(&self) -> u32 {
        (self.now_ns.get() / 1_000_000_000) as u32
    }

    fn count_inside(&self) {
        let mut tally = self.tally.get();
        tally.inside += 1;
        self.tally.set(tally);
    }

    fn count_flows(&self, used: FlowUse) {
        let mut counts = self.tally.get();
        counts += match used {
            FlowUse::Lookup => Tally { lookups: 1, ..Tally::default() },
            FlowUse::Remembered => Tally { remembered: 1, ..Tally::default() },
            FlowUse::Refused => Tally { refused: 1, ..Tally::default() },
        };
        self.tally.set(counts);
    }

    fn count_traffic(&self, service: u32, backend: u32, direction: Direction, bytes: u32) {
        let one = match direction {
            Direction::Request => Traffic { packets: 1, bytes: bytes.into(), ..Traffic::default() },
            Direction::Reply => Traffic { reply_packets: 1, reply_bytes: bytes.into(), ..Traffic::default() },
        };
        let (map, id) =
            if backend == Slot::NOBODY { (&self.service_traffic, service) } else { (&self.backend_traffic, backend) };
        *map.borrow_mut().entry(id).or_default() += one;
    }

    fn count_refusal(&self, refusal: Refusal) {
        *self.refusals.borrow_mut().entry(refusal).or_default() += 1;
    }
}
