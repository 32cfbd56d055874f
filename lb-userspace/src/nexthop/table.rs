//! What is known of routes, neighbours and devices, and the next hops that follow from it. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use lb_common::abi::Tags;

use super::fdb::Fdb;
use super::search::{Came, Due, Entry};
use super::{Device, Frame, Hop, Mac, NextHops, Port, Reached, StackReason};
use crate::netlink::fdb;
use crate::netlink::link::Link;
use crate::netlink::neighbour::{Key, Neighbour};
use crate::netlink::netdev::{XDP_NDO_XMIT, XDP_NDO_XMIT_SG};
use crate::netlink::route::{Lookup, Path};

/// How many neighbours the kernel is asked to resolve or confirm at once. Each may send a frame.
pub(super) const MAX_USES: usize = 512;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Table {
    routes: BTreeMap<IpAddr, Option<Lookup>>,
    /// The addresses whose route has to be looked up (again).
    outdated: BTreeSet<IpAddr>,
    neighbours: BTreeMap<Key, Entry>,
    links: BTreeMap<u32, Link>,
    fdb: Fdb,
    /// Drivers' XDP features by device; `None` when the kernel does not know such a thing.
    features: Option<BTreeMap<u32, u64>>,
}

impl Table {
    /// Replaces the addresses of interest.
    pub(super) fn follow(&mut self, addresses: &BTreeSet<IpAddr>) {
        let held: BTreeSet<IpAddr> = self.routes.keys().copied().collect();
        for address in held.difference(addresses) {
            self.routes.remove(address);
            self.outdated.remove(address);
        }
        for address in addresses.difference(&held) {
            self.routes.insert(*address, None);
            self.outdated.insert(*address);
        }
        self.forget_unused();
    }

    /// Any route may have changed.
    pub(super) fn outdate_all(&mut self) {
        self.outdated.extend(self.routes.keys());
    }

    /// A route to these addresses changed. Returns whether any of them is followed.
    pub(super) fn outdate(&mut self, first: IpAddr, last: IpAddr) -> bool {
        let before = self.outdated.len();
        self.outdated.extend(self.routes.range(first..=last).map(|(address, _)| *address));
        self.outdated.len() > before
    }

    /// The addresses whose route has to be looked up.
    pub(super) fn outdated(&self) -> Vec<IpAddr> {
        self.outdated.iter().copied().collect()
    }

    /// Takes the kernel's answer; an address that got none stays outdated.
    pub(super) fn set_route(&mut self, address: IpAddr, lookup: Option<Lookup>) {
        if let (Some(lookup), Some(route)) = (lookup, self.routes.get_mut(&address)) {
            *route = Some(lookup);
            self.outdated.remove(&address);
        }
    }

    /// Drops neighbours that no route uses any more, takes in those that one does now, and returns those the kernel
    /// has to be asked about.
    pub(super) fn unknown_neighbours(&mut self) -> Vec<Key> {
        self.forget_unused();
        self.neighbours.iter().filter(|(_, entry)| !entry.asked).map(|(key, _)| *key).collect()
    }

    fn forget_unused(&mut self) {
        let wanted: BTreeSet<Key> =
            self.routes.iter().filter_map(|(address, lookup)| self.key_of(*address, lookup.as_ref()?)).collect();
        self.neighbours.retain(|key, _| wanted.contains(key));
        for key in wanted {
            self.neighbours.entry(key).or_default();
        }
    }

    /// The neighbour that an address is reached by: on Ethernet devices, the router or the address itself.
    fn key_of(&self, address: IpAddr, lookup: &Lookup) -> Option<Key> {
        let Lookup::Path(path) = lookup else { return None };
        let link = self.links.get(&path.ifindex)?;
        (link.ethernet.is_some() && !path.encapsulates)
            .then(|| Key { ifindex: path.ifindex, address: path.gateway.unwrap_or(address) })
    }

    /// Every neighbour has to be asked about again.
    pub(super) fn doubt_neighbours(&mut self) {
        for entry in self.neighbours.values_mut() {
            entry.asked = false;
        }
    }

    /// Takes what the kernel says of a neighbour, in an answer or an event. Returns whether that matters.
    pub(super) fn set_neighbour(&mut self, key: Key, neighbour: Option<Neighbour>) -> bool {
        let Some(entry) = self.neighbours.get_mut(&key) else { return false };
        entry.set(neighbour)
    }

    /// The neighbours that the kernel should be asked to resolve or confirm now, longest waiting first, and marks
    /// them asked.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        let mut due: Vec<_> = self.neighbours.iter_mut().filter(|(_, entry)| entry.is_due(now)).collect();
        due.sort_by_key(|(_, entry)| entry.used);
        due.truncate(MAX_USES);
        due.into_iter().map(|(key, entry)| Due { key: *key, anew: entry.ask(now) }).collect()
    }

    /// These were not asked about after all.
    pub(super) fn not_asked(&mut self, due: &[Due]) {
        for due in due {
            if let Some(entry) = self.neighbours.get_mut(&due.key) {
                entry.not_asked(due.anew);
            }
        }
    }

    /// Takes a full list of devices.
    pub(super) fn set_links(&mut self, links: impl IntoIterator<Item = Link>) {
        let links: BTreeMap<u32, Link> = links.into_iter().map(|link| (link.ifindex, link)).collect();
        if self.links != links {
            let before = std::mem::replace(&mut self.links, links);
            let changed: Vec<(u32, Came)> =
                self.links.values().map(|link| (link.ifindex, Came::of(before.get(&link.ifindex), link))).collect();
            changed.into_iter().for_each(|(ifindex, came)| self.search_anew(ifindex, came));
            self.outdate_all();
            for port in self.fdb.ports() {
                self.fdb.keep(port, self.links.get(&port).and_then(|link| link.controller));
            }
        }
    }

    /// Takes an event about a device. The kernel drops and revives routes with their device without a word, so a
    /// change that may have done that outdates all of them. Returns whether anything changed.
    pub(super) fn set_link(&mut self, link: Link) -> bool {
        let before = self.links.get(&link.ifindex);
        let changed = before != Some(&link);
        if changed {
            let (ifindex, came) = (link.ifindex, Came::of(before, &link));
            self.fdb.keep(ifindex, link.controller);
            self.links.insert(ifindex, link);
            self.search_anew(ifindex, came);
            self.outdate_all();
        }
        changed
    }

    /// Whoever did not answer at a device may do so now that it, or a port of the bridge that it is, came up. Waiting for the
    /// next turn would take seconds, and what was sent before is lost.
    fn search_anew(&mut self, ifindex: u32, came: Came) {
        let own = came.up.then_some(ifindex);
        for below in own.into_iter().chain(came.below) {
            // VLAN devices keep their carrier while one port of the bridge below them comes and goes.
            let above = |link: &Link| link.tag.is_some() && !link.elsewhere && link.lower == Some(below);
            let vlans: Vec<u32> = self.links.values().filter(|link| above(link)).map(|link| link.ifindex).collect();
            for ifindex in std::iter::once(below).chain(vlans) {
                let (first, last) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::from(u128::MAX).into());
                let all = Key { ifindex, address: first }..=Key { ifindex, address: last };
                let unresolved = self.neighbours.range_mut(all).filter(|(_, entry)| entry.usable().is_none());
                unresolved.for_each(|(_, entry)| entry.anew = true);
            }
        }
    }

    /// Takes the event that a device is gone.
    pub(super) fn remove_link(&mut self, ifindex: u32) -> bool {
        if let Some(features) = &mut self.features {
            features.remove(&ifindex);
        }
        self.fdb.keep(ifindex, None);
        let known = self.links.remove(&ifindex).is_some();
        if known {
            self.outdate_all();
        }
        known
    }

    /// Takes in that a bridge heard an address behind a port. Returns whether that is new. That the bridge forgets it again
    /// says nothing: see [`Fdb`].
    pub(super) fn learn(&mut self, entry: fdb::Entry) -> bool {
        self.fdb.learn(entry)
    }

    /// The port of a bridge that an address is behind, and the largest layer-3 packet it takes.
    fn port(&self, bridge: &Device, ifindex: u32, mac: Mac) -> Option<(Port, u32)> {
        if !bridge.is_bridge() {
            return None;
        }
        let port = self.links.get(&self.fdb.behind().port_of(ifindex, mac)?)?;
        (port.controller == Some(ifindex))
            .then(|| (Port { ifindex: port.ifindex, peer: port.has_peer_elsewhere() }, port.mtu))
    }

    /// Takes a full list of drivers' XDP features, or that the kernel has none to give.
    pub(super) fn set_all_features(&mut self, features: Option<BTreeMap<u32, u64>>) {
        self.features = features;
    }

    /// Takes one device's XDP features. Returns whether they are new.
    pub(super) fn set_features(&mut self, ifindex: u32, xdp: Option<u64>) -> bool {
        let Some(features) = &mut self.features else { return false };
        match xdp {
            Some(xdp) => features.insert(ifindex, xdp) != Some(xdp),
            None => features.remove(&ifindex).is_some(),
        }
    }

    /// The device that frames for a device are sent from, and the tags that they get: for a VLAN device those of the
    /// one it stands on, where that is in this namespace and two tags are enough.
    fn below(&self, link: &Link) -> Option<(&Link, Tags)> {
        let (mut below, mut tags) = (self.links.get(&link.ifindex)?, Tags::NONE);
        while let Some(tag) = below.tag {
            // The tag of the device below is the outer one.
            tags = match tags {
                Tags([0, _]) => Tags([tag, 0]),
                Tags([inner, 0]) => Tags([tag, inner]),
                Tags(_) => return None,
            };
            below = below.lower.filter(|_| !below.elsewhere).and_then(|index| self.links.get(&index))?;
        }
        Some((below, tags))
    }

    /// Whether a device's driver takes frames of several buffers.
    fn can_scatter(&self, ifindex: u32) -> bool {
        self.features.as_ref().and_then(|features| features.get(&ifindex)).is_some_and(|xdp| xdp & XDP_NDO_XMIT_SG != 0)
    }

    fn can_transmit(&self, link: &Link) -> bool {
        if link.ethernet.is_none() {
            return false;
        }
        match &self.features {
            Some(features) => features.get(&link.ifindex).is_some_and(|xdp| xdp & XDP_NDO_XMIT != 0),
            None => matches!(link.kind.as_deref(), None | Some("veth" | "bond")),
        }
    }

    /// What follows; what is as it was `before` is shared with that.
    pub(super) fn next_hops(&self, before: &NextHops) -> NextHops {
        let devices = self
            .links
            .iter()
            .map(|(ifindex, link)| {
                // Into a VLAN device whose ground is not seen no driver takes frames.
                let (below, tags) = self.below(link).unwrap_or((link, Tags::NONE));
                let device = Device {
                    name: link.name.clone(),
                    can_transmit: link.ethernet.is_some() && self.can_transmit(below),
                    can_scatter: self.can_scatter(below.ifindex),
                    link: below.ifindex,
                    tags,
                    mtu: link.mtu,
                    ethernet: link.ethernet,
                    kind: link.kind.clone(),
                    is_up: link.is_up(),
                    bridge: link.controller.filter(|controller| {
                        self.links
                            .get(controller)
                            .is_some_and(|controller| controller.kind.as_deref() == Some("bridge"))
                    }),
                    has_peer_elsewhere: link.has_peer_elsewhere(),
                };
                (*ifindex, device)
            })
            .collect();
        // What routers lead to: it is the same for all that is behind them.
        let mut behind: HashMap<Path, Arc<Reached>> = HashMap::new();
        let mut all = Vec::with_capacity(self.routes.len());
        for (address, lookup) in &self.routes {
            let reached = match lookup {
                None => continue,
                Some(Lookup::NoRoute) => Reached::by(Hop::Stack(StackReason::NoRoute)),
                Some(Lookup::Local) => Reached::by(Hop::Stack(StackReason::Local)),
                Some(lookup @ Lookup::Path(path)) => {
                    if let Some(known) = behind.get(path) {
                        all.push((*address, Arc::clone(known)));
                        continue;
                    }
                    self.reached(*address, lookup, path, &devices)
                }
            };
            let known = before.shared(address).filter(|known| ***known == reached);
            let reached = known.map_or_else(|| Arc::new(reached), Arc::clone);
            if let Some(Lookup::Path(path)) = lookup
                && path.gateway.is_some()
            {
                behind.insert(*path, Arc::clone(&reached));
            }
            all.push((*address, reached));
        }
        NextHops::new(devices, all, Arc::clone(self.fdb.behind()))
    }

    /// How an address is reached that has a route.
    fn reached(&self, address: IpAddr, lookup: &Lookup, path: &Path, devices: &BTreeMap<u32, Device>) -> Reached {
        // A route over a device that is not there was overtaken by events: the lookup after them will tell.
        let Some(device) = devices.get(&path.ifindex) else { return Reached::by(Hop::Stack(StackReason::NoRoute)) };
        let frame = device.ethernet.and_then(|source| {
            let destination = self.neighbours.get(&self.key_of(address, lookup)?)?.neighbour?.usable()?;
            let mtu = path.mtu.unwrap_or(device.mtu);
            let port = self.port(device, path.ifindex, destination);
            let mtu = port.map_or(mtu, |(_, most)| mtu.min(most));
            let port = port.map(|(port, _)| port);
            Some(Frame { ifindex: device.link, tags: device.tags, source, destination, mtu, port })
        });
        let hop = match frame {
            _ if !device.can_transmit || path.encapsulates => {
                Hop::Stack(StackReason::CannotTransmit { device: device.name.clone() })
            }
            None => Hop::Stack(StackReason::Unresolved),
            Some(Frame { ifindex, tags, source, destination, mtu, port: _ }) => {
                Hop::Device { ifindex, tags, source, destination, mtu }
            }
        };
        Reached { hop, via: Some(path.ifindex), routed: path.gateway.is_some(), source: path.source, frame }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
