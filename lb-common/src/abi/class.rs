//! Which `htb` class what waits by is in: a number that the controller and the packet path come to by themselves.

use super::{Limit, LimitOver, LimitScope, LimitUnit};

/// Numbers of classes, and of the queue that they are in.
pub struct Class;

impl Class {
    /// The queue's handle: the upper half of a class's whole number, which is the lower one. It is what tells Weir's queues from
    /// others.
    pub const QUEUE: u32 = 0x7769_0000;

    /// Of limits per service: this and the limit's id.
    const LIMITS: u32 = 0x100;

    /// Of limits per backend: this and the backend's id.
    const BACKENDS: u32 = 0x4000;

    /// The last one: behind it, `tc` has numbers of its own (`TC_H_ROOT` of linux/pkt_sched.h).
    const LAST: u32 = 0xfff0;

    /// The class of what `backend` sends under the limit `id`; 0 when there is no number for it, or it is no limit that a class
    /// can keep.
    #[inline(always)]
    pub const fn of(limit: &Limit, id: u32, backend: u32) -> u16 {
        if limit.over != LimitOver::DELAY || limit.unit != LimitUnit::BYTES {
            return 0;
        }
        match limit.scope {
            LimitScope::SERVICE if id < Self::BACKENDS - Self::LIMITS => number(Self::LIMITS + id),
            LimitScope::BACKEND if backend <= Self::LAST - Self::BACKENDS => number(Self::BACKENDS + backend),
            _ => 0,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "bounded by whoever calls it")]
const fn number(class: u32) -> u16 {
    class as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::LimitFlags;

    const BYTES: Limit = Limit {
        cost: 1,
        depth_ticks: 1,
        shift: 0,
        unit: LimitUnit::BYTES,
        scope: LimitScope::SERVICE,
        over: LimitOver::DELAY,
        flags: LimitFlags::OUT,
        prefix_v4: 0,
        prefix_v6: 0,
        pad: 0,
        window: 0,
    };

    #[test]
    fn no_two_have_the_same_and_none_is_anothers() {
        let service = |id| Class::of(&BYTES, id, 77);
        assert_eq!((service(2), service(0x3eff), service(0x3f00)), (0x102, 0x3fff, 0), "for the last there is none");
        let backend = |backend| Class::of(&Limit { scope: LimitScope::BACKEND, ..BYTES }, 2, backend);
        assert_eq!((backend(77), backend(0xbff0), backend(0xbff1)), (0x404d, 0xfff0, 0), "likewise");
    }

    #[test]
    fn what_a_class_cannot_keep_has_none() {
        assert_eq!(Class::of(&Limit { unit: LimitUnit::PACKETS, ..BYTES }, 2, 77), 0);
        assert_eq!(Class::of(&Limit { scope: LimitScope::SOURCE, ..BYTES }, 2, 77), 0);
        assert_eq!(Class::of(&Limit { over: LimitOver::DROP, ..BYTES }, 2, 77), 0);
    }
}
