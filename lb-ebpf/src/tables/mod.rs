//! The maps, and `lb_common`'s view of them.

mod devices;
mod flows;
mod limits;
mod maps;
mod routes;

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::NonNull;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use aya_ebpf::maps::PerCpuArray;
use lb_common::abi::{
    Backend, Datagram, Delivery, Device, Endpoint, Flow, FlowGroup, FlowKey, FragmentKey, PathMtu, QuicKey, ReplyKey,
    ReplyOwner, Service, Settings, Slot, Snat, SnatReply, SnatReplyKey, Table, Traffic, VipKey,
};
use lb_common::flow_table::{self, Group as _};
use lb_common::tables::{Direction, FlowUse, RouteQuery, WayOut};
use lb_common::{Address, Headers, Refusal, Scratch, Tables, index};

use crate::cells::{KernelBackend, KernelBits, KernelFragments, KernelSnat, KernelSnatReply, barrier, fetch_add};
use crate::flows::{KernelGroup, KernelLine};
use crate::frame::opaque;
use crate::steps;

pub use devices::{device_at, device_of, ingress, was_seen};
use flows::flow_group;
pub use flows::{flow_number, put_flow};
pub use limits::own_bucket;
use maps::{
    ADDRESSES, BACKEND_TRAFFIC, BACKENDS, CENSUS, ENDPOINTS, FLOWS, FRAGMENTS, KNOWN, KNOWN_BITS, LAST_ID,
    NEW_FRAGMENTS, PATHS, PATHS_TOLD, PLACE_BITS, PLACES, PORTS, QUIC_SERVERS, REFUSALS, REPLIES, SCRATCH,
    SERVICE_TRAFFIC, SERVICES, SETTINGS, SLOTS, SNAT_REPLIES, SNATS, STAMPS, TALLY, VIPS,
};

/// How often a row that is being written is read again. A write takes nanoseconds.
const ROW_TRIES: u32 = 3;

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

/// Where this CPU keeps what it reads of a packet. Once a run: programs of one CPU do not interrupt each other.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: this CPU's alone, and whoever asks is the only program that runs on it.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
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

/// Constants of the loader's.
#[inline(always)]
fn constants(at: *const [u64; 4]) -> [u64; 4] {
    // SAFETY: each caller has four words; volatile, so that the compiler does not take their initial values for the last.
    let word = |index| unsafe { at.cast::<u64>().add(index).read_volatile() };
    [word(0), word(1), word(2), word(3)]
}

impl<const SKB: bool> Tables for Maps<SKB> {
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
        routes::route::<SKB>(self.ctx, query)
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
    fn count_refusal(&self, refusal: Refusal) {
        bump(&REFUSALS, refusal as u32, |count| *count += 1);
    }
}
