//! What the packet path stands on in the kernel: the programs on devices, and the queues of those that replies leave by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::controller::Controller;
use crate::dataplane::kernel::{Attachments, Kernel};
use crate::desired::Ground;
use crate::nexthop::NextHops;
use crate::shaping::{Exit, Shaper};

/// The programs, the queues, and what the kernel says of devices and routes, by which both are kept. Dropping it leaves them
/// as they are; [`Self::remove`] takes them away.
pub(super) struct Footing {
    pub(super) hops: Arc<NextHops>,
    pub(super) attachments: Attachments,
    pub(super) shaper: Shaper,
}

impl Footing {
    /// Without a queue yet.
    pub(super) fn new(hops: Arc<NextHops>, attachments: Attachments) -> Self {
        Self { hops, attachments, shaper: Shaper::default() }
    }

    /// Has the programs on the devices that are there, and on the ports of the bridges that backends or other containers are
    /// behind.
    pub(super) fn attend(&mut self, containers: &BTreeSet<String>) {
        let Self { hops, attachments, .. } = self;
        let name = |ifindex| hops.devices.get(&ifindex).map(|device| device.name.clone());
        let bridges = hops.bridges().into_iter().filter_map(name).chain(containers.iter().cloned());
        attachments.want_bridges(bridges.collect());
        attachments.follow(&hops.devices, Instant::now());
    }

    /// What the packet path runs on.
    pub(super) fn ground(&self) -> Ground {
        let Self { hops, attachments, shaper } = self;
        Ground {
            hops: Arc::clone(hops),
            attached: attachments.attached(),
            peers_with_xdp: attachments.peers_with_xdp(),
            ingress: attachments.ingress(),
            outside: hops.named(attachments.bridges()),
            queues: shaper.queues().clone(),
            networks: BTreeMap::new(),
        }
    }

    /// Has devices' queues as limits want them; says whether packets wait elsewhere than before.
    pub(super) fn queue(&mut self, controller: &Controller<Kernel>) -> bool {
        let Self { hops, attachments, shaper } = self;
        let bridges = hops.named(attachments.bridges());
        let devices =
            attachments.attached().into_keys().chain(bridges).filter_map(|ifindex| hops.devices.get(&ifindex));
        // What goes out through a VLAN device waits where its frames are sent from.
        let exits = devices.filter_map(|device| {
            let from = hops.devices.get(&device.link)?;
            Some((device.link, Exit { name: from.name.clone(), mtu: from.mtu }))
        });
        shaper.follow((controller.generation(), || controller.shaping()), exits.collect(), Instant::now())
    }

    /// What is not as it is to be.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        self.attachments.problems().chain(self.shaper.problems())
    }

    /// Takes all of it away, and says so in words.
    pub(super) fn remove(self) -> Result<Vec<String>> {
        let queues = self.shaper.remove().context("taking away queues that packets waited in");
        // The queues' error waits until the programs are gone.
        let programs = self.attachments.remove()?;
        Ok([programs, queues?].concat())
    }
}
