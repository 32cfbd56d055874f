//! Which ids were never used: their counters need no zeroing.

/// The first ids that were never used since the maps were made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unused {
    pub(super) services: u32,
    pub(super) backends: u32,
    pub(super) limits: u32,
}

impl Unused {
    /// All ids: the maps are new.
    pub(super) const ALL: Self = Self { services: 0, backends: 0, limits: 0 };

    /// None that is known: nobody knows what earlier controllers have used.
    pub(super) const NONE: Self = Self { services: u32::MAX, backends: u32::MAX, limits: u32::MAX };

    /// Whether an id was never used; from now on it was.
    pub(super) fn take(first: &mut u32, id: u32) -> bool {
        let unused = id >= *first;
        if unused {
            *first = id.saturating_add(1);
        }
        unused
    }
}
