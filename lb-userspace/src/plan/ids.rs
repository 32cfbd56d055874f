//! Ids of rows in the maps.

/// Gives ids out in a circle, so that one that was taken back rests for as long as possible: a program that still
/// reads an old table must not find another backend behind an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ids {
    first: u32,
    capacity: u32,
    next: u32,
    /// A bit for every id, set while it is in use, and how many are: the books are copied for every plan.
    used: Vec<u64>,
    count: usize,
}

impl Ids {
    /// Ids from 0 to below `capacity`, all free.
    pub(super) fn new(capacity: u32) -> Self {
        Self::from(0, capacity)
    }

    /// Ids from `first` to below `capacity`, all free.
    pub(super) fn from(first: u32, capacity: u32) -> Self {
        Self { first, capacity, next: first, used: vec![0; (capacity as usize).div_ceil(64)], count: 0 }
    }

    /// Takes a free id; `None` when there is none.
    pub(super) fn take(&mut self) -> Option<u32> {
        if self.free_count() == 0 {
            return None;
        }
        let id = (self.next..self.capacity).chain(self.first..self.next).find(|id| !self.is_used(*id))?;
        self.hold(id);
        Some(id)
    }

    /// How many are free.
    pub(super) fn free_count(&self) -> usize {
        (self.capacity.saturating_sub(self.first) as usize).saturating_sub(self.count)
    }

    /// Notes that an id is in use.
    pub(super) fn hold(&mut self, id: u32) {
        if self.is_used(id) {
            return;
        }
        let word = id as usize / 64;
        if self.used.len() <= word {
            self.used.resize(word + 1, 0);
        }
        self.used[word] |= 1 << (id % 64);
        self.count += 1;
        self.next = if id + 1 >= self.capacity { self.first } else { id + 1 };
    }

    /// Notes that an id is in use, and says whether it is one, and was free.
    pub(super) fn claim(&mut self, id: u32) -> bool {
        let free = (self.first..self.capacity).contains(&id) && !self.is_used(id);
        if free {
            self.hold(id);
        }
        free
    }

    /// Gives an id back.
    pub(super) fn free(&mut self, id: u32) {
        if self.is_used(id) {
            self.used[id as usize / 64] &= !(1 << (id % 64));
            self.count -= 1;
        }
    }

    /// How many are in use.
    pub(super) const fn used_count(&self) -> usize {
        self.count
    }

    fn is_used(&self, id: u32) -> bool {
        self.used.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_rests_as_long_as_others_are_free() {
        let mut ids = Ids::new(3);
        assert_eq!(ids.take(), Some(0));
        ids.free(0);
        assert_eq!([ids.take(), ids.take(), ids.take(), ids.take()], [Some(1), Some(2), Some(0), None]);
        ids.free(1);
        ids.hold(2);
        assert_eq!((ids.free_count(), ids.take()), (1, Some(1)));
    }
}
