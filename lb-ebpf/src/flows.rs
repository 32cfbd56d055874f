//! Lines of the flow table, which programs of several CPUs, and the controller, read and write at once.

use core::ptr::NonNull;

use lb_common::abi::{Flow, FlowGroup, FlowLine};
use lb_common::flow_table::{Group, Line};
use lb_common::tables::FlowCell;

use crate::cells::{barrier, compare_exchange};
use crate::frame::opaque;

/// A group of lines in the map.
pub struct KernelGroup(pub(crate) NonNull<FlowGroup>);

/// A line in the map.
pub struct KernelLine(NonNull<FlowLine>);

impl Group for KernelGroup {
    type Line = KernelLine;

    #[inline(always)]
    fn line(&self, number: u32) -> KernelLine {
        // SAFETY: masked, so that the verifier sees it too: a line of the group.
        KernelLine(unsafe { self.0.cast::<FlowLine>().add((number & (FlowGroup::LINES - 1)) as usize) })
    }

    #[inline(always)]
    fn opaque(&self, number: u32) -> u32 {
        opaque(number as usize) as u32
    }
}

impl Line for KernelLine {
    #[inline(always)]
    fn state(&self) -> u64 {
        // SAFETY: an aligned word of a map's element; volatile, because other CPUs write it.
        let state = unsafe { (&raw const (*self.0.as_ptr()).state).read_volatile() };
        barrier();
        state
    }

    #[inline(always)]
    fn exchange(&self, expected: u64, new: u64) -> u64 {
        // SAFETY: a place inside of the element. The instruction orders what was written before (Linux
        // Documentation/bpf/standardization/instruction-set.rst: it is a full barrier).
        compare_exchange(unsafe { &raw mut (*self.0.as_ptr()).state }, expected, new)
    }

    #[inline(always)]
    fn has(&self, key: &[u64; 3]) -> bool {
        // SAFETY: as in `state`.
        let [a, b, c] = get(unsafe { (&raw const (*self.0.as_ptr()).key).cast() });
        (a ^ key[0]) | (b ^ key[1]) | (c ^ key[2]) == 0
    }

    #[inline(always)]
    fn backend(&self) -> u32 {
        // SAFETY: as in `state`.
        unsafe { (&raw const (*self.0.as_ptr()).flow.backend).read_volatile() }
    }

    #[inline(always)]
    fn write(&self, key: &[u64; 3], flow: &Flow) {
        let line = self.0.as_ptr();
        // SAFETY: places inside of the element, of nobody else's until its state says so.
        let (key_at, flow_at) = unsafe { (&raw mut (*line).key, &raw mut (*line).flow) };
        put(key_at.cast(), key);
        put(flow_at.cast(), &flow.to_words());
    }
}

/// Loads three words, each at once, and into registers: an array as a whole would be copied in memory.
#[inline(always)]
fn get(at: *const u64) -> [u64; 3] {
    // SAFETY: every caller has three aligned words of a map's element.
    unsafe { [at.read_volatile(), at.add(1).read_volatile(), at.add(2).read_volatile()] }
}

/// Stores three words, each at once.
#[inline(always)]
fn put(at: *mut u64, words: &[u64; 3]) {
    for (place, word) in words.iter().enumerate() {
        // SAFETY: both callers have three aligned words of a map's element.
        unsafe { at.add(place).write_volatile(*word) };
    }
}

impl FlowCell for KernelLine {
    #[inline(always)]
    fn read(&self) -> Flow {
        // SAFETY: a place inside of the element. No two of its words need to be of one moment.
        Flow::from_words(get(unsafe { (&raw const (*self.0.as_ptr()).flow).cast() }))
    }

    #[inline(always)]
    fn note_client(&self, seen_s: u32, flags: u32, next: u32, expects: u32) {
        let line = self.0.as_ptr();
        // SAFETY: aligned words inside of the element; volatile, because other CPUs and the controller read them. It is this
        // flow's line, or has been until a moment ago and is nobody's now.
        unsafe {
            (&raw mut (*line).flow.seen_s).write_volatile(seen_s);
            (&raw mut (*line).flow.client).write_volatile(flags);
            (&raw mut (*line).flow.client_next).write_volatile(next);
            (&raw mut (*line).flow.client_expects).write_volatile(expects);
        }
    }

    #[inline(always)]
    fn note_server(&self, seen_s: u32, flags: u32) {
        let line = self.0.as_ptr();
        // SAFETY: as in `note_client`.
        unsafe {
            (&raw mut (*line).flow.seen_s).write_volatile(seen_s);
            (&raw mut (*line).flow.server).write_volatile(flags);
        }
    }

    #[inline(always)]
    fn begin(&self, flow: Flow) {
        let line = self.0.as_ptr();
        // SAFETY: as in `note_client`.
        unsafe {
            (&raw mut (*line).flow.backend).write_volatile(flow.backend);
            (&raw mut (*line).flow.server).write_volatile(flow.server);
        }
        self.note_client(flow.seen_s, flow.client, flow.client_next, flow.client_expects);
    }
}
