//! What the programs noted of every answer of a limit's: lb-ebpf's feature `record`.

use aya::maps::{Array, MapData};
use weir::dataplane::kernel::Object;

/// An answer: lb-ebpf/src/record.rs has the same.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// When the limit was asked, in nanoseconds.
    pub(crate) now_ns: u64,
    /// Its id.
    pub(crate) limit: u32,
    /// What it said: [`Said`](lb_common::limits::Said).
    pub(crate) said: u32,
}

#[expect(unsafe_code, reason = "aya::Pod promises that any bit pattern is a value")]
// SAFETY: `repr(C)`, integers only, without padding.
unsafe impl aya::Pod for Record {}

/// The map that answers are noted in, one after the other; what was not used is all zeroes. Nothing when the programs were
/// built without.
pub(crate) fn records(object: &mut Object) -> Option<Array<&mut MapData, Record>> {
    Some(Array::try_from(object.ebpf().map_mut("RECORD")?).expect("an array of records"))
}
