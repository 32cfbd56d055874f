//! `PLACES` and `KNOWN`: what the packet path finds without a search, derived from `VIPS`, `ADDRESSES` and `ENDPOINTS`.
//!
//! An address is known before anything is found by it, and until nothing is any more; a service is at its place for no longer
//! than `VIPS` has it. So whoever dies between two writes leaves nothing wrong, only bits too many and places too few, and
//! the next controller derives both anew.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use lb_common::abi::{VipKey, map};
use lb_common::{Address, index};

use super::mapped::Mapped;
use super::{Capacity, Object};

/// The two arrays, and why each bit of `KNOWN` is set.
pub struct Index {
    places: Mapped<u64>,
    place_bits: u32,
    /// The services that share a place, with others or not: the first one has it.
    held: BTreeMap<u32, Vec<(VipKey, u32)>>,
    known: Mapped<u64>,
    known_bits: u32,
    /// How many keys of the maps need a bit, by its number.
    needed: HashMap<u32, u32>,
}

/// How many words `PLACES` has.
pub(super) const fn places(of: Capacity) -> u32 {
    1 << index::place_bits(of.services)
}

/// How many bits `KNOWN` has, as a power of two.
pub(super) const fn known_bits(of: Capacity) -> u32 {
    index::known_bits(of.backends.saturating_add(of.addresses).saturating_add(of.services))
}

/// How many words `KNOWN` has.
pub(super) const fn known_words(of: Capacity) -> u32 {
    (1 << known_bits(of)) / u64::BITS
}

impl Index {
    /// The arrays of a loaded object, as they are: see [`Self::derive`].
    ///
    /// # Errors
    /// When they are not there, or cannot be mapped into memory.
    pub fn new(object: &Object, capacity: Capacity) -> Result<Self> {
        let places = Mapped::new(object.array_fd(map::PLACES)?, places(capacity))?;
        let known = Mapped::new(object.array_fd(map::KNOWN)?, known_words(capacity))?;
        Ok(Self::of(places, known))
    }

    /// The same, of arrays whose lengths say how large they are.
    pub(super) fn of(places: Mapped<u64>, known: Mapped<u64>) -> Self {
        let (place_bits, known_bits) = (places.len().ilog2(), known.len().ilog2() + u64::BITS.ilog2());
        Self { places, place_bits, held: BTreeMap::new(), known, known_bits, needed: HashMap::new() }
    }

    /// Derives all of it from what is in the maps.
    ///
    /// # Errors
    /// When the arrays are smaller than the capacity says.
    pub fn derive(
        &mut self,
        vips: impl Iterator<Item = (VipKey, u32)>,
        addresses: impl Iterator<Item = Address>,
    ) -> Result<()> {
        for address in addresses {
            self.need(&address)?;
        }
        for (vip, id) in vips {
            self.need(&vip.address)?;
            self.put(&vip, id)?;
        }
        for word in 0..self.known.len() {
            let meant = (0..u64::BITS)
                .filter(|bit| self.needed.contains_key(&(word * u64::BITS + bit)))
                .fold(0, |meant, bit| meant | 1 << bit);
            if self.known.read(word)? != meant {
                self.known.store_u64(word, 0, meant)?;
            }
        }
        for place in 0..self.places.len() {
            if !self.held.contains_key(&place) && self.places.read(place)? != 0 {
                self.places.store_u64(place, 0, 0)?;
            }
        }
        Ok(())
    }

    /// From now on an address is known; once more for each key of the maps that has it.
    pub(super) fn need(&mut self, address: &Address) -> Result<()> {
        let (word, bit) = index::known(address, self.known_bits);
        let needed = self.needed.entry(word * u64::BITS + bit).or_default();
        *needed += 1;
        if *needed == 1 {
            self.known.set_bits(word, 1 << bit)?;
        }
        Ok(())
    }

    /// One key less has it.
    pub(super) fn need_not(&mut self, address: &Address) -> Result<()> {
        let (word, bit) = index::known(address, self.known_bits);
        let number = word * u64::BITS + bit;
        match self.needed.get_mut(&number) {
            Some(needed) if *needed > 1 => *needed -= 1,
            Some(_) => {
                self.needed.remove(&number);
                self.known.clear_bits(word, 1 << bit)?;
            }
            None => {}
        }
        Ok(())
    }

    /// Puts a service at its place, if nobody is there. `VIPS` has it already.
    pub(super) fn put(&mut self, vip: &VipKey, id: u32) -> Result<()> {
        let place = index::place(vip, self.place_bits);
        let held = self.held.entry(place).or_default();
        held.retain(|(known, _)| known != vip);
        held.push((*vip, id));
        self.write(place)
    }

    /// Takes a service from its place. `VIPS` still has it.
    pub(super) fn take(&mut self, vip: &VipKey) -> Result<()> {
        let place = index::place(vip, self.place_bits);
        if let Some(held) = self.held.get_mut(&place) {
            held.retain(|(known, _)| known != vip);
        }
        self.write(place)?;
        if self.held.get(&place).is_some_and(Vec::is_empty) {
            self.held.remove(&place);
        }
        Ok(())
    }

    fn write(&mut self, place: u32) -> Result<()> {
        let first = self.held.get(&place).and_then(|held| held.first());
        self.places.store_u64(place, 0, first.map_or(0, |(_, id)| u64::from(*id) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity::SMALL;

    fn index() -> (Object, Index) {
        let object = Object::load(CAPACITY, false).expect("these tests need root");
        let index = Index::new(&object, CAPACITY).expect("the maps");
        (object, index)
    }

    fn vip(port: u16) -> VipKey {
        VipKey::new(Address::from_v4([203, 0, 113, 10]), port.to_be_bytes(), 6)
    }

    fn known(index: &Index, address: &Address) -> bool {
        let (word, bit) = index::known(address, index.known_bits);
        index.known.read(word).expect("in bounds") >> bit & 1 != 0
    }

    #[test]
    fn of_services_that_meet_one_has_the_place_and_then_the_other() {
        let (_object, mut index) = index();
        let bits = index.place_bits;
        let place = index::place(&vip(80), bits);
        let other = (81..=u16::MAX).map(vip).find(|other| index::place(other, bits) == place).expect("ports enough");
        let at = |index: &Index| index.places.read(place).expect("in bounds");
        index.put(&vip(80), 7).unwrap();
        index.put(&other, 9).unwrap();
        assert_eq!(at(&index), 8, "who came first");
        index.put(&vip(80), 5).unwrap();
        assert!([6, 10].contains(&at(&index)), "another id");
        index.take(&vip(80)).unwrap();
        assert_eq!(at(&index), 10, "who is left");
        index.take(&other).unwrap();
        index.take(&other).unwrap();
        assert_eq!(at(&index), 0, "nobody");
    }

    #[test]
    fn an_address_is_known_for_as_long_as_a_key_has_it() {
        let (_object, mut index) = index();
        let address = Address::from_v4([10, 0, 0, 1]);
        assert!(!known(&index, &address));
        index.need(&address).unwrap();
        index.need(&address).unwrap();
        index.need_not(&address).unwrap();
        assert!(known(&index, &address), "of two keys one is left");
        index.need_not(&address).unwrap();
        assert!(!known(&index, &address));
        index.need_not(&address).unwrap();
        assert!(!known(&index, &address), "once more does no harm");
    }

    #[test]
    fn what_a_dead_controller_left_is_derived_anew() {
        let (object, mut index) = index();
        let gone = Address::from_v4([10, 0, 0, 9]);
        index.need(&gone).unwrap();
        index.put(&vip(81), 3).unwrap();
        let mut next = Index::new(&object, CAPACITY).unwrap();
        let stays = Address::from_v4([10, 0, 0, 1]);
        next.derive([(vip(80), 1)].into_iter(), [stays].into_iter()).unwrap();
        assert!(!known(&next, &gone) && known(&next, &stays) && known(&next, &vip(80).address));
        assert_eq!(next.places.read(index::place(&vip(81), next.place_bits)).unwrap(), 0);
        assert_eq!(next.places.read(index::place(&vip(80), next.place_bits)).unwrap(), 2);
    }
}
