//! Clients whose neighbour the kernel did not know when a reply was on its way to them.
//!
//! Backends are few and followed as long as they are known. Clients are many: one is followed for a while after the
//! packet path has asked for it, which has its neighbour found and kept fresh, and is then left to ask again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many are followed at a time; who asks beyond that asks in vain until others have had their time.
const MOST: usize = 1_024;

/// How long one is followed. As long as the kernel lets an unused neighbour be (gc_stale_time), so that by then its
/// entry is as good as new.
const WHILE: Duration = Duration::from_secs(60);

/// The clients that are followed at the moment.
#[derive(Debug, Default)]
pub struct Clients {
    until: BTreeMap<IpAddr, Instant>,
}

impl Clients {
    /// Follows these from now on for a while.
    pub fn ask(&mut self, addresses: impl IntoIterator<Item = IpAddr>, now: Instant) {
        for address in addresses {
            if self.until.len() < MOST || self.until.contains_key(&address) {
                self.until.insert(address, now + WHILE);
            }
        }
    }

    /// Lets go of those that had their time.
    pub fn expire(&mut self, now: Instant) {
        self.until.retain(|_, until| *until > now);
    }

    /// When [`Self::expire`] has something to do.
    pub fn until(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }

    /// Those that are followed.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.until.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_time_and_there_is_a_bound() {
        let (mut clients, now) = (Clients::default(), Instant::now());
        clients.ask((0..5_000).map(|n: u32| IpAddr::from(n.to_be_bytes())), now);
        assert_eq!(clients.addresses().count(), MOST);
        clients.expire(now + WHILE - Duration::from_millis(1));
        assert_eq!(clients.addresses().count(), MOST);
        let first = clients.addresses().next().unwrap();
        clients.ask([first], now + WHILE / 2);
        clients.expire(now + WHILE);
        assert_eq!(clients.addresses().collect::<Vec<_>>(), [first]);
        assert_eq!(clients.until(), Some(now + WHILE + WHILE / 2));
    }
}
