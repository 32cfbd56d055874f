//! Every answer of a limit's, noted, with the time that it was asked at: for tests that compare them with a model's.
//!
//! The tests send from one CPU at a time: that is what answers are numbered on.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use lb_common::limits::Said;

/// An answer. The layout is tests/tests/limits/record.rs's, too.
#[repr(C)]
#[derive(Clone, Copy)]
struct Record {
    /// When the limit was asked, in nanoseconds.
    now_ns: u64,
    /// Its id.
    limit: u32,
    /// What it said: [`Said`].
    said: u32,
}

/// What a CPU keeps for the next answer.
#[repr(C)]
#[derive(Clone, Copy)]
struct Recorder {
    /// When the clock was read last.
    now_ns: u64,
    /// How many answers were noted.
    count: u64,
}

/// The answers, as many as are noted at most.
#[map]
static RECORD: Array<Record> = Array::with_max_entries(1 << 20, 0);

#[map]
static RECORDER: PerCpuArray<Recorder> = PerCpuArray::with_max_entries(1, 0);

/// Keeps the time that was read for what is asked next.
#[inline(always)]
pub fn clock_was_read(now_ns: u64) {
    if let Some(recorder) = RECORDER.get_ptr_mut(0) {
        // SAFETY: this CPU's own element; programs on one CPU do not interrupt each other here.
        unsafe { (*recorder).now_ns = now_ns };
    }
}

/// Notes an answer.
#[inline(always)]
pub fn answered(limit: u32, said: Said) {
    let Some(recorder) = RECORDER.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    let recorder = unsafe { &mut *recorder };
    let Some(record) = RECORD.get_ptr_mut(recorder.count as u32) else { return };
    // SAFETY: a map's element, of integers, which no other CPU writes.
    unsafe { record.write(Record { now_ns: recorder.now_ns, limit, said: said as u32 }) };
    recorder.count += 1;
}
