//! Which steps a start takes.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use super::{Kind, TakeOver};
use crate::config::{Interface, Mode};
use crate::dataplane::kernel::attach::{Target, is_tc_here, program_on};
use crate::dataplane::kernel::pins::{Hook, LinkName, PinnedProgram};
use crate::dataplane::kernel::ports::LOOPBACK;
use crate::nexthop::Device;

/// One step. What can fail, and what no packet sees, comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Pin new maps.
    Pin,
    /// They are the maps in use.
    Place,
    /// Fill them from the old ones.
    Copy,
    /// Attach to a device that has no program of ours.
    Attach(On),
    /// From here on the old programs go: replace those on a device.
    Update(On),
    /// Replace a tc program that bridges need.
    Replace(LinkName),
    /// Take a program off.
    TakeOff(LinkName, &'static str),
    /// Take the programs off a device and attach them in another mode.
    Reattach(On),
    /// Take over what came into the old maps meanwhile.
    CatchUp,
    /// The new maps are those in use.
    Swap,
    /// Take the old ones away.
    Sweep,
}

/// A device, and how to attach to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct On {
    /// The device's name.
    pub(super) device: String,
    /// Its index.
    pub(super) ifindex: u32,
    /// How to attach.
    pub(super) mode: Mode,
}

impl On {
    /// For who attaches.
    pub(super) fn target(&self) -> Target<'_> {
        Target { ifindex: self.ifindex, device: &self.device, mode: self.mode }
    }
}

impl TakeOver {
    /// The steps before anything is attached.
    pub(super) fn preparation(&self) -> Vec<Step> {
        match self.kind {
            Kind::Fresh => vec![Step::Pin, Step::Place],
            Kind::Adopt => vec![],
            Kind::Resize => vec![Step::Pin, Step::Copy],
        }
    }

    /// The steps after that.
    pub(super) fn steps(&self, interfaces: &[Interface], devices: &BTreeMap<u32, Device>) -> Result<Vec<Step>> {
        let (mut first, mut attach, mut update, mut take_off, mut reattach) = (vec![], vec![], vec![], vec![], vec![]);
        let mut here: BTreeMap<u32, LinkName> = BTreeMap::new();
        let mut elsewhere = vec![];
        for (&name, link) in self.links.iter().filter(|(name, _)| matches!(name.hook, Hook::Xdp(_))) {
            if link.ifindex == 0 {
                first.push(Step::TakeOff(name, "its device is gone"));
            } else if link.ifindex == name.ifindex && is_here(link) {
                here.insert(name.ifindex, name);
            } else {
                elsewhere.push(name);
            }
        }
        if here.is_empty() && !elsewhere.is_empty() {
            bail!(
                "found programs pinned in {} on devices of another network namespace, expected them here: start Weir there, \
                 or name another folder as `state` under [weir]; `weir detach` takes them off",
                self.pins.path().display()
            );
        }
        take_off.extend(
            elsewhere.into_iter().map(|name| Step::TakeOff(name, "its device is in another network namespace")),
        );
        for Interface { name, mode, .. } in interfaces {
            let Some((&ifindex, _)) = devices.iter().find(|(_, device)| device.name == *name) else {
                ensure!(self.kind != Kind::Fresh, "there is no device {name} at the moment");
                continue;
            };
            // Its ports get the program.
            if devices.get(&ifindex).is_some_and(Device::is_bridge) {
                continue;
            }
            let on = On { device: name.clone(), ifindex, mode: *mode };
            match here.remove(&ifindex).map(|name| name.hook) {
                Some(Hook::Xdp(attached)) if attached.suits(*mode) => update.push(Step::Update(on)),
                Some(_) => reattach.push(Step::Reattach(on)),
                None => attach.push(Step::Attach(on)),
            }
        }
        take_off.extend(here.into_values().map(|name| Step::TakeOff(name, "its device is not configured any more")));
        let (mut replace, mut alone) = (vec![], vec![]);
        for (&name, link) in self.links.iter().filter(|(name, _)| !matches!(name.hook, Hook::Xdp(_))) {
            let device = devices.get(&name.ifindex);
            let has_xdp = self.links.keys().any(|one| matches!(one.hook, Hook::Xdp(_)) && one.ifindex == name.ifindex);
            let is_interface = device.is_some_and(|device| interfaces.iter().any(|one| one.name == device.name));
            let is_seen_alone = name.ifindex == LOOPBACK && !is_interface || device.is_some_and(Device::is_bridge);
            match name.hook {
                Hook::Egress if has_xdp => {}
                // Without its XDP program it says nothing that is needed, and a new one comes with its own.
                Hook::Egress if !is_seen_alone => {
                    alone.push(Step::TakeOff(name, "its device has no XDP program"));
                }
                _ if link.ifindex == 0 => alone.push(Step::TakeOff(name, "its device is gone")),
                _ if device.is_some_and(|device| is_tc_here(link, &device.name)) => replace.push(Step::Replace(name)),
                _ => take_off.push(Step::TakeOff(name, "its device is in another network namespace")),
            }
        }
        first.extend(alone);
        let last = if self.kind == Kind::Resize { vec![Step::CatchUp, Step::Swap, Step::Sweep] } else { vec![] };
        Ok([first, attach, update, replace, take_off, reattach, last].concat())
    }
}

/// Whether the link's device is one of this network namespace.
fn is_here(link: &PinnedProgram) -> bool {
    // 0 stands for several programs in several modes.
    program_on(link.name.ifindex).is_some_and(|program| program == link.program || program == 0)
}
