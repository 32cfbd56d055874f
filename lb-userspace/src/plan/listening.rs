//! Which services have a backend where: those that share one have to know of each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::abi::VipKey;

/// Services, by id, by where their backends listen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listening {
    /// Whether anything is noted: books of a part ask those of the whole.
    notes: bool,
    /// The first of them.
    one: HashMap<VipKey, u32>,
    /// All of them, where there are several.
    several: BTreeMap<VipKey, BTreeSet<u32>>,
}

impl Listening {
    /// Nobody has a backend yet. The default is one that notes nothing.
    pub(super) fn new() -> Self {
        Self { notes: true, ..Self::default() }
    }

    /// Notes that a service has a backend there.
    pub(super) fn add(&mut self, at: VipKey, service: u32) {
        if !self.notes {
            return;
        }
        let one = self.one.entry(at).or_insert(service);
        if *one != service {
            self.several.entry(at).or_insert_with(|| [*one].into()).insert(service);
            *one = (*one).min(service);
        }
    }

    /// Notes that a service has none there any more.
    pub(super) fn remove(&mut self, at: &VipKey, service: u32) {
        let Some(several) = self.several.get_mut(at) else {
            self.one.remove(at);
            return;
        };
        several.remove(&service);
        if let Some(first) = several.first() {
            self.one.insert(*at, *first);
        }
        if several.len() < 2 {
            self.several.remove(at);
        }
    }

    /// The services that have a backend there.
    pub(super) fn at(&self, at: &VipKey) -> impl Iterator<Item = u32> {
        let several = self.several.get(at);
        let one = if several.is_none() { self.one.get(at) } else { None };
        several.into_iter().flatten().chain(one).copied()
    }

    /// Whether several services have a backend there.
    pub(super) fn is_shared(&self, at: &VipKey) -> bool {
        self.several.contains_key(at)
    }
}

#[cfg(test)]
mod tests {
    use lb_common::Address;

    use super::*;

    #[test]
    fn services_come_and_go_where_they_share() {
        let mut listening = Listening::new();
        let at = VipKey::new(Address::from_v4([10, 0, 0, 1]), [0, 80], 6);
        let there = |listening: &Listening| (listening.at(&at).collect::<Vec<_>>(), listening.is_shared(&at));
        listening.add(at, 7);
        listening.add(at, 7);
        assert_eq!(there(&listening), (vec![7], false));
        listening.add(at, 3);
        listening.add(at, 5);
        assert_eq!(there(&listening), (vec![3, 5, 7], true));
        listening.remove(&at, 7);
        listening.remove(&at, 3);
        assert_eq!(there(&listening), (vec![5], false));
        listening.remove(&at, 5);
        assert_eq!(listening, Listening::new());
    }
}
