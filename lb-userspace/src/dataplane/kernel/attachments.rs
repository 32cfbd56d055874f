//! The programs on every configured device, as devices come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::attach::Target;
use super::pins::{Pins, await_gone};
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
    failed: BTreeMap<String, Failed>,
    object: Object,
    interfaces: Vec<Interface>,
    pins: Pins,
}

/// A device that could not be attached to.
#[derive(Debug)]
struct Failed {
    ifindex: u32,
    error: String,
    wait: Duration,
    retry_at: Instant,
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
        Self { live: live.collect(), received, failed: failed.collect(), object, interfaces, pins }
    }

    /// Keeps to another list of interfaces, once [`Self::follow`] is called.
    pub fn want(&mut self, interfaces: Vec<Interface>) {
        self.interfaces = interfaces;
    }

    /// Lets go of devices that are gone, or not wanted any more, or wanted otherwise; attaches to those that are there
    /// (again). A device that could not be attached to is tried again when it is due, or is another one.
    pub fn follow(&mut self, devices: &BTreeMap<u32, Device>, now: Instant) {
        let index = |name: &str| devices.iter().find(|(_, device)| device.name == name).map(|(&ifindex, _)| ifindex);
        self.let_go(index);
        for Interface { name, mode, .. } in self.interfaces.clone() {
            let Some(ifindex) = index(&name) else { continue };
            let waits = self.failed.get(&name).is_some_and(|failed| failed.ifindex == ifindex && now < failed.retry_at);
            if waits || self.live.contains_key(&name) {
                continue;
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
        self.failed.values().map(|failed| failed.retry_at).min()
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

    /// Every configured device, for a person.
    pub fn rows(&self) -> Vec<InterfaceRow> {
        let mode = |name: &String| match (self.live.get(name), self.failed.get(name)) {
            (Some((_, attachment)), _) => attachment.attached.name(),
            (None, Some(_)) => "failed",
            (None, None) => "absent",
        };
        let now = received();
        let since = |name: &String| {
            let (ifindex, _) = self.live.get(name)?;
            // Drivers may count from zero again when a device is set up anew.
            now.get(ifindex)?.checked_sub(*self.received.get(ifindex)?)
        };
        let rows = self.interfaces.iter().map(|Interface { name, .. }| (name, mode(name)));
        rows.map(|(name, mode)| InterfaceRow { name: name.clone(), mode: mode.to_owned(), received: since(name) })
            .collect()
    }

    /// What keeps it from being attached everywhere.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.interfaces.iter().filter_map(|Interface { name, .. }| match self.failed.get(name) {
            Some(failed) => Some(failed.error.clone()),
            None if self.live.contains_key(name) => None,
            None => Some(format!("there is no device {name} at the moment; Weir attaches when it appears")),
        })
    }

    /// Takes everything off: programs first, then the maps' pins, then the folder. Returns what it was, in words. The maps
    /// themselves go with whoever still has them open.
    ///
    /// # Errors
    /// Says what could not be taken away; what comes after it is still there.
    pub fn remove(self) -> Result<Vec<String>> {
        // Open descriptors would keep the links, and so the programs on their devices.
        drop((self.live, self.object));
        self.pins.remove()
    }
}

/// What devices have received, by index; nothing when the kernel does not say.
pub(super) fn received() -> BTreeMap<u32, u64> {
    netlink::received::received().unwrap_or_else(|error| {
        tracing::warn!(%error, "the kernel does not say what devices have received");
        BTreeMap::new()
    })
}

impl Failed {
    fn first(ifindex: u32, error: String, now: Instant) -> Self {
        Self { ifindex, error, wait: RETRY.0, retry_at: now + RETRY.0 }
    }

    fn again(&self, error: String, now: Instant) -> Self {
        let wait = (self.wait * 2).min(RETRY.1);
        Self { ifindex: self.ifindex, error, wait, retry_at: now + wait }
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
