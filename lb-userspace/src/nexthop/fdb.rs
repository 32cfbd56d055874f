//! Who is behind the ports of bridges. No I/O, no clock.
//!
//! A bridge forgets whom it has not heard for five minutes, and would then send to all its ports. Weir sends past the
//! bridge, which hears little of a busy container then. So an address stays behind its port, whatever has been forgotten,
//! until it is heard elsewhere or the port leaves its bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Mac;
use crate::netlink::fdb::Entry;

/// How many addresses are kept of one port. Whoever is behind it can make up as many as it likes.
pub(super) const MOST_BEHIND: usize = 4_096;

/// How many are kept in all.
pub(super) const MOST: usize = 65_536;

/// An address of a bridge's link.
type Key = (u32, Mac);

/// Addresses by bridge, and by port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Behind {
    ports: BTreeMap<Key, u32>,
    keys: BTreeMap<u32, BTreeSet<Key>>,
}

impl Behind {
    /// The index of the port of a bridge that an address is behind.
    pub(super) fn port_of(&self, bridge: u32, mac: Mac) -> Option<u32> {
        self.ports.get(&(bridge, mac)).copied()
    }

    /// The addresses behind a port.
    pub(super) fn macs_of(&self, port: u32) -> impl Iterator<Item = Mac> {
        self.keys.get(&port).into_iter().flatten().map(|(_, mac)| *mac)
    }

    fn forget(&mut self, key: Key) {
        let Some(port) = self.ports.remove(&key) else { return };
        if let Some(keys) = self.keys.get_mut(&port) {
            keys.remove(&key);
            if keys.is_empty() {
                self.keys.remove(&port);
            }
        }
    }

    /// The port that has to lose an address when another one is learnt behind this one.
    fn loser(&self, port: u32) -> Option<u32> {
        if self.keys.get(&port).is_some_and(|keys| keys.len() >= MOST_BEHIND) {
            return Some(port);
        }
        let fullest = || self.keys.iter().max_by_key(|(_, keys)| keys.len()).map(|(port, _)| *port);
        if self.ports.len() >= MOST { fullest() } else { None }
    }
}

/// The same, as it is learnt. What is told of it is shared as long as nothing changes.
#[derive(Debug, Default)]
pub(super) struct Fdb {
    behind: Arc<Behind>,
}

impl Fdb {
    /// What is known.
    pub(super) fn behind(&self) -> &Arc<Behind> {
        &self.behind
    }

    /// Takes in that an address was heard behind a port. Returns whether that is new. When there is no room, the port that
    /// has the most loses an address for it.
    pub(super) fn learn(&mut self, Entry { bridge, port, mac }: Entry) -> bool {
        if self.behind.port_of(bridge, mac) == Some(port) {
            return false;
        }
        let behind = Arc::make_mut(&mut self.behind);
        behind.forget((bridge, mac));
        let loses = behind.loser(port).and_then(|loser| behind.keys.get(&loser)?.first().copied());
        if let Some(key) = loses {
            behind.forget(key);
        }
        behind.ports.insert((bridge, mac), port);
        behind.keys.entry(port).or_default().insert((bridge, mac));
        true
    }

    /// Forgets what is behind a port of other bridges than this. Returns whether there was anything.
    pub(super) fn keep(&mut self, port: u32, bridge: Option<u32>) -> bool {
        let keys = self.behind.keys.get(&port).into_iter().flatten();
        let gone: Vec<Key> = keys.filter(|(of, _)| Some(*of) != bridge).copied().collect();
        for key in &gone {
            Arc::make_mut(&mut self.behind).forget(*key);
        }
        !gone.is_empty()
    }

    /// The ports that anybody is known to be behind.
    pub(super) fn ports(&self) -> Vec<u32> {
        self.behind.keys.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        [2, 0, a, b, c, d]
    }

    fn entry(port: u32, n: u32) -> Entry {
        Entry { bridge: 1, port, mac: mac(n) }
    }

    #[test]
    fn an_address_is_where_it_was_heard_last() {
        let mut fdb = Fdb::default();
        assert!(fdb.learn(entry(5, 1)));
        assert!(!fdb.learn(entry(5, 1)), "nothing new");
        assert!(fdb.learn(Entry { bridge: 2, ..entry(7, 1) }), "of another bridge");
        assert!(fdb.learn(entry(6, 1)), "moved");
        let behind = fdb.behind();
        assert_eq!((behind.port_of(1, mac(1)), behind.port_of(2, mac(1))), (Some(6), Some(7)));
        assert_eq!([5, 6, 7].map(|port| behind.macs_of(port).count()), [0, 1, 1]);
        assert!(!fdb.keep(6, Some(1)) && !fdb.keep(8, None));
        assert!(fdb.keep(6, Some(2)), "the port is another bridge's now");
        assert_eq!(fdb.behind().port_of(1, mac(1)), None);
        assert_eq!((fdb.ports(), fdb.behind().ports.len()), (vec![7], 1));
        assert!(fdb.keep(7, None));
        assert_eq!(**fdb.behind(), Behind::default());
    }

    #[test]
    fn who_makes_up_addresses_loses_its_own() {
        let mut fdb = Fdb::default();
        assert!(fdb.learn(entry(4, 1)));
        for n in 0..3 * u32::try_from(MOST_BEHIND).unwrap() {
            fdb.learn(entry(5, 100 + n));
        }
        assert_eq!(fdb.behind().macs_of(5).count(), MOST_BEHIND);
        assert_eq!(fdb.behind().port_of(1, mac(1)), Some(4));
        // The newest one is known, too.
        assert!(fdb.behind().port_of(1, mac(99 + 3 * 4096)).is_some());
        for n in 0..u32::try_from(MOST).unwrap() {
            fdb.learn(entry(10 + n / 1_000, 1_000_000 + n));
        }
        assert_eq!(fdb.behind().ports.len(), MOST);
        assert_eq!(fdb.behind().ports.len(), fdb.behind().keys.values().map(BTreeSet::len).sum::<usize>());
        assert_eq!(fdb.behind().port_of(1, mac(1)), Some(4));
    }
}
