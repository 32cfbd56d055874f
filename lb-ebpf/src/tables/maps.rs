//! The maps themselves, and what the loader tells the programs: nobody's but this module's.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use lb_common::abi::{
    Backend, BucketCell, BucketGroup, Connection, Device, Endpoint, FlowGroup, FlowKey, FragmentKey, Fragments, Limit,
    LimitCount, Meta, Order, OrderKey, PathMtu, QuicKey, ReplyKey, ReplyOwner, Service, Settings, SketchCell, Slot,
    Snat, SnatReply, SnatReplyKey, Stamps, Tally, Traffic, VipKey,
};
use lb_common::{Address, Scratch};

// The sizes are the loader's to set, by what the configuration needs; those of the per-CPU maps follow.
//
// Hash maps that the controller changes do without preallocation: a preallocated element is used again at once, and
// a program that still reads it would see another key's value.

#[map]
pub(super) static VIPS: HashMap<VipKey, u32> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(super) static SERVICES: Array<Service> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(super) static SLOTS: Array<Slot> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(super) static BACKENDS: Array<Backend> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// The services at their places, one of several where they meet: see [`index`].
#[map]
pub(super) static PLACES: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// One bit for each address that any other map may know: see [`index`].
#[map]
pub(super) static KNOWN: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(super) static ENDPOINTS: HashMap<VipKey, Endpoint> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(super) static REPLIES: LruHashMap<ReplyKey, ReplyOwner> = LruHashMap::with_max_entries(1, 0);
#[map]
pub(super) static STAMPS: Array<Stamps> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// A table of our own: see [`flow_table`]. Whoever is in it stays, until the controller sees that the flow has ended.
/// When a group is full nobody comes in, which breaks nothing.
#[map]
pub(super) static FLOWS: Array<FlowGroup> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(super) static TALLY: PerCpuArray<Tally> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(super) static CENSUS: LruHashMap<FlowKey, u32> = LruHashMap::with_max_entries(1, 0);
#[map]
pub(super) static LIMITS: Array<Limit> = Array::with_max_entries(1, 0);
#[map]
pub(super) static SERVICE_BUCKETS: Array<BucketCell> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// A table of our own: see [`bucket_table`].
#[map]
pub(super) static BUCKETS: Array<BucketGroup> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(super) static SKETCH: Array<SketchCell> = Array::with_max_entries(1, 0);
#[map]
pub(super) static CONNECTIONS: HashMap<FlowKey, Connection> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(super) static DEVICES: HashMap<u32, Device> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(super) static ADDRESSES: HashMap<Address, u32> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(super) static PATHS: HashMap<Address, PathMtu> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(super) static QUIC_SERVERS: HashMap<QuicKey, u32> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(super) static SNATS: HashMap<FlowKey, Snat> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(super) static SNAT_REPLIES: HashMap<SnatReplyKey, SnatReply> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(super) static PORTS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Fragments of a datagram come close upon each other: those that were used least recently will not come any more.
#[map]
pub(super) static FRAGMENTS: LruHashMap<FragmentKey, Fragments> = LruHashMap::with_max_entries(1, 0);

/// A datagram of which nothing has come, from which entries are made: it is larger than a program's stack.
#[map]
pub(super) static NEW_FRAGMENTS: PerCpuArray<Fragments> = PerCpuArray::with_max_entries(1, 0);
/// What the packet path reads of a packet.
#[map]
pub(super) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
/// The last identification that was given.
#[map]
pub(super) static LAST_ID: Array<u64> = Array::with_max_entries(1, 0);
#[map]
pub(super) static SERVICE_TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(super) static BACKEND_TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(super) static LIMIT_COUNTS: PerCpuArray<LimitCount> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(super) static REFUSALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The controller's own; here so that they are made, and kept, with the others.
#[map]
pub(super) static ORDERS: HashMap<OrderKey, Order> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(super) static META: Array<Meta> = Array::with_max_entries(1, 0);

/// When it is full nothing is said, until the controller has read.
#[map]
pub(super) static UNRESOLVED: RingBuf = RingBuf::with_byte_size(16 * 1024, 0);

/// A map of one element as the others, but one whose address the program knows: there is nothing to look up.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.settings")]
pub(super) static SETTINGS: Shared<Settings> = Shared(UnsafeCell::new(MaybeUninit::zeroed()));

/// Whether anything in `PATHS` was told by anybody. The loader's to begin with.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.paths")]
pub(super) static PATHS_TOLD: Shared<u32> = Shared(UnsafeCell::new(MaybeUninit::new(0)));

/// What is written while programs run.
#[repr(transparent)]
pub(super) struct Shared<T>(pub(super) UnsafeCell<MaybeUninit<T>>);

// SAFETY: integers. `SETTINGS` is the controller's to write, and read through an opaque pointer; `PATHS_TOLD` is a word that is
// read and written at once.
unsafe impl<T: Copy> Sync for Shared<T> {}

/// How large `PLACES` and `KNOWN` are, as powers of two, of words and of bits. The loader's, in a map that is frozen: the
/// verifier knows them.
#[unsafe(no_mangle)]
pub(super) static PLACE_BITS: u32 = 0;
#[unsafe(no_mangle)]
pub(super) static KNOWN_BITS: u32 = 6;
/// What places in `FLOWS` are computed with: likewise.
#[unsafe(no_mangle)]
pub(super) static FLOW_HASH: [u64; 4] = [1; 4];
/// The same of `BUCKETS`.
#[unsafe(no_mangle)]
pub(super) static BUCKET_HASH: [u64; 4] = [1; 4];
