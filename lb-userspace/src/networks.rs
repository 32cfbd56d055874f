//! Networks of containers: which bit each has in the packet path, and who is behind which port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_common::abi;

use crate::nexthop::{Mac, NextHops};
use crate::source::declared::{Allow, Declared};

/// The networks that have bits, and the ports of which it is known who is behind them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// By the network's id.
    bits: BTreeMap<String, u32>,
    /// What is declared, by registry.
    declared: BTreeMap<String, Arc<Declared>>,
    /// The port at which a container was first seen, by bridge and Ethernet address. It stays the container's as long as the
    /// port is there, and the port the container's: whoever sends from somebody else's Ethernet address does not get on its
    /// networks.
    bound: BTreeMap<(String, Mac), u32>,
    /// By device, what an earlier run had found, until a registry declares something: an engine that is away has nobody moved.
    held: BTreeMap<u32, u32>,
}

impl Networks {
    /// Those of an earlier run, by the rows it has left.
    pub fn of(devices: &BTreeMap<u32, abi::Device>) -> Self {
        let bits = |device: &abi::Device| device.networks & !abi::Networks::OUTSIDE;
        let held = devices.iter().map(|(&ifindex, device)| (ifindex, bits(device))).filter(|(_, bits)| *bits != 0);
        Self { held: held.collect(), ..Self::default() }
    }

    /// Whether this is what registries declared last, as far as can be told without looking through it.
    pub fn are(&self, declared: &BTreeMap<String, Arc<Declared>>) -> bool {
        self.declared.len() == declared.len()
            && self.declared.iter().zip(declared).all(|((one, a), (other, b))| one == other && Arc::ptr_eq(a, b))
    }

    /// Takes what registries declare now. A network keeps its bit for as long as it is there; a new one gets a free one. Says
    /// whether any has another one than before.
    pub fn declare(&mut self, declared: &BTreeMap<String, Arc<Declared>>) -> bool {
        let before = self.bits.clone();
        self.declared.clone_from(declared);
        self.held.clear();
        let all: BTreeSet<&str> =
            declared.values().flat_map(|one| &one.networks).map(|network| network.id.as_str()).collect();
        self.bits.retain(|id, _| all.contains(id.as_str()));
        for id in all {
            let taken: BTreeSet<u32> = self.bits.values().copied().collect();
            let free = abi::Networks::CONTAINERS.map(|bit| 1 << bit).find(|bit| !taken.contains(bit));
            if let (false, Some(bit)) = (self.bits.contains_key(id), free) {
                self.bits.insert(id.to_owned(), bit);
            }
        }
        self.bits != before
    }

    /// Networks that have no bit, and so may use nothing that is not for everybody, for a person.
    pub fn problems(&self) -> Option<String> {
        let without = self.all().filter(|network| !self.bits.contains_key(&network.id));
        let names: Vec<&str> = without.map(|network| network.name.as_str()).collect();
        let (first, count) = (names.first()?, names.len());
        Some(format!(
            "found {count} networks more than the {} that services can be told apart by, {first} among them, expected at most \
             these: who is on them reaches no service of containers; remove networks that are not used",
            abi::Networks::CONTAINERS.len()
        ))
    }

    fn all(&self) -> impl Iterator<Item = &crate::source::declared::ContainerNetwork> {
        self.declared.values().flat_map(|one| &one.networks)
    }

    /// The bits of those who may use a service.
    pub fn who_may(&self, allow: Option<&Allow>) -> u32 {
        let Some(allow) = allow else { return 0 };
        let networks = self.mask(allow.networks.iter());
        match networks | if allow.outside { abi::Networks::OUTSIDE } else { 0 } {
            0 => abi::Networks::NOBODY,
            some => some,
        }
    }

    fn mask<'a>(&self, ids: impl Iterator<Item = &'a String>) -> u32 {
        ids.filter_map(|id| self.bits.get(id)).fold(0, |mask, bit| mask | bit)
    }

    /// The networks' bridges, by their names.
    pub fn bridges(&self) -> BTreeSet<String> {
        self.all().filter_map(|network| network.bridge.clone()).collect()
    }

    /// By port, the bits of the networks that who is behind it is on: of its bridge's own, and of all others of the container.
    pub fn of_ports(&mut self, hops: &NextHops) -> BTreeMap<u32, u32> {
        let by_bridge: BTreeMap<&str, u32> = self
            .declared
            .values()
            .flat_map(|one| &one.networks)
            .filter_map(|network| Some((network.bridge.as_deref()?, *self.bits.get(&network.id)?)))
            .collect();
        let name = |ifindex: u32| hops.devices.get(&ifindex).map(|device| device.name.as_str());
        let mut ports = self.held.clone();
        ports.retain(|ifindex, _| hops.devices.contains_key(ifindex));
        let mut index: BTreeMap<&str, u32> = BTreeMap::new();
        for (&ifindex, device) in &hops.devices {
            if let Some(bits) = device.bridge.and_then(name).and_then(|bridge| by_bridge.get(bridge)) {
                ports.insert(ifindex, *bits);
            }
            index.insert(&device.name, ifindex);
        }
        let mut bound = BTreeMap::new();
        let mut taken = BTreeSet::new();
        // Those first that have a port already: nobody else is behind it.
        for is_new in [false, true] {
            for port in self.declared.values().flat_map(|one| &one.ports) {
                let Some(&bridge) = index.get(port.bridge.as_str()) else { continue };
                let key = (port.bridge.clone(), port.mac);
                let is_there = |at: &u32| hops.devices.get(at).is_some_and(|device| device.bridge == Some(bridge));
                let at = match self.bound.get(&key).copied().filter(is_there) {
                    Some(at) => (!is_new).then_some(at),
                    None if is_new => hops.port_of(bridge, port.mac).filter(|at| !taken.contains(at)),
                    None => None,
                };
                if let Some(at) = at {
                    *ports.entry(at).or_default() |= self.mask(port.networks.iter());
                    bound.insert(key, at);
                    taken.insert(at);
                }
            }
        }
        self.bound = bound;
        // An answer that goes into a bridge may be for anybody behind it: also for one who asked by another network of its own.
        for (&ifindex, device) in &hops.devices {
            let Some((bridge, bits)) = device.bridge.zip(ports.get(&ifindex).copied()) else { continue };
            *ports.entry(bridge).or_default() |= bits;
        }
        ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::declared::ContainerNetwork;

    fn network(id: &str) -> ContainerNetwork {
        ContainerNetwork { id: id.into(), name: id.into(), bridge: Some(format!("br-{id}")) }
    }

    fn declared(ids: &[&str]) -> BTreeMap<String, Arc<Declared>> {
        let networks = ids.iter().map(|id| network(id)).collect();
        [("docker".to_owned(), Arc::new(Declared { networks, ..Declared::default() }))].into()
    }

    fn allow(ids: &[&str], outside: bool) -> Allow {
        Allow { networks: Arc::new(ids.iter().map(|&id| id.to_owned()).collect()), outside }
    }

    #[test]
    fn a_network_keeps_its_bit() {
        let mut networks = Networks::default();
        networks.declare(&declared(&["b", "c"]));
        let b = networks.who_may(Some(&allow(&["b"], false)));
        networks.declare(&declared(&["a", "b"]));
        let a = networks.who_may(Some(&allow(&["a"], false)));
        assert_eq!(networks.who_may(Some(&allow(&["b"], false))), b);
        assert_eq!(a & b, 0);
        assert_eq!(networks.who_may(Some(&allow(&["a", "b"], true))), a | b | abi::Networks::OUTSIDE);
        assert_eq!(networks.who_may(Some(&allow(&["c"], false))), abi::Networks::NOBODY, "nobody is on it any more");
        assert_eq!(networks.who_may(None), 0, "everybody");
    }

    #[test]
    fn networks_beyond_the_last_bit_are_closed_and_named() {
        let names: Vec<String> = (0..40).map(|n| format!("n{n:02}")).collect();
        let ids: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut networks = Networks::default();
        networks.declare(&declared(&ids[..30]));
        assert_eq!(networks.problems(), None);
        networks.declare(&declared(&ids));
        assert_eq!(networks.who_may(Some(&allow(&["n39"], false))), abi::Networks::NOBODY);
        assert!(networks.problems().is_some_and(|said| said.contains("found 10 networks more")));
    }
}
