//! The tc programs that bridges need: on their ports, where containers' packets are seen before the stack's firewall; on the
//! ingress of attached devices, where what XDP hands over is put at a port; on the loopback device, where the host's own
//! requests to its own addresses are seen; on bridges, where what is sent to containers past every service is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Object;
use super::attach::attach_tc;
use super::attachments::Failed;
use super::pins::{Hook, LinkName, PinnedProgram, Pins};
use crate::nexthop::Device;

/// The index of the loopback device, in every network namespace (`LOOPBACK_IFINDEX` of net/flow.h).
pub(super) const LOOPBACK: u32 = 1;

/// How long a program stays where it is no longer wanted: routes come back, and a start learns by and by what it wants.
const GRACE: Duration = Duration::from_secs(60);

/// How many devices are attached to at once. Each takes the kernel a moment in which whoever asks waits (`tcx_entry_sync` of
/// net/core: it waits until no packet is under way in the old list of programs).
const AT_ONCE: usize = 8;

/// How many problems are told one by one.
const TOLD: usize = 3;

/// Keeps the programs on ports as they come and go, and their pins. Dropping it leaves them all where they are.
///
/// No descriptor of a link is kept: there may be thousands, and the pin holds it.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// The links that are pinned, and since when nobody wants them.
    live: BTreeMap<LinkName, Option<Instant>>,
    failed: BTreeMap<LinkName, Failed>,
    /// The names of the bridges whose ports get the program.
    bridges: BTreeSet<String>,
    /// How many ports those have that are there.
    count: BTreeMap<String, usize>,
    /// When to go on with those that were too many at once.
    more: Option<Instant>,
}

impl Ports {
    /// What a start took over from an earlier run.
    pub(super) fn of(adopted: impl IntoIterator<Item = PinnedProgram>) -> Self {
        Self { live: adopted.into_iter().map(|link| (link.name, None)).collect(), ..Self::default() }
    }

    /// Keeps to these bridges, once [`Self::follow`] is called.
    pub(super) fn want(&mut self, bridges: BTreeSet<String>) {
        self.bridges = bridges;
    }

    /// Lets go of devices that are gone; attaches where a program is wanted and not yet. `attached` are the devices that Weir
    /// is attached to, or will be next; `named` the bridges among the configured interfaces, whose ports are wanted in any case.
    pub(super) fn follow(
        &mut self,
        (object, pins): (&mut Object, &Pins),
        devices: &BTreeMap<u32, Device>,
        attached: &BTreeSet<u32>,
        named: &BTreeSet<String>,
        now: Instant,
    ) {
        let wanted = self.wanted(devices, attached, named);
        self.let_go(pins, devices, attached, &wanted, now);
        let mut left = AT_ONCE;
        self.more = None;
        // Devices that XDP hands packets over by come first.
        let (first, rest): (Vec<LinkName>, Vec<LinkName>) =
            wanted.into_iter().partition(|name| attached.contains(&name.ifindex));
        for name in first.into_iter().chain(rest) {
            let waits = self.failed.get(&name).is_some_and(|failed| now < failed.retry_at);
            let Some(device) = devices.get(&name.ifindex).filter(|_| !waits && !self.live.contains_key(&name)) else {
                continue;
            };
            if left == 0 {
                self.more = Some(now);
                break;
            }
            left -= 1;
            match attach_tc(object, pins, name, &device.name) {
                Ok(_) => {
                    tracing::info!(device = device.name, link = %name, "attached");
                    self.failed.remove(&name);
                    self.live.insert(name, None);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    let failed = match self.failed.get(&name) {
                        Some(before) => {
                            tracing::error!(device = device.name, error, "cannot attach; trying again");
                            before.again(error, now)
                        }
                        None => {
                            // A container that was quick to go, most likely: the kernel tells so next.
                            tracing::debug!(device = device.name, error, "cannot attach; trying again");
                            Failed::first(name.ifindex, error, now)
                        }
                    };
                    self.failed.insert(name, failed);
                }
            }
        }
    }

    /// The programs that are wanted, and counts the ports.
    fn wanted(
        &mut self,
        devices: &BTreeMap<u32, Device>,
        attached: &BTreeSet<u32>,
        named: &BTreeSet<String>,
    ) -> BTreeSet<LinkName> {
        let is_wanted = |device: &Device| {
            device.is_bridge() && (self.bridges.contains(&device.name) || named.contains(&device.name))
        };
        let bridges = devices.iter().filter(|(_, device)| is_wanted(device));
        let bridges: BTreeMap<u32, &str> = bridges.map(|(&ifindex, device)| (ifindex, device.name.as_str())).collect();
        self.count = bridges.values().map(|&name| (name.to_owned(), 0)).collect();
        let mut wanted = BTreeSet::new();
        if bridges.is_empty() {
            return wanted;
        }
        for (&ifindex, device) in devices {
            if let Some(&bridge) = device.bridge.and_then(|bridge| bridges.get(&bridge)) {
                *self.count.entry(bridge.to_owned()).or_default() += 1;
                wanted.insert(LinkName { hook: Hook::Ingress, ifindex });
            }
        }
        wanted.extend(attached.iter().map(|&ifindex| LinkName { hook: Hook::Ingress, ifindex }));
        // What this host sends to containers past every service is seen on their bridges.
        let own = devices.contains_key(&LOOPBACK).then_some(LOOPBACK);
        let egress = bridges.keys().copied().chain(own).filter(|ifindex| !attached.contains(ifindex));
        wanted.extend(egress.map(|ifindex| LinkName { hook: Hook::Egress, ifindex }));
        wanted
    }

    fn let_go(
        &mut self,
        pins: &Pins,
        devices: &BTreeMap<u32, Device>,
        attached: &BTreeSet<u32>,
        wanted: &BTreeSet<LinkName>,
        now: Instant,
    ) {
        self.failed.retain(|name, _| wanted.contains(name));
        // A program that is not wanted for the moment waits where it may be again.
        let may_wait = |ifindex: u32| match devices.get(&ifindex) {
            Some(device) => {
                device.bridge.is_some() || device.is_bridge() || attached.contains(&ifindex) || ifindex == LOOPBACK
            }
            None => false,
        };
        self.live.retain(|&name, unwanted| {
            if wanted.contains(&name) {
                *unwanted = None;
                return true;
            }
            let since = *unwanted.get_or_insert(now);
            if may_wait(name.ifindex) && now < since + GRACE {
                return true;
            }
            let why =
                if devices.contains_key(&name.ifindex) { "it is not needed any more" } else { "its device is gone" };
            tracing::info!(link = %name, why, "the program goes");
            if let Err(error) = pins.unpin(name) {
                tracing::error!(link = %name, error = format!("{error:#}"), "its pin stays behind");
            }
            false
        });
    }

    /// Forgets a program that is taken off by somebody else.
    pub(super) fn forget(&mut self, name: LinkName) -> bool {
        self.live.remove(&name).is_some()
    }

    /// When to call [`Self::follow`] though no device has changed.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        let let_go = self.live.values().flatten().map(|since| *since + GRACE);
        self.failed.values().map(|failed| failed.retry_at).chain(let_go).chain(self.more).min()
    }

    /// Where the program for ingress is.
    pub(super) fn ingress(&self) -> BTreeSet<u32> {
        self.live.keys().filter(|name| name.hook == Hook::Ingress).map(|name| name.ifindex).collect()
    }

    /// The bridges whose ports are followed, and how many each has.
    pub(super) fn count(&self) -> &BTreeMap<String, usize> {
        &self.count
    }

    /// What keeps it from being attached everywhere: not what failed once.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        let lasting: Vec<&Failed> = self.failed.values().filter(|failed| failed.has_failed_again()).collect();
        let more = lasting.len().saturating_sub(TOLD);
        let more = (more > 0).then(|| format!("Weir cannot attach to {more} more ports of bridges"));
        lasting.into_iter().take(TOLD).map(|failed| failed.error.clone()).chain(more)
    }
}
