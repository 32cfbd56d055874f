//! The addresses whose next hops matter.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::vip::Vip;

/// The addresses of all services' backends, kept as services change.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    of: BTreeMap<Vip, Box<[IpAddr]>>,
    /// How many services need each.
    uses: BTreeMap<IpAddr, u32>,
    /// How often another set was needed.
    version: u64,
}

impl Addresses {
    /// Notes what a service needs.
    pub(super) fn set(&mut self, vip: Vip, addresses: impl Iterator<Item = IpAddr>) {
        let needed: BTreeSet<IpAddr> = addresses.collect();
        let needed: Box<[IpAddr]> = needed.into_iter().collect();
        if self.of.get(&vip) == Some(&needed) {
            return;
        }
        for address in &needed {
            *self.uses.entry(*address).or_insert_with(|| {
                self.version += 1;
                0
            }) += 1;
        }
        let before = self.of.insert(vip, needed);
        self.unuse(&before.unwrap_or_default());
    }

    /// How many services need any, or were noted to need none.
    pub(super) fn services(&self) -> usize {
        self.of.len()
    }

    /// Forgets services.
    pub(super) fn retain(&mut self, stays: impl Fn(&Vip) -> bool) {
        let mut gone = Vec::new();
        self.of.retain(|vip, addresses| {
            let stays = stays(vip);
            if !stays {
                gone.push(std::mem::take(addresses));
            }
            stays
        });
        gone.iter().for_each(|addresses| self.unuse(addresses));
    }

    fn unuse(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            if let Some(uses) = self.uses.get_mut(address) {
                *uses -= 1;
                if *uses == 0 {
                    self.uses.remove(address);
                    self.version += 1;
                }
            }
        }
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = IpAddr> {
        self.uses.keys().copied()
    }

    /// Another number when there are others.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vip::Protocol;

    #[test]
    fn an_address_stays_as_long_as_some_service_needs_it() {
        let vip = |port| Vip { address: IpAddr::from([192, 0, 2, 1]), port, protocol: Protocol::Tcp };
        let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut addresses = Addresses::default();
        addresses.set(vip(1), [ip(2), ip(1), ip(2)].into_iter());
        addresses.set(vip(2), [ip(2), ip(3)].into_iter());
        let version = addresses.version();
        addresses.set(vip(1), [ip(1), ip(2)].into_iter());
        assert_eq!(addresses.version(), version, "the same ones");
        addresses.set(vip(1), [ip(4)].into_iter());
        assert_eq!(addresses.all().collect::<Vec<_>>(), [ip(2), ip(3), ip(4)]);
        assert_ne!(addresses.version(), version);
        addresses.retain(|of| *of == vip(1));
        assert_eq!(addresses.all().collect::<Vec<_>>(), [ip(4)]);
    }
}
