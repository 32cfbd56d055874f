//! How each address is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::fdb::Behind;
use super::{Device, Frame, Hop, Mac};

/// How an address is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The next hop.
    pub hop: Hop,
    /// The index of the device by which it is reached, where there is a route.
    pub via: Option<u32>,
    /// Whether it is behind a router, and not on the link.
    pub routed: bool,
    /// The address that packets of this host's own to it come from.
    pub source: Option<IpAddr>,
    /// The frame for it when its neighbour is known on an Ethernet device, also where the driver cannot transmit from XDP:
    /// what a program in generic (skb) mode may redirect.
    pub frame: Option<Frame>,
}

impl Reached {
    /// By this next hop, and nothing else is known.
    pub const fn by(hop: Hop) -> Self {
        Self { hop, via: None, routed: false, source: None, frame: None }
    }
}

/// What the kernel says at one moment about the addresses that are followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NextHops {
    /// Every followed address once it was looked up, in order. Those behind one router share what is said of them: there
    /// may be a hundred thousand.
    reached: Vec<(IpAddr, Arc<Reached>)>,
    /// Every device of the network namespace, by index.
    pub devices: BTreeMap<u32, Device>,
    behind: Arc<Behind>,
}

impl NextHops {
    /// Addresses, in order and each once, and how they are reached.
    pub(super) fn new(
        devices: BTreeMap<u32, Device>,
        mut reached: Vec<(IpAddr, Arc<Reached>)>,
        behind: Arc<Behind>,
    ) -> Self {
        reached.shrink_to_fit();
        Self { reached, devices, behind }
    }

    /// The index of the port of a bridge that an Ethernet address is behind, if the bridge has heard it.
    pub fn port_of(&self, bridge: u32, mac: Mac) -> Option<u32> {
        self.behind.port_of(bridge, mac)
    }

    /// The Ethernet addresses that have been heard behind a port of a bridge, in order.
    pub fn macs_of(&self, port: u32) -> impl Iterator<Item = Mac> {
        self.behind.macs_of(port)
    }

    /// The indices of the devices with these names.
    pub fn named(&self, names: &BTreeSet<String>) -> BTreeSet<u32> {
        self.devices.iter().filter(|(_, device)| names.contains(&device.name)).map(|(ifindex, _)| *ifindex).collect()
    }

    /// The indices of the bridges by which followed addresses are reached.
    pub fn bridges(&self) -> BTreeSet<u32> {
        let is_bridge = |ifindex: &u32| self.devices.get(ifindex).is_some_and(Device::is_bridge);
        self.reached.iter().filter_map(|(_, reached)| reached.via).filter(is_bridge).collect()
    }

    /// How an address is reached, if it is followed and was looked up.
    pub fn get(&self, address: &IpAddr) -> Option<&Reached> {
        self.shared(address).map(|reached| &**reached)
    }

    pub(super) fn shared(&self, address: &IpAddr) -> Option<&Arc<Reached>> {
        let at = self.reached.binary_search_by_key(address, |(one, _)| *one).ok()?;
        Some(&self.reached[at].1)
    }

    /// Its next hop.
    pub fn hop(&self, address: &IpAddr) -> Option<&Hop> {
        self.get(address).map(|reached| &reached.hop)
    }

    /// The frame for it.
    pub fn frame(&self, address: &IpAddr) -> Option<&Frame> {
        self.get(address)?.frame.as_ref()
    }

    /// The name of the device by which it is reached.
    pub fn via(&self, address: &IpAddr) -> Option<&str> {
        let via = self.get(address)?.via?;
        self.devices.get(&via).map(|device| device.name.as_str())
    }

    /// Whether it has a route, and is behind a router.
    pub fn is_routed(&self, address: &IpAddr) -> bool {
        self.get(address).is_some_and(|reached| reached.routed)
    }

    /// The address that packets of this host's own to it come from.
    pub fn source(&self, address: &IpAddr) -> Option<IpAddr> {
        self.get(address)?.source
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&IpAddr, &Reached)> {
        self.reached.iter().map(|(address, reached)| (address, &**reached))
    }

    /// Says how an address is reached.
    pub fn set(&mut self, address: IpAddr, reached: Reached) {
        match self.reached.binary_search_by_key(&address, |(one, _)| *one) {
            Ok(at) => self.reached[at].1 = Arc::new(reached),
            Err(at) => self.reached.insert(at, (address, Arc::new(reached))),
        }
    }

    /// The addresses of which the one says something else than the other.
    pub fn unlike<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = IpAddr> + 'a {
        let (mut ones, mut others) = (self.reached.iter().peekable(), other.reached.iter().peekable());
        std::iter::from_fn(move || {
            loop {
                let order = match (ones.peek(), others.peek()) {
                    (None, None) => return None,
                    (Some(_), None) => std::cmp::Ordering::Less,
                    (None, Some(_)) => std::cmp::Ordering::Greater,
                    (Some((one, _)), Some((other, _))) => one.cmp(other),
                };
                let one = if order.is_le() { ones.next() } else { None };
                let other = if order.is_ge() { others.next() } else { None };
                // What is shared is known to be the same without a look.
                if one != other {
                    return one.or(other).map(|(address, _)| *address);
                }
            }
        })
    }
}
