//! The maps of `weir decap`, private to this file, and `lb_common`'s view of them.

use aya_ebpf::bindings::{BPF_ANY, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray};
use lb_common::Address;
use lb_common::decap::{ClampOutcome, DecapOutcome, DecapTables, MAX_OURS, MAX_SENDERS, MAX_UNWRAPPED};

#[map]
static SENDERS: LpmTrie<Address, u32> = LpmTrie::with_max_entries(MAX_SENDERS, BPF_F_NO_PREALLOC);
#[map]
static OURS: HashMap<Address, u32> = HashMap::with_max_entries(MAX_OURS, BPF_F_NO_PREALLOC);
#[map]
static UNWRAPPED: LruHashMap<Address, u32> = LruHashMap::with_max_entries(MAX_UNWRAPPED, 0);
#[map]
static MTU: Array<u32> = Array::with_max_entries(1, 0);
#[map]
static OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(DecapOutcome::ALL.len() as u32, 0);
#[map]
static CLAMPED: PerCpuArray<u64> = PerCpuArray::with_max_entries(ClampOutcome::ALL.len() as u32, 0);

/// Set by the loader, as [`CLAMP`] is. The map they lie in is frozen, so the verifier knows the values.
#[unsafe(no_mangle)]
static GUE_PORT: [u8; 2] = [0; 2];
#[unsafe(no_mangle)]
static CLAMP: u8 = 0;

/// All bits of an address count.
const WHOLE: u32 = 128;

/// The maps.
pub struct Maps;

/// Adds one to a counter of this CPU. Programs of one CPU do not interrupt each other.
#[inline(always)]
fn bump(map: &PerCpuArray<u64>, index: u32) {
    if let Some(counter) = map.get_ptr_mut(index) {
        // SAFETY: the map gave the pointer, and the element is this CPU's alone.
        unsafe { *counter += 1 };
    }
}

impl DecapTables for Maps {
    #[inline(always)]
    fn forget(&self, number: usize) -> usize {
        crate::frame::weir_forget(number as u64) as usize
    }

    #[inline(always)]
    fn gue_port(&self) -> [u8; 2] {
        // SAFETY: a static of this program; volatile, so that the compiler does not take its initial value for the last.
        unsafe { core::ptr::read_volatile(&raw const GUE_PORT) }
    }

    #[inline(always)]
    fn is_ours(&self, address: &Address) -> bool {
        OURS.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn is_sender(&self, address: &Address) -> bool {
        SENDERS.get(Key::new(WHOLE, *address)).is_some()
    }

    #[inline(always)]
    fn note_unwrapped(&self, destination: &Address, overhead: u32) {
        // SAFETY: as in `gue_port`.
        if unsafe { core::ptr::read_volatile(&raw const CLAMP) } == 0 {
            return;
        }
        if self.overhead(destination).is_none_or(|noted| noted < overhead) {
            // An error means that no element could be freed at this moment: the next packet tries again.
            let _: Result<(), i32> = UNWRAPPED.insert(destination, overhead, u64::from(BPF_ANY));
        }
    }

    #[inline(always)]
    fn overhead(&self, address: &Address) -> Option<u32> {
        // SAFETY: an element that was evicted meanwhile may hold another address's overhead: a word, read at once.
        unsafe { UNWRAPPED.get(address) }.copied()
    }

    #[inline(always)]
    fn mtu(&self) -> u32 {
        MTU.get(0).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn count(&self, outcome: DecapOutcome) {
        bump(&OUTCOMES, outcome as u32);
    }

    #[inline(always)]
    fn count_clamp(&self, outcome: ClampOutcome) {
        bump(&CLAMPED, outcome as u32);
    }
}
