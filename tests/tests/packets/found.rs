//! What was found by packets made up: the seed of a world, and the packets on which the two builds differed there.

/// Rows as `cargo xtask fuzz` prints them.
pub(crate) const FOUND: &[(u64, &[&str])] = &[];
