//! The maps, private to this file, and `lb_common`'s view of them.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::{MaybeUninit, offset_of};
use core::ptr::NonNull;

use aya_ebpf::bindings::{__sk_buff, BPF_ANY, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST, bpf_fib_lookup, xdp_md};
use aya_ebpf::helpers::{bpf_fib_lookup as fib_lookup, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use lb_common::abi::{
    Backend, BucketCell, BucketGroup, BucketKey, Connection, Datagram, Delivery, Device, DeviceFlags, Endpoint, Flow,
    FlowGroup, FlowKey, FragmentKey, Fragments, Limit, LimitCount, Meta, Order, OrderKey, PathMtu, QuicKey, ReplyKey,
    ReplyOwner, Service, Settings, SketchCell, Slot, Snat, SnatReply, SnatReplyKey, Stamps, Table, Tags, Tally,
    Traffic, VipKey, WAYS,
};
use lb_common::bucket_table::{self, BucketHash, Found, Taken};
use lb_common::flow_table::{self, FlowHash, Group as _, Spot};
use lb_common::hash::mix;
use lb_common::limits::{Asker, Said};
use lb_common::tables::{Direction, FlowUse, Route, RouteQuery, WayOut};
use lb_common::{Address, Headers, Refusal, Scratch, Tables, index};

use crate::buckets::KernelBuckets;
use crate::cells::{
    KernelBackend, KernelBits, KernelBucket, KernelFragments, KernelSnat, KernelSnatReply, barrier, fetch_add,
};
use crate::flows::{KernelGroup, KernelLine};
use crate::frame::{clear, opaque};
use crate::steps;

// The sizes are the loader's to set, by what the configuration needs; those of the per-CPU maps follow.
//
// Hash maps that the controller changes do without preallocation: a preallocated element is used again at once, and
// a program that still reads it would see another key's value.

#[map]
static VIPS: HashMap<VipKey, u32> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static SERVICES: Array<Service> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static BACKENDS: Array<Backend> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// The services at their places, one of several where they meet: see [`index`].
#[map]
static PLACES: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// One bit for each address that any other map may know: see [`index`].
#[map]
static KNOWN: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static ENDPOINTS: HashMap<VipKey, Endpoint> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static REPLIES: LruHashMap<ReplyKey, ReplyOwner> = LruHashMap::with_max_entries(1, 0);
#[map]
static STAMPS: Array<Stamps> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// A table of our own: see [`flow_table`]. Whoever is in it stays, until the controller sees that the flow has ended.
/// When a group is full nobody comes in, which breaks nothing.
#[map]
static FLOWS: Array<FlowGroup> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static TALLY: PerCpuArray<Tally> = PerCpuArray::with_max_entries(1, 0);
#[map]
static CENSUS: LruHashMap<FlowKey, u32> = LruHashMap::with_max_entries(1, 0);
#[map]
static LIMITS: Array<Limit> = Array::with_max_entries(1, 0);
#[map]
static SERVICE_BUCKETS: Array<BucketCell> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// A table of our own: see [`bucket_table`].
#[map]
static BUCKETS: Array<BucketGroup> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SKETCH: Array<SketchCell> = Array::with_max_entries(1, 0);
#[map]
static CONNECTIONS: HashMap<FlowKey, Connection> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static DEVICES: HashMap<u32, Device> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static ADDRESSES: HashMap<Address, u32> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static PATHS: HashMap<Address, PathMtu> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static QUIC_SERVERS: HashMap<QuicKey, u32> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static SNATS: HashMap<FlowKey, Snat> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static SNAT_REPLIES: HashMap<SnatReplyKey, SnatReply> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static PORTS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Fragments of a datagram come close upon each other: those that were used least recently will not come any more.
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, Fragments> = LruHashMap::with_max_entries(1, 0);

/// A datagram of which nothing has come, from which entries are made: it is larger than a program's stack.
#[map]
static NEW_FRAGMENTS: PerCpuArray<Fragments> = PerCpuArray::with_max_entries(1, 0);
/// What the packet path reads of a packet.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
/// The last identification that was given.
#[map]
static LAST_ID: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static SERVICE_TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1, 0);
#[map]
static BACKEND_TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1, 0);
#[map]
static LIMIT_COUNTS: PerCpuArray<LimitCount> = PerCpuArray::with_max_entries(1, 0);
#[map]
static REFUSALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The controller's own; here so that they are made, and kept, with the others.
#[map]
static ORDERS: HashMap<OrderKey, Order> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static META: Array<Meta> = Array::with_max_entries(1, 0);

/// When it is full nothing is said, until the controller has read.
#[map]
static UNRESOLVED: RingBuf = RingBuf::with_byte_size(16 * 1024, 0);

/// A map of one element as the others, but one whose address the program knows: there is nothing to look up.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.settings")]
static SETTINGS: Shared<Settings> = Shared(UnsafeCell::new(MaybeUninit::zeroed()));

/// Whether anything in `PATHS` was told by anybody. The loader's to begin with.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.paths")]
static PATHS_TOLD: Shared<u32> = Shared(UnsafeCell::new(MaybeUninit::new(0)));

/// What is written while programs run.
#[repr(transparent)]
struct Shared<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: integers. `SETTINGS` is the controller's to write, and read through an opaque pointer; `PATHS_TOLD` is a word that is
// read and written at once.
unsafe impl<T: Copy> Sync for Shared<T> {}

/// How large `PLACES` and `KNOWN` are, as powers of two, of words and of bits. The loader's, in a map that is frozen: the
/// verifier knows them.
#[unsafe(no_mangle)]
static PLACE_BITS: u32 = 0;
#[unsafe(no_mangle)]
static KNOWN_BITS: u32 = 6;
/// What places in `FLOWS` are computed with: likewise.
#[unsafe(no_mangle)]
static FLOW_HASH: [u64; 4] = [1; 4];
/// The same of `BUCKETS`.
#[unsafe(no_mangle)]
static BUCKET_HASH: [u64; 4] = [1; 4];

/// `BPF_FIB_LKUP_RET_NO_NEIGH` of include/uapi/linux/bpf.h: there is a route, but no neighbour for its next hop.
const NO_NEIGHBOUR: i64 = 7;

/// `BPF_FIB_LKUP_RET_NOT_FWDED`: it goes no further than this host.
const NOT_FORWARDED: i64 = 4;

/// The loopback device's index, in every network namespace (net/core/dev.c, `dev_index_reserve` of the first device).
const LOOPBACK: u32 = 1;

/// `BPF_FIB_LKUP_RET_FRAG_NEEDED`: the packet is larger than the way takes.
const TOO_BIG: i64 = 8;

/// How often a row that is being written is read again. A write takes nanoseconds.
const ROW_TRIES: u32 = 3;

/// Address families (include/linux/socket.h).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The maps, seen from one run of a program: of XDP, or (`SKB`) of tc.
pub struct Maps<const SKB: bool> {
    ctx: *mut c_void,
}

/// The maps for an XDP program.
pub type XdpMaps = Maps<false>;
/// The maps for a tc program.
pub type SkbMaps = Maps<true>;

impl<const SKB: bool> Maps<SKB> {
    /// The maps for a program run with this context.
    #[inline(always)]
    pub fn of<T>(ctx: *mut T) -> Self {
        Self { ctx: ctx.cast() }
    }

    /// The maps for what asks for no routes.
    #[inline(always)]
    pub fn without_context() -> Self {
        Self { ctx: core::ptr::null_mut() }
    }
}

/// The device by which the frame came in.
#[inline(always)]
pub fn ingress(ctx: *mut xdp_md) -> u32 {
    // SAFETY: the kernel gave this context to the running program.
    unsafe { (*ctx).ingress_ifindex }
}

/// Where this CPU keeps what it reads of a packet. Once a run: programs of one CPU do not interrupt each other.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: this CPU's alone, and whoever asks is the only program that runs on it.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// The number of a flow's line, counted over all groups.
#[inline(always)]
pub fn flow_number(key: &FlowKey) -> Option<u32> {
    let key = key.to_words();
    let (group, spot) = flow_group(&key)?;
    flow_table::find(&group, &spot, &key).map(|number| spot.group * FlowGroup::LINES + number)
}

/// Puts a flow into the table; see [`Tables::remember_flow`].
#[inline(always)]
pub fn put_flow(key: &FlowKey, flow: &Flow) -> bool {
    let key = key.to_words();
    flow_group(&key).is_some_and(|(group, spot)| flow_table::insert(&group, &spot, &key, flow, flow.seen_s))
}

/// The device that a frame came in by, at which a tc program runs.
#[inline(always)]
pub fn device_at(ctx: *mut __sk_buff) -> (u32, u32) {
    // SAFETY: the kernel gave this context to the running program.
    let ifindex = unsafe { (*ctx).ifindex };
    (ifindex, device_flags(ifindex))
}

/// Whether the frame came in by a device where the packet path has seen it.
#[inline(always)]
pub fn was_seen(ctx: *mut __sk_buff) -> bool {
    // SAFETY: the kernel gave this context to the running program.
    let ingress = unsafe { (*ctx).ingress_ifindex };
    ingress != 0 && device_flags(ingress) & DeviceFlags::ATTACHED != 0
}

/// The ends of a question about routes.
#[inline(always)]
fn set_ends(params: &mut bpf_fib_lookup, source: &Address, destination: &Address) {
    if destination.is_v4() {
        params.family = AF_INET;
        params.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(source.v4());
        params.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(destination.v4());
    } else {
        params.family = AF_INET6;
        params.__bindgen_anon_3.ipv6_src = source.words();
        params.__bindgen_anon_4.ipv6_dst = destination.words();
    }
}

/// The device by which the stack sees what comes in by this one.
#[inline(always)]
fn upper(ifindex: u32) -> u32 {
    match device_of(ifindex).upper {
        0 => ifindex,
        upper => upper,
    }
}

/// A device as the controller knows it, or one of which it knows nothing.
#[inline(always)]
pub fn device_of(ifindex: u32) -> Device {
    // SAFETY: not preallocated (see above): an element is not used again while a program has it.
    unsafe { DEVICES.get(ifindex) }.copied().unwrap_or_default()
}

#[inline(always)]
fn device_flags(ifindex: u32) -> u32 {
    // SAFETY: not preallocated (see above): an element is not used again while a program has it.
    unsafe { DEVICES.get(ifindex) }.map_or(0, |device| device.flags)
}

/// An instruction that changes nothing but the program.
#[cfg(feature = "another")]
#[inline(always)]
pub fn nothing() {
    // SAFETY: a register is set that the compiler knows of.
    unsafe { core::arch::asm!("r0 = 0", out("r0") _, options(nostack, preserves_flags)) };
}

/// Adds to a counter of this CPU, if there is such a counter. Programs of one CPU do not interrupt each other.
#[inline(always)]
fn bump<T: Copy>(map: &PerCpuArray<T>, index: u32, add: impl FnOnce(&mut T)) -> bool {
    let Some(counter) = map.get_ptr_mut(index) else { return false };
    // SAFETY: the map gave the pointer, and the element is this CPU's alone.
    add(unsafe { &mut *counter });
    true
}

/// Where a flow is looked for.
#[inline(always)]
fn flow_group(key: &[u64; 3]) -> Option<(KernelGroup, Spot)> {
    let spot = FlowHash::from_words(constants(&raw const FLOW_HASH)).spot(key);
    Some((KernelGroup(NonNull::new(FLOWS.get_ptr_mut(spot.group)?)?), spot))
}

/// Constants of the loader's.
#[inline(always)]
fn constants(at: *const [u64; 4]) -> [u64; 4] {
    // SAFETY: each caller has four words; volatile, so that the compiler does not take their initial values for the last.
    let word = |index| unsafe { at.cast::<u64>().add(index).read_volatile() };
    [word(0), word(1), word(2), word(3)]
}

#[inline(always)]
fn bucket_hash() -> [u64; 4] {
    constants(&raw const BUCKET_HASH)
}

#[inline(always)]
fn bucket_group(number: u32) -> Option<KernelBuckets> {
    NonNull::new(BUCKETS.get_ptr_mut(number)?).map(KernelBuckets)
}

/// The bucket of a key, and how it came to be its own; see [`Tables::find_bucket`].
#[inline(always)]
pub fn own_bucket(key: &BucketKey, now: u64, depth: u64) -> Option<(u32, Taken)> {
    let place = BucketHash::from_words(bucket_hash()).place(key);
    let group = bucket_group(place.group)?;
    let Found { way, taken } = bucket_table::find(&group, place.tag, key, now, depth)?;
    Some((place.group * WAYS + way, taken))
}

/// A word of a limit's own bucket.
#[inline(always)]
fn service_word<const AT: usize>(limit: u32) -> Option<KernelBucket> {
    let cell = SERVICE_BUCKETS.get_ptr_mut(limit)?;
    // SAFETY: a place inside of the element.
    NonNull::new(unsafe { cell.byte_add(AT).cast::<u64>() }).map(KernelBucket)
}

impl<const SKB: bool> Tables for Maps<SKB> {
    type Bucket<'a> = KernelBucket;
    type Backend<'a> = KernelBackend;
    type Flow<'a> = KernelLine;
    type Bits<'a> = KernelBits;
    type Fragments<'a> = KernelFragments;
    type Snat<'a> = KernelSnat;
    type SnatReply<'a> = KernelSnatReply;

    #[inline(always)]
    fn vip(&self, key: &VipKey) -> Option<u32> {
        // SAFETY: not preallocated, and a word is read at once.
        unsafe { VIPS.get(key) }.copied()
    }

    #[inline(always)]
    fn service(&self, id: u32) -> Option<&Service> {
        SERVICES.get(id)
    }

    #[inline(always)]
    fn table(&self, service: &Service) -> Table {
        // SAFETY: an aligned word of a map's element. Volatile, so that it is one load: the halves of two tables would
        // be none.
        Table::unpack(unsafe { (&raw const service.table).read_volatile() })
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<Slot> {
        // SAFETY: an aligned word of a map's element. Volatile, so that it is one load: the halves of two slots would be
        // none.
        Some(Slot::from_word(unsafe { SLOTS.get_ptr(index)?.cast::<u64>().read_volatile() }))
    }

    #[inline(always)]
    fn place(&self, vip: &VipKey) -> Option<u32> {
        // SAFETY: constants of the loader's; volatile, so that the compiler does not take their initial values for the last.
        let bits = unsafe { (&raw const PLACE_BITS).read_volatile() };
        // SAFETY: an aligned word of a map's element. Volatile, since it may change at any time.
        unsafe { PLACES.get_ptr(index::place(vip, bits))?.read_volatile() }.checked_sub(1).map(|id| id as u32)
    }

    #[inline(always)]
    fn is_known(&self, address: &Address) -> bool {
        // SAFETY: as in `place`.
        let bits = unsafe { (&raw const KNOWN_BITS).read_volatile() };
        let (word, bit) = index::known(address, bits);
        // SAFETY: as in `place`.
        KNOWN.get_ptr(word).is_none_or(|word| unsafe { word.read_volatile() } >> bit & 1 != 0)
    }

    #[inline(always)]
    fn backend_cell(&self, id: u32) -> Option<KernelBackend> {
        NonNull::new(BACKENDS.get_ptr_mut(id)?).map(KernelBackend)
    }

    #[inline(always)]
    fn backend_now(&self, id: u32) -> Option<Backend> {
        let row = BACKENDS.get_ptr(id)?.cast::<u64>();
        let mut words = [0; Backend::WORDS];
        // SAFETY: the map gave the pointer; the row may be written meanwhile, which its version tells. Volatile, so that each
        // word is one load into a register: a copy in memory would be read in other pieces than it was written in.
        let version = || unsafe { row.cast::<u32>().add(offset_of!(Backend, version) / 4).read_volatile() };
        let before = version();
        barrier();
        for (at, word) in words.iter_mut().enumerate() {
            // SAFETY: as above.
            *word = unsafe { row.add(at).read_volatile() };
        }
        barrier();
        if before == version() && before & 1 == 0 { Some(Backend::from_words(words)) } else { None }
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<Backend> {
        for _ in 0..ROW_TRIES {
            if let Some(read) = self.backend_now(id) {
                return Some(read);
            }
        }
        // Its writer was stopped, or killed, half-way. Where the backend listens does not change; the way there does, and
        // the stack finds it.
        // SAFETY: the map gave the pointer; the row may be written meanwhile.
        let read = unsafe { BACKENDS.get_ptr(id)?.read() };
        Some(Backend { delivery: Delivery::STACK, ..read })
    }

    #[inline(always)]
    fn endpoint(&self, key: &VipKey) -> Option<Endpoint> {
        // SAFETY: not preallocated. Both words are written together before the entry is found.
        unsafe { ENDPOINTS.get(key) }.copied()
    }

    #[inline(always)]
    fn service_at(&self, at: &VipKey) -> Result<u32, u32> {
        steps::service_at(at)
    }

    #[inline(always)]
    fn endpoint_at(&self, at: &VipKey) -> Option<Endpoint> {
        steps::endpoint_at(at)
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<KernelLine> {
        let number = steps::flow_number(key)?;
        let group = KernelGroup(NonNull::new(FLOWS.get_ptr_mut(number / FlowGroup::LINES)?)?);
        Some(group.line(number))
    }

    #[inline(always)]
    fn flow_at_once(&self, key: &FlowKey) -> Option<KernelLine> {
        let key = key.to_words();
        let (group, spot) = flow_group(&key)?;
        flow_table::find(&group, &spot, &key).map(|number| group.line(number))
    }

    #[inline(always)]
    fn remember_flow(&self, key: &FlowKey, flow: &Flow) -> bool {
        steps::remember_flow(key, flow)
    }

    #[inline(always)]
    fn stamp(&self, service: u32, table: Table, slot: u32, now_s: u32) {
        let index = service.wrapping_mul(table.len).wrapping_add(slot);
        if let Some(stamps) = STAMPS.get_ptr_mut(index / 2) {
            // SAFETY: the element has two words, and this is one of them; volatile, because the controller reads it.
            unsafe { stamps.cast::<u32>().add((index % 2) as usize).write_volatile(now_s) };
        }
    }

    #[inline(always)]
    fn note_in_census(&self, key: &FlowKey) {
        // An error means that no element could be freed: a census is a sample.
        let _: Result<(), i32> = CENSUS.insert(key, 0, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn reply_owner(&self, key: &ReplyKey) -> Option<ReplyOwner> {
        // SAFETY: an element that was evicted meanwhile may hold another flow's owner: a word, read at once.
        unsafe { REPLIES.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_reply(&self, key: &ReplyKey, owner: ReplyOwner) {
        // An error means that no element could be freed at this moment. The next packet of the flow tries again.
        let _: Result<(), i32> = REPLIES.insert(key, owner, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn forget_reply(&self, key: &ReplyKey) {
        // An error means that it was not there any more.
        let _: Result<(), i32> = REPLIES.remove(key);
    }

    #[inline(always)]
    fn route(&self, query: &RouteQuery) -> WayOut {
        let mut params = MaybeUninit::<bpf_fib_lookup>::uninit();
        // SAFETY: integers and unions of integers: all zeroes is a value, and padding is what the helper wants zero.
        let params = unsafe {
            clear(params.as_mut_ptr());
            params.assume_init_mut()
        };
        params.l4_protocol = query.protocol;
        params.ifindex = if SKB { upper(query.ingress_ifindex) } else { query.ingress_ifindex };
        params.__bindgen_anon_1.tot_len = query.length;
        set_ends(params, &query.source, &query.destination);
        // SAFETY: the helper reads and writes `params`, which is its size, and the running program's context.
        let mut found = unsafe { fib_lookup(self.ctx, params, size_of::<bpf_fib_lookup>() as i32, 0) };
        if found == TOO_BIG {
            // SAFETY: the helper has just written it there.
            return WayOut::TooBig(u32::from(unsafe { params.__bindgen_anon_1.mtu_result }));
        }
        let mut delivery = Delivery::NONE;
        if SKB && found == NOT_FORWARDED {
            // It is for this host itself: as if it came from where the host's own packets to the VIP go.
            params.ifindex = upper(query.ingress_ifindex);
            params.__bindgen_anon_1.tot_len = 0;
            set_ends(params, &query.destination, &query.source);
            // SAFETY: as above.
            found = unsafe { fib_lookup(self.ctx, params, size_of::<bpf_fib_lookup>() as i32, 0) };
            delivery = Delivery::UP;
            if found == NOT_FORWARDED {
                params.ifindex = LOOPBACK;
            }
        } else if found == NO_NEIGHBOUR {
            if SKB {
                // Whoever redirects has it found, and keeps the packet until then.
                delivery = Delivery::NEIGHBOUR;
            } else {
                // The stack gets the packet, and would ask for the neighbour if it forwarded it; but it may drop it, as it
                // does when the VIP is an address of this host and so a martian source. The controller sees to it. An
                // error means that the ring is full of such already.
                let _: Result<(), i32> = UNRESOLVED.output(query.destination, 0);
            }
        }
        // Anything but 0 (BPF_FIB_LKUP_RET_SUCCESS) is for the stack: no route, no neighbour yet, forwarding off.
        if found != 0 && delivery == Delivery::NONE {
            return WayOut::Stack;
        }
        let device = self.device(params.ifindex);
        if delivery == Delivery::NONE {
            delivery = match device.flags {
                _ if SKB => Delivery::PORT,
                flags if flags & DeviceFlags::BRIDGE != 0 => Delivery::PORT,
                flags if flags & DeviceFlags::TRANSMIT == 0 => return WayOut::Stack,
                flags if flags & DeviceFlags::REDIRECT != 0 => Delivery::REDIRECT,
                _ => Delivery::DEVICE,
            };
        }
        let up = delivery == Delivery::UP;
        // Out of a device that tc puts frames into they get its tags from itself.
        let whole = SKB || delivery == Delivery::PORT;
        WayOut::Device(Route {
            ifindex: if whole { params.ifindex } else { device.link },
            mac_destination: if up { device.mac } else { params.dmac },
            mac_source: params.smac,
            tags: if whole { Tags::NONE } else { device.tags },
            delivery,
            scatter: whole || device.flags & DeviceFlags::SCATTER != 0,
        })
    }

    #[inline(always)]
    fn device(&self, ifindex: u32) -> Device {
        device_of(ifindex)
    }

    #[inline(always)]
    fn address(&self, address: &Address) -> u32 {
        // SAFETY: not preallocated, and a word is read at once.
        unsafe { ADDRESSES.get(address) }.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        // SAFETY: an aligned element of integers, there while the program is. The controller may write it meanwhile, so that a
        // field may be of two settings, as of any array's element. Opaque: the compiler would take its initial values for the last.
        Some(unsafe { &*(opaque(SETTINGS.0.get() as usize) as *const Settings) })
    }

    #[inline(always)]
    fn path_mtu(&self, far_end: &Address) -> Option<PathMtu> {
        // A copy of its own: where a pointer goes to the kernel, the whole structure would have to lie in memory.
        let key = *far_end;
        // SAFETY: not preallocated. Of two words of different moments either pair does.
        unsafe { PATHS.get(key) }.copied()
    }

    #[inline(always)]
    fn has_told_paths(&self) -> bool {
        // SAFETY: an aligned word; volatile, since any CPU may write it.
        unsafe { PATHS_TOLD.0.get().cast::<u32>().read_volatile() != 0 }
    }

    #[inline(always)]
    fn learn_path_mtu(&self, far_end: &Address, path: PathMtu) -> bool {
        match PATHS.get_ptr_mut(far_end) {
            Some(known) => {
                // SAFETY: the map gave the pointer; volatile, because other CPUs and the controller read it.
                unsafe { known.write_volatile(path) };
                // SAFETY: as in `has_told_paths`.
                unsafe { PATHS_TOLD.0.get().cast::<u32>().write_volatile(1) };
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    fn quic_server(&self, key: &QuicKey) -> Option<u32> {
        // SAFETY: not preallocated, and a word is read at once.
        unsafe { QUIC_SERVERS.get(key) }.copied()
    }

    #[inline(always)]
    fn fragments(&self, key: &FragmentKey) -> Option<KernelFragments> {
        NonNull::new(FRAGMENTS.get_ptr_mut(key)?).map(KernelFragments)
    }

    #[inline(always)]
    fn begin_fragments(&self, key: &FragmentKey, datagram: &Datagram) -> Option<KernelFragments> {
        let new = NEW_FRAGMENTS.get_ptr_mut(0)?;
        // SAFETY: this CPU's alone, and programs of one CPU do not interrupt each other; `seen` stays all zeroes.
        let new = unsafe {
            (&raw mut (*new).datagram).write(*datagram);
            &*new
        };
        FRAGMENTS.insert(key, new, u64::from(BPF_NOEXIST)).ok()?;
        self.fragments(key)
    }

    #[inline(always)]
    fn forget_fragments(&self, key: &FragmentKey) {
        // An error means that it was not there any more.
        let _: Result<(), i32> = FRAGMENTS.remove(key);
    }

    #[inline(always)]
    fn fresh_id(&self) -> u32 {
        match LAST_ID.get_ptr_mut(0).and_then(NonNull::new) {
            Some(last) => fetch_add(last, 1) as u32 + 1,
            None => 0,
        }
    }

    #[inline(always)]
    fn snat(&self, key: &FlowKey) -> Option<KernelSnat> {
        NonNull::new(SNATS.get_ptr_mut(key)?).map(KernelSnat)
    }

    #[inline(always)]
    fn snat_backend(&self, headers: &Headers, key: &FlowKey) -> Option<u32> {
        steps::snat_backend(headers, key)
    }

    #[inline(always)]
    fn snat_reply(&self, key: &SnatReplyKey) -> Option<KernelSnatReply> {
        NonNull::new(SNAT_REPLIES.get_ptr_mut(key)?).map(KernelSnatReply)
    }

    #[inline(always)]
    fn remember_snat(&self, key: &FlowKey, snat: &Snat) -> bool {
        SNATS.insert(key, snat, u64::from(BPF_NOEXIST)).is_ok()
    }

    #[inline(always)]
    fn remember_snat_reply(&self, key: &SnatReplyKey, reply: &SnatReply) -> bool {
        SNAT_REPLIES.insert(key, reply, u64::from(BPF_NOEXIST)).is_ok()
    }

    #[inline(always)]
    fn forget_snat_reply(&self, key: &SnatReplyKey) {
        // An error means that it was not there any more.
        let _: Result<(), i32> = SNAT_REPLIES.remove(key);
    }

    #[inline(always)]
    fn forget_snat(&self, key: &FlowKey) {
        // An error means that it was not there any more.
        let _: Result<(), i32> = SNATS.remove(key);
    }

    #[inline(always)]
    fn port_word(&self, index: u32) -> Option<KernelBits> {
        NonNull::new(PORTS.get_ptr_mut(index)?).map(KernelBits)
    }

    #[inline(always)]
    fn limit(&self, id: u32) -> Option<&Limit> {
        LIMITS.get(id)
    }

    #[inline(always)]
    fn service_bucket(&self, limit: u32) -> Option<KernelBucket> {
        service_word::<{ offset_of!(BucketCell, empty_at) }>(limit)
    }

    #[inline(always)]
    fn find_bucket(&self, key: &BucketKey, now: u64, depth: u64) -> Option<(u32, Taken)> {
        steps::find_bucket(key, now, depth)
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<KernelBucket> {
        Some(bucket_group(index / WAYS)?.level(index % WAYS))
    }

    #[inline(always)]
    fn note_asked(&self, index: u32, over: bool) {
        if let Some(group) = bucket_group(index / WAYS) {
            group.note_asked(index % WAYS, over);
        }
    }

    #[inline(always)]
    fn ask_limit(&self, headers: &Headers, asker: &Asker, id: u32) -> u64 {
        steps::ask_limit(headers, asker, id)
    }

    #[inline(always)]
    fn ask_plain(&self, service: u32, who: &Address, bytes: u32) -> Result<(), Refusal> {
        steps::ask_plain(service, who, bytes)
    }

    #[inline(always)]
    fn connection(&self, key: &FlowKey) -> Option<(KernelBucket, u32)> {
        let at = CONNECTIONS.get_ptr_mut(key)?;
        // SAFETY: a map's element; its backend was written before it was found and does not change. The first two words of an
        // element, which is aligned as words are, are one.
        let backend = unsafe { (*at).backend };
        Some((NonNull::new(at.cast::<u64>()).map(KernelBucket)?, backend))
    }

    #[inline(always)]
    fn remember_connection(&self, key: &FlowKey, connection: &Connection) -> bool {
        CONNECTIONS.insert(key, connection, u64::from(BPF_NOEXIST)).is_ok()
    }

    #[inline(always)]
    fn forget_connection(&self, key: &FlowKey) {
        // An error means that it was not there any more.
        let _: Result<(), i32> = CONNECTIONS.remove(key);
    }

    #[inline(always)]
    fn change_gauge(&self, headers: &Headers, asker: &Asker, id: u32, change: u32) -> Result<(), Refusal> {
        steps::change_gauge(headers, asker, id, change)
    }

    #[inline(always)]
    fn share(&self, limit: u32) -> Option<KernelBucket> {
        service_word::<{ offset_of!(BucketCell, share) }>(limit)
    }

    #[inline(always)]
    fn share_adapted(&self, limit: u32) -> Option<KernelBucket> {
        service_word::<{ offset_of!(BucketCell, adapted_ns) }>(limit)
    }

    #[inline(always)]
    fn share_seen(&self, limit: u32) -> Option<KernelBucket> {
        service_word::<{ offset_of!(BucketCell, seen) }>(limit)
    }

    #[inline(always)]
    fn debt(&self, limit: u32) -> Option<KernelBucket> {
        service_word::<{ offset_of!(BucketCell, debt) }>(limit)
    }

    #[inline(always)]
    fn sketch_hash(&self, high: u64, low: u64) -> u64 {
        let [_, a, b, _] = bucket_hash();
        mix(high.wrapping_mul(a).wrapping_add(low.wrapping_mul(b)))
    }

    #[inline(always)]
    fn sketch(&self, index: u32) -> SketchCell {
        SKETCH.get(index).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn put_sketch(&self, index: u32, cell: SketchCell) {
        if let Some(at) = SKETCH.get_ptr_mut(index) {
            // SAFETY: a map's element, of integers. Other CPUs may write it at once: then one of both packets is not counted.
            unsafe { at.write(cell) };
        }
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: a helper without arguments.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        #[cfg(feature = "record")]
        crate::record::clock_was_read(now_ns);
        now_ns
    }

    #[inline(always)]
    fn now_s(&self) -> u32 {
        // SAFETY: a helper without arguments.
        (unsafe { bpf_ktime_get_coarse_ns() } / 1_000_000_000) as u32
    }

    #[inline(always)]
    fn count_inside(&self) {
        bump(&TALLY, 0, |tally| tally.inside += 1);
    }

    #[inline(always)]
    fn count_flows(&self, used: FlowUse) {
        bump(&TALLY, 0, |count| match used {
            FlowUse::Lookup => count.lookups += 1,
            FlowUse::Remembered => count.remembered += 1,
            FlowUse::Refused => count.refused += 1,
        });
    }

    #[inline(always)]
    fn count_traffic(&self, service: u32, backend: u32, direction: Direction, bytes: u32) {
        let add = |traffic: &mut Traffic| match direction {
            Direction::Request => {
                traffic.packets += 1;
                traffic.bytes += u64::from(bytes);
            }
            Direction::Reply => {
                traffic.reply_packets += 1;
                traffic.reply_bytes += u64::from(bytes);
            }
        };
        // One counter a packet: what a service carried is what its backends did, and what nobody of them did. `Slot::NOBODY` is
        // beyond the map's end.
        if !bump(&BACKEND_TRAFFIC, backend, add) {
            bump(&SERVICE_TRAFFIC, service, add);
        }
    }

    #[inline(always)]
    fn count_limit(&self, limit: u32, said: Said) {
        #[cfg(feature = "record")]
        crate::record::answered(limit, said);
        bump(&LIMIT_COUNTS, limit, |count| match said {
            Said::Admitted => count.admitted += 1,
            Said::Over => count.over += 1,
            Said::Marked => count.marked += 1,
            Said::WouldDrop => count.would_drop += 1,
            Said::Delayed => count.delayed += 1,
        });
    }

    #[inline(always)]
    fn count_eviction(&self, limit: u32, busy: bool) {
        bump(&LIMIT_COUNTS, limit, |count| if busy { count.evicted_busy += 1 } else { count.evicted_idle += 1 });
    }

    #[inline(always)]
    fn count_refusal(&self, refusal: Refusal) {
        bump(&REFUSALS, refusal as u32, |count| *count += 1);
    }
}
