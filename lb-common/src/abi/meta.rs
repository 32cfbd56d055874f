//! What a set of pinned maps says of itself, before anything else of it is believed.

/// The version of everything in [`abi`](super): layouts, meanings, and the names of the maps. A program and a controller
/// of different versions do not share maps.
pub const VERSION: u32 = 8;

/// The one element of `META`, written last when maps are made.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// [`Meta::MAGIC`].
    pub magic: u64,
    /// [`VERSION`] of whoever made the maps.
    pub version: u32,
    /// Slots of a Maglev table.
    pub table_size: u32,
    /// What the flow hash of new services starts from, as it was configured.
    pub hash_seed: u64,
    /// What the hash of the flow table starts from, which nobody else knows.
    pub flow_seed: u64,
    /// Always zero.
    pub pad: [u64; 4],
}

impl Meta {
    /// "weir" and the word that it is about maps, as bytes in memory.
    pub const MAGIC: u64 = u64::from_ne_bytes(*b"weirmaps");
}

const _: () = assert!(size_of::<Meta>() == 64);
