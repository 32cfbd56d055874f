//! What becomes of a slot when its service's table is another one.

use lb_common::abi::Slot;

/// The slot, once its new flows go to `target`, which may be [`Slot::NOBODY`].
///
/// The oldest `old` stays: who is not remembered is there. Flows that went to the backends in between are remembered, and
/// keep theirs. `unmarked` says that the protocol does not mark the first packet of a flow, so that the slot has to learn
/// who was there before. The flows of backends that are `cut` are not kept. `heir` is a backend of the service that is
/// not cut, if there is one.
pub fn retarget(slot: Slot, target: u32, unmarked: bool, cut: &impl Fn(u32) -> bool, heir: Option<u32>) -> Slot {
    let current = slot.current();
    let lives = |id: u32| id != Slot::NOBODY && !cut(id);
    match slot.old() {
        None if current == target => slot,
        None if lives(current) => Slot::moving(target, current, unmarked),
        None => Slot::settled(target),
        // Nobody is left whom unknown flows could be with. Those that are remembered still stay where they are, so it
        // goes on moving, from itself.
        Some(old) if cut(old) => match target {
            Slot::NOBODY if lives(current) => Slot::moving(target, current, false),
            // There is nobody to move to, and a settled slot forgets its flows: it moves from one of the others.
            Slot::NOBODY => heir.map_or(Slot::settled(target), |heir| Slot::moving(target, heir, false)),
            _ => Slot::moving(target, target, false),
        },
        Some(_) if current == target => slot,
        // Until now unknown flows went to `old` as to the one that takes new ones, and were not remembered.
        Some(old) if current == old => Slot::moving(target, old, unmarked),
        Some(old) => Slot::moving(target, old, slot.is_learning()),
    }
}

/// Whether a change of a slot starts the clock after which its unknown flows are not believed in any more.
pub fn begins(before: Slot, after: Slot) -> bool {
    match (before.old(), after.old()) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before_old), Some(after_old)) => {
            before_old != after_old || before.current() == before_old && after.current() != after_old
        }
    }
}
