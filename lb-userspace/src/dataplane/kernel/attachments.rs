//! The programs on every configured device, as devices come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::attach::Target;
use super::pins::{Hook, LinkName, Pins, await_gone};
use super::ports::{LOOPBACK, Ports};
use super::{Attached, Attachment, Object};
use crate::api::types::InterfaceRow;
use crate::config::Interface;
use crate::netlink;
use crate::nexthop::Device;

/// How long to wait after a device could not be attached to: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Keeps the programs on the configured devices, and their pins as they are. Dropping it leaves them all where they are;
/// [`Self::remove`] takes them off.
#[derive(Debug)]
pub struct Attachments {
    live: BTreeMap<String, (u32, Attachment)>,
    /// What devices had received when the programs came to them, by index; not of those that an earlier run attached to.
    received: BTreeMap<u32, u64>,
    ports: Ports,
    /// The configured interfaces that are bridges.
    bridges: BTreeSet<String>,
    failed: BTreeMap<String, Failed>,
    object: Object,
    interfaces: Vec<Interface>,
    pins: Pins,
}

/// A device that could not be attached to.
#[derive(Debug)]
pub(super) struct Failed {
    ifindex: u32,
    pub(super) error: String,
    wait: Duration,
    pub(super) retry_at: Instant,
}

impl Attachments {
    /// What a start has attached, and what it could not.
    pub(super) fn of(
        object: Object,
        pins: Pins,
        interfaces: Vec<Interface>,
        live: BTreeMap<String, Attachment>,
        failed: BTreeMap<String, String>,
        received: BTreeMap<u32, u64>,
        now: Instant,
    ) -> Self {
        let live = live.into_iter().map(|(name, attachment)| (name, (attachment.xdp.name.ifindex, attachment)));
        let failed = failed.into_iter().map(|(name, error)| (name, Failed::first(0, error, now)));
        let (ports, bridges) = (Ports::default(), BTreeSet::new());
        Self { live: live.collect(), received, ports, bridges, failed: failed.collect(), object, interfaces, pins }
    }

    /// Takes over what an earlier run has put on ports, and goes on from there.
    pub(super) fn adopt_ports(&mut self, ports: Ports, devices: &BTreeMap<u32, Device>, now: Instant) {
        self.ports = ports;
        self.follow_ports(devices, now);
    }

    /// Keeps to another list of interfaces, once [`Self::follow`] is called.
    pub fn want(&mut self, interfaces: Vec<Interface>) {
        self.interfaces = interfaces;
    }

    /// Keeps to the ports of these bridges, by name, once [`Self::follow`] is called: those that backends are behind, and those
    /// of containers' networks. Bridges that are configured as interfaces are kept to anyway.
    pub fn want_bridges(&mut self, bridges: BTreeSet<String>) {
        self.ports.want(bridges);
    }

    /// Lets go of devices that are gone, or not wanted any more, or wanted otherwise; attaches to those that are there
    /// (again). A device that could not be attached to is tried again when it is due, or is another one. The same for the
    /// ports of bridges.
    pub fn follow(&mut self, devices: &BTreeMap<u32, Device>, now: Instant) {
        // What XDP hands over is put where it goes by the tc program: that one comes first and goes last.
        self.let_go(|name| index(devices, name));
        self.follow_ports(devices, now);
        self.follow_interfaces(devices, now);
    }

    /// The ports of bridges, and what they need elsewhere.
    fn follow_ports(&mut self, devices: &BTreeMap<u32, Device>, now: Instant) {
        let is_bridge = |name: &String| devices.values().any(|device| device.name == *name && device.is_bridge());
        self.bridges = self.interfaces.iter().map(|one| &one.name).filter(|name| is_bridge(name)).cloned().collect();
        let attached = self.interfaces.iter().filter_map(|one| index(devices, &one.name)).collect();
        self.ports.follow((&mut self.object, &self.pins), devices, &attached, &self.bridges, now);
    }

    fn follow_interfaces(&mut self, devices: &BTreeMap<u32, Device>, now: Instant) {
        for Interface { name, mode, .. } in self.interfaces.clone() {
            let Some(ifindex) = index(devices, &name) else { continue };
            let waits = self.failed.get(&name).is_some_and(|failed| failed.ifindex == ifindex && now < failed.retry_at);
            if waits || self.live.contains_key(&name) {
                continue;
            }
            let egress = LinkName { hook: Hook::Egress, ifindex };
            if ifindex == LOOPBACK && self.ports.forget(egress) {
                // It comes with the XDP program now.
                self.pins.unpin(egress).unwrap_or_else(|error| tracing::error!(%error, "its pin stays behind"));
            }
            match Attachment::new(&mut self.object, &self.pins, Target { ifindex, device: &name, mode }) {
                Ok(attachment) => {
                    tracing::info!(device = %name, mode = attachment.attached.name(), "attached");
                    self.failed.remove(&name);
                    if let Some(received) = received().remove(&ifindex) {
                        self.received.insert(ifindex, received);
                    }
                    self.live.insert(name, (ifindex, attachment));
                }
                Err(error) => self.fail(name, ifindex, format!("{error:#}"), now),
            }
        }
    }

    fn let_go(&mut self, index: impl Fn(&str) -> Option<u32>) {
        let wanted: BTreeMap<&str, _> = self.interfaces.iter().map(|one| (one.name.as_str(), one.mode)).collect();
        self.failed.retain(|name, _| wanted.contains_key(name.as_str()) && index(name).is_some());
        let is_good = |name: &str, ifindex, attachment: &Attachment| {
            index(name) == Some(ifindex) && wanted.get(name).is_some_and(|&mode| attachment.attached.suits(mode))
        };
        let (good, other): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.live)
            .into_iter()
            .partition(|(name, (ifindex, attachment))| is_good(name, *ifindex, attachment));
        self.live = good;
        let live: BTreeSet<u32> = self.live.values().map(|(ifindex, _)| *ifindex).collect();
        self.received.retain(|ifindex, _| live.contains(ifindex));
        let mut links = Vec::new();
        for (name, (ifindex, attachment)) in other {
            tracing::info!(device = %name, ifindex, "the device is gone, or wanted otherwise: its programs go");
            links.extend(attachment.links());
            if let Err(error) = attachment.take_off(&self.pins) {
                tracing::error!(device = %name, error = format!("{error:#}"), "its pins stay behind");
            }
        }
        // The next program finds the place free.
        await_gone(&links);
    }

    fn fail(&mut self, name: String, ifindex: u32, error: String, now: Instant) {
        let failed = match self.failed.get(&name) {
            Some(before) if before.ifindex == ifindex => before.again(error, now),
            _ => Failed::first(ifindex, error, now),
        };
        tracing::error!(device = %name, error = failed.error, wait = ?failed.wait, "cannot attach; trying again");
        self.failed.insert(name, failed);
    }

    /// When to call [`Self::follow`] though no device has changed.
    pub fn retry_at(&self) -> Option<Instant> {
        self.failed.values().map(|failed| failed.retry_at).chain(self.ports.retry_at()).min()
    }

    /// Where the tc program for ingress is, by device index.
    pub fn ingress(&self) -> BTreeSet<u32> {
        self.ports.ingress()
    }

    /// The configured interfaces that are bridges.
    pub fn bridges(&self) -> &BTreeSet<String> {
        &self.bridges
    }

    /// Where the programs are, by device index.
    pub fn attached(&self) -> BTreeMap<u32, Attached> {
        self.live.values().map(|(ifindex, attachment)| (*ifindex, attachment.attached)).collect()
    }

    /// The devices whose peers have XDP programs, as the configuration says.
    pub fn peers_with_xdp(&self) -> BTreeSet<u32> {
        let named = self.interfaces.iter().filter(|interface| interface.peer_has_xdp);
        named.filter_map(|interface| self.live.get(&interface.name)).map(|(ifindex, _)| *ifindex).collect()
    }

    /// The ids of the links.
    #[cfg(test)]
    pub(super) fn links(&self) -> std::collections::BTreeSet<u32> {
        self.live.values().flat_map(|(_, attachment)| attachment.links()).map(|one| one.link).collect()
    }

    /// Every configured device, for a person, and the bridges whose ports Weir is attached to.
    pub fn rows(&self) -> Vec<InterfaceRow> {
        let mode = |name: &String| match (self.live.get(name), self.failed.get(name)) {
            (Some((_, attachment)), _) => attachment.attached.name().to_owned(),
            (None, Some(_)) => "failed".to_owned(),
            (None, None) => "absent".to_owned(),
        };
        let now = received();
        let since = |name: &String| {
            let (ifindex, _) = self.live.get(name)?;
            // Drivers may count from zero again when a device is set up anew.
            now.get(ifindex)?.checked_sub(*self.received.get(ifindex)?)
        };
        let devices = self.interfaces.iter().map(|one| &one.name).filter(|name| !self.bridges.contains(*name));
        let devices = devices.map(|name| InterfaceRow { name: name.clone(), mode: mode(name), received: since(name) });
        let bridges = self.ports.count().iter().map(|(name, ports)| InterfaceRow {
            name: name.clone(),
            mode: format!("bridge, {ports} port{}", if *ports == 1 { "" } else { "s" }),
            received: None,
        });
        devices.chain(bridges).collect()
    }

    /// What keeps it from being attached everywhere.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        let interfaces = self.interfaces.iter().filter_map(|Interface { name, .. }| match self.failed.get(name) {
            Some(failed) => Some(failed.error.clone()),
            None if self.live.contains_key(name) || self.bridges.contains(name) => None,
            None => Some(format!("there is no device {name} at the moment; Weir attaches when it appears")),
        });
        interfaces.chain(self.ports.problems())
    }

    /// Takes everything off: programs first, then the maps' pins, then the folder. Returns what it was, in words. The maps
    /// themselves go with whoever still has them open.
    ///
    /// # Errors
    /// Says what could not be taken away; what comes after it is still there.
    pub fn remove(self) -> Result<Vec<String>> {
        // Open descriptors would keep the links, and so the programs on their devices.
        drop((self.live, self.ports, self.object));
        self.pins.remove()
    }
}

/// The index of a device to attach to: of a bridge it is the ports.
fn index(devices: &BTreeMap<u32, Device>, name: &str) -> Option<u32> {
    let found = devices.iter().find(|(_, device)| device.name == name && !device.is_bridge());
    found.map(|(&ifindex, _)| ifindex)
}

/// What devices have received, by index; nothing when the kernel does not say.
pub(super) fn received() -> BTreeMap<u32, u64> {
    netlink::received::received().unwrap_or_else(|error| {
        tracing::warn!(%error, "the kernel does not say what devices have received");
        BTreeMap::new()
    })
}

impl Failed {
    pub(super) fn first(ifindex: u32, error: String, now: Instant) -> Self {
        Self { ifindex, error, wait: RETRY.0, retry_at: now + RETRY.0 }
    }

    pub(super) fn again(&self, error: String, now: Instant) -> Self {
        let wait = (self.wait * 2).min(RETRY.1);
        Self { ifindex: self.ifindex, error, wait, retry_at: now + wait }
    }

    /// Whether it was tried more than once.
    pub(super) fn has_failed_again(&self) -> bool {
        self.wait > RETRY.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        let now = Instant::now();
        let mut failed = Failed::first(7, "busy".to_owned(), now);
        let mut waits = vec![failed.wait.as_secs()];
        for _ in 0..7 {
            failed = failed.again("busy".to_owned(), now);
            waits.push(failed.wait.as_secs());
            assert_eq!(failed.retry_at, now + failed.wait);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
