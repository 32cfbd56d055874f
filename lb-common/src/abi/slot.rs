//! One cell of a service's Maglev table.

/// The backend that a slot's flows go to.
///
/// Eight bytes, because the kernel rounds an array's elements up to that anyway, and one aligned store writes it.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slot {
    /// Backend id.
    pub current: u32,
    /// Zero: room for what a moving slot has to say.
    pub reserved: u32,
}

impl Slot {
    /// A slot that has one backend.
    pub const fn settled(backend: u32) -> Self {
        Self { current: backend, reserved: 0 }
    }
}

const _: () = assert!(size_of::<Slot>() == 8);
