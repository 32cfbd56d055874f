//! Single elements of maps that programs of several CPUs, and the controller, read and write at once.

use core::mem::offset_of;
use core::ptr::NonNull;

use lb_common::Address;
use lb_common::abi::{Backend, Datagram, FRAGMENT_WORDS, Fragments, Snat, SnatReply};
use lb_common::gcra::Bucket;
use lb_common::tables::{BackendCell, Bits, FragmentsCell, SnatCell, SnatReplyCell};

use crate::frame::opaque;

/// A bucket in a map.
pub struct KernelBucket(pub(crate) NonNull<u64>);

impl Bucket for KernelBucket {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: an aligned word of a map's element; volatile, because other CPUs write it.
        unsafe { self.0.as_ptr().read_volatile() }
    }

    #[inline(always)]
    fn compare_exchange(&self, expected: u64, new: u64) -> u64 {
        compare_exchange(self.0.as_ptr(), expected, new)
    }
}

/// A backend's row. Every read is volatile: the controller may write it meanwhile, and a word has to be one load.
pub struct KernelBackend(pub(crate) NonNull<Backend>);

impl KernelBackend {
    /// What lies at `AT`, which is a field of this type, or several that fill it.
    #[inline(always)]
    fn read<const AT: usize, T: Copy>(&self) -> T {
        const { assert!(AT.is_multiple_of(align_of::<T>()) && AT + size_of::<T>() <= size_of::<Backend>()) };
        // SAFETY: an aligned place inside of a map's element, which is integers, as is every `T` this is called with.
        unsafe { self.0.as_ptr().byte_add(AT).cast::<T>().read_volatile() }
    }
}

impl BackendCell for KernelBackend {
    #[inline(always)]
    fn version(&self) -> u32 {
        barrier();
        let version = self.read::<{ offset_of!(Backend, version) }, u32>();
        barrier();
        version
    }

    #[inline(always)]
    fn address(&self) -> Address {
        const AT: usize = offset_of!(Backend, address);
        let (high, low) = (self.read::<AT, u64>(), self.read::<{ AT + 8 }, u64>());
        Address::from_words([high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32])
    }

    #[inline(always)]
    fn way(&self) -> (u16, u32) {
        const AT: usize = offset_of!(Backend, delivery);
        const { assert!(AT % 8 == 2 && offset_of!(Backend, ifindex) == AT + 2) };
        let word = self.read::<{ AT - 2 }, u64>();
        ((word >> 16) as u16, (word >> 32) as u32)
    }

    #[inline(always)]
    fn mtu(&self) -> u32 {
        self.read::<{ offset_of!(Backend, mtu) }, u32>()
    }

    #[inline(always)]
    fn macs(&self) -> [u8; 12] {
        const AT: usize = offset_of!(Backend, mac_destination);
        let [a, b, c, d] = self.read::<AT, u32>().to_ne_bytes();
        let [e, f, g, h, i, j, k, l] = self.read::<{ AT + 4 }, u64>().to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    #[inline(always)]
    fn lane(&self) -> u8 {
        self.read::<{ offset_of!(Backend, lane) }, u8>()
    }
}

/// The compiler moves no access to memory across this. It is what `compiler_fence` is for, which LLVM does not know
/// for this target. The order of the processor's own loads is x86's; others would want a load that acquires (BPF has
/// one since Linux 6.15).
#[inline(always)]
pub fn barrier() {
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("", options(nostack, preserves_flags)) };
}

/// A word of bits in a map. Changes are the instructions themselves, as in [`KernelBucket`]: BPF_ATOMIC with BPF_OR or BPF_AND
/// and BPF_FETCH, Linux 5.12.
pub struct KernelBits(pub(crate) NonNull<u64>);

impl Bits for KernelBits {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: an aligned word of a map's element; volatile, because other CPUs write it.
        unsafe { self.0.as_ptr().read_volatile() }
    }

    #[inline(always)]
    fn set(&self, bits: u64) -> u64 {
        fetch_or(self.0.as_ptr(), bits)
    }

    #[inline(always)]
    fn clear(&self, bits: u64) {
        // SAFETY: as in `load`.
        unsafe {
            core::arch::asm!(
                "{bits} = atomic_fetch_and((u64 *)({at} + 0), {bits})",
                at = in(reg) self.0.as_ptr(),
                bits = inout(reg) !bits => _,
            );
        }
    }
}

/// A map's word becomes `new` if it is `expected`; returns what it was.
#[inline(always)]
pub fn compare_exchange(word: *mut u64, expected: u64, new: u64) -> u64 {
    let found: u64;
    // SAFETY: every caller has an aligned word of a map's element. Rust's own atomics compile to plain loads and stores
    // here, because the target is declared single-threaded; this is the instruction itself (BPF_ATOMIC | BPF_CMPXCHG,
    // Linux 5.12).
    unsafe {
        core::arch::asm!(
            "r0 = {expected}",
            "r0 = cmpxchg_64({at} + 0, r0, {new})",
            expected = in(reg) expected,
            at = in(reg) word,
            new = in(reg) new,
            out("r0") found,
        );
    }
    found
}

/// Sets bits of a map's word; returns what it was.
#[inline(always)]
fn fetch_or(word: *mut u64, bits: u64) -> u64 {
    let before: u64;
    // SAFETY: every caller has an aligned word of a map's element.
    unsafe {
        core::arch::asm!(
            "{bits} = atomic_fetch_or((u64 *)({at} + 0), {bits})",
            at = in(reg) word,
            bits = inout(reg) bits => before,
        );
    }
    before
}

/// Adds to a map's word; returns what it was.
#[inline(always)]
pub fn fetch_add(word: NonNull<u64>, value: u64) -> u64 {
    let before: u64;
    // SAFETY: every caller has an aligned word of a map's element.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({at} + 0), {value})",
            at = in(reg) word.as_ptr(),
            value = inout(reg) value => before,
        );
    }
    before
}

/// A datagram in fragments in a map. Evicted meanwhile, it may be another one's already: what is written then can only
/// have that one's fragments refused.
pub struct KernelFragments(pub(crate) NonNull<Fragments>);

impl FragmentsCell for KernelFragments {
    #[inline(always)]
    fn datagram(&self) -> Datagram {
        // SAFETY: a place inside of a map's element. All but three of its words are written before it is found, of which `got` is not looked at; those are
        // whole.
        unsafe {
            let datagram = &raw const (*self.0.as_ptr()).datagram;
            Datagram {
                fate: (&raw const (*datagram).fate).read_volatile(),
                end: (&raw const (*datagram).end).read_volatile(),
                ..datagram.read()
            }
        }
    }

    #[inline(always)]
    fn mark(&self, word: usize, blocks: u64) -> u64 {
        // SAFETY: a place inside of a map's element.
        let seen = unsafe { (&raw mut (*self.0.as_ptr()).seen).cast::<u64>().add(opaque(word) & (FRAGMENT_WORDS - 1)) };
        fetch_or(seen, blocks)
    }

    #[inline(always)]
    fn add(&self, bytes: u32) -> u64 {
        // SAFETY: a place inside of a map's element.
        let got = unsafe { NonNull::new_unchecked(&raw mut (*self.0.as_ptr()).datagram.got) };
        fetch_add(got, u64::from(bytes))
    }

    #[inline(always)]
    fn set_fate(&self, fate: u32) {
        // SAFETY: as in `datagram`.
        unsafe { (&raw mut (*self.0.as_ptr()).datagram.fate).write_volatile(fate) };
    }

    #[inline(always)]
    fn set_end(&self, end: u32) {
        // SAFETY: as in `datagram`.
        unsafe { (&raw mut (*self.0.as_ptr()).datagram.end).write_volatile(end) };
    }
}

/// A flow both ends of which are rewritten, in a map. It may be gone, and another one's already: what is written then is one
/// more sign of life, and what is read was true a moment ago.
pub struct KernelSnat(pub(crate) NonNull<Snat>);

impl SnatCell for KernelSnat {
    #[inline(always)]
    fn read(&self) -> Snat {
        let snat = self.0.as_ptr();
        // SAFETY: a map's element, of which nothing changes but the two words that are read by themselves.
        unsafe {
            Snat {
                seen_s: (&raw const (*snat).seen_s).read_volatile(),
                client: (&raw const (*snat).client).read_volatile(),
                ..snat.read()
            }
        }
    }

    #[inline(always)]
    fn note(&self, seen_s: u32, client: u32) {
        let snat = self.0.as_ptr();
        // SAFETY: aligned words of a map's element; volatile, because other CPUs and the controller read them.
        unsafe {
            (&raw mut (*snat).seen_s).write_volatile(seen_s);
            (&raw mut (*snat).client).write_volatile(client);
        }
    }
}

/// The same flow as the backend sees it.
pub struct KernelSnatReply(pub(crate) NonNull<SnatReply>);

impl SnatReplyCell for KernelSnatReply {
    #[inline(always)]
    fn read(&self) -> SnatReply {
        let reply = self.0.as_ptr();
        // SAFETY: as in `KernelSnat`.
        unsafe {
            SnatReply {
                seen_s: (&raw const (*reply).seen_s).read_volatile(),
                server: (&raw const (*reply).server).read_volatile(),
                ..reply.read()
            }
        }
    }

    #[inline(always)]
    fn note(&self, seen_s: u32, server: u32) {
        let reply = self.0.as_ptr();
        // SAFETY: as in `KernelSnat`.
        unsafe {
            (&raw mut (*reply).seen_s).write_volatile(seen_s);
            (&raw mut (*reply).server).write_volatile(server);
        }
    }
}
