//! From a folder of pins to programs on devices: a list of steps, each of which may be the last one of a process that is
//! killed. [`super::pins`] says what the next start makes of it.

#[cfg(test)]
mod limits_tests;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lb_common::abi::{Meta, VERSION};

use super::attach::replace_tc;
use super::attachments::received;
use super::pins::{Gone, Hook, LinkName, PinnedProgram, Pins, await_gone};
use super::ports::Ports;
use super::{Attached, Attachment, Attachments, Capacity, Object};
use crate::config::Interface;
use crate::nexthop::Device;
use steps::{On, Step};

/// What the start has to do with the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// There were none.
    Fresh,
    /// They are as they shall be.
    Adopt,
    /// They have other sizes than they shall have.
    Resize,
}

/// Programs that are loaded, and not on their devices yet. Dropped, everything is as it was before.
#[derive(Debug)]
pub struct TakeOver {
    // Before the object, so that links go first.
    live: BTreeMap<String, Attachment>,
    /// The tc programs that bridges need.
    tc: Vec<PinnedProgram>,
    links: BTreeMap<LinkName, PinnedProgram>,
    object: Object,
    pins: Pins,
    kind: Kind,
    capacity: Capacity,
    meta: Meta,
    notes: Vec<String>,
    failed: BTreeMap<String, String>,
    /// What devices had received when programs came to them, by index.
    received: BTreeMap<u32, u64>,
    /// Old programs have begun to go: there is no way back.
    committed: bool,
}

impl TakeOver {
    /// Loads the programs: on the maps that are pinned, or on new ones of the sizes that are wanted, which are filled from
    /// those that are pinned. No packet meets any of it yet.
    ///
    /// # Errors
    /// When the tables have another size than those that are pinned; when there is no memory for the maps; when the
    /// kernel does not take the programs. Then everything is as it was before.
    pub fn load(pins: Pins, wanted: Capacity, hash_seed: u64, trace: bool) -> Result<Self> {
        let mut takeover = Self::make(pins, wanted, hash_seed, trace)?;
        takeover.preparation().iter().try_for_each(|step| takeover.perform(step))?;
        Ok(takeover)
    }

    fn make(pins: Pins, wanted: Capacity, hash_seed: u64, trace: bool) -> Result<Self> {
        let (kind, capacity, notes) = match pins.found() {
            None => (Kind::Fresh, wanted, vec![]),
            Some((_, found)) if found == wanted => (Kind::Adopt, found, vec![]),
            Some((_, found)) => {
                ensure!(
                    found.table_size == wanted.table_size,
                    "found tables of {} slots pinned in {}, expected {} (`table_size` under [weir]): with another size \
                     nearly every connection would move. Set it back, or end what is pinned first: `weir detach`",
                    found.table_size,
                    pins.path().display(),
                    wanted.table_size
                );
                let (capacity, notes) = pins.in_use()?.grow(wanted);
                (if capacity == found { Kind::Adopt } else { Kind::Resize }, capacity, notes)
            }
        };
        if kind == Kind::Resize {
            tracing::info!(found = ?pins.found().map(|(_, found)| found), wanted = ?capacity, "the maps get other sizes");
        }
        notes.iter().for_each(|note| tracing::warn!("{note}"));
        let mut links = BTreeMap::new();
        for link in pins.links()? {
            links.insert(link.name, link);
        }
        let object = match kind {
            Kind::Adopt => Object::adopt(capacity, trace, &pins)?,
            Kind::Resize => Object::load_for(&pins, capacity, trace)?,
            Kind::Fresh => Object::load(capacity, trace)?,
        };
        let meta = match pins.found() {
            Some((meta, _)) => meta,
            None => Meta {
                magic: Meta::MAGIC,
                version: VERSION,
                table_size: capacity.table_size,
                hash_seed,
                ..Meta::default()
            },
        };
        let meta = Meta { flow_seed: object.flow_seed(), ..meta };
        Ok(Self {
            live: BTreeMap::new(),
            tc: Vec::new(),
            links,
            object,
            pins,
            kind,
            capacity,
            meta,
            notes,
            failed: BTreeMap::new(),
            received: BTreeMap::new(),
            committed: false,
        })
    }

    /// The programs and their maps.
    pub fn object(&mut self) -> &mut Object {
        &mut self.object
    }

    /// How much the maps hold.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// What the maps said of themselves when they were found; `None` when they are new, and empty.
    pub fn adopts(&self) -> Option<Meta> {
        (self.kind != Kind::Fresh).then_some(self.meta)
    }

    /// What could not be made as small as it was wanted, for a person.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Puts the programs on the devices: new ones first, then those that replace an earlier run's.
    ///
    /// # Errors
    /// Names the first device that could not be attached to, and why; or what cannot be understood of the pinned links.
    /// Everything is as it was before then, unless an earlier run's programs were already being replaced.
    pub fn commit(
        mut self,
        interfaces: Vec<Interface>,
        devices: &BTreeMap<u32, Device>,
        now: Instant,
    ) -> Result<Attachments> {
        let steps = self.steps(&interfaces, devices)?;
        if let Err(error) = steps.iter().try_for_each(|step| self.perform(step)) {
            if !self.committed {
                std::mem::take(&mut self.live).into_values().try_for_each(|new| new.take_off(&self.pins))?;
            }
            return Err(error);
        }
        self.commit_point();
        if let Err(error) = self.object.note_told_paths(&self.pins) {
            tracing::warn!(
                error = format!("{error:#}"),
                "what was told of paths meanwhile is not known until it is told again"
            );
        }
        let ports = Ports::of(self.tc);
        let mut attachments =
            Attachments::of(self.object, self.pins, interfaces, self.live, self.failed, self.received, now);
        attachments.adopt_ports(ports, devices, now);
        Ok(attachments)
    }

    /// Carries out one step.
    fn perform(&mut self, step: &Step) -> Result<()> {
        tracing::debug!(?step);
        match step {
            Step::Pin => {
                if self.kind == Kind::Resize {
                    let ingress = self.links.keys().any(|name| name.hook == Hook::Ingress);
                    self.pins.pin_new(&mut self.object, ingress)?;
                }
                self.pins.pin_next(&mut self.object, self.meta)
            }
            Step::Place => self.pins.place_next(),
            Step::Copy => self.pins.copy(),
            Step::Attach(on) => {
                let attachment = Attachment::new(&mut self.object, &self.pins, on.target())?;
                tracing::info!(device = on.device, mode = attachment.attached.name(), "attached");
                // What the maps count, they count from here on.
                if let Some(received) = received().remove(&on.ifindex) {
                    self.received.insert(on.ifindex, received);
                }
                self.live.insert(on.device.clone(), attachment);
                Ok(())
            }
            Step::Update(on) => self.update(on),
            Step::Replace(name) => self.replace(*name),
            Step::TakeOff(name, why) => {
                tracing::info!(link = %name, why, "taking the program off");
                if matches!(name.hook, Hook::Xdp(_)) {
                    if self.links.get(name).is_some_and(|link| link.ifindex != 0) {
                        self.commit_point();
                    }
                    let egress = LinkName { hook: Hook::Egress, ..*name };
                    self.links.remove(&egress);
                    self.pins.unpin(egress)?;
                }
                self.links.remove(name);
                self.pins.unpin(*name)
            }
            Step::Reattach(on) => self.reattach(on),
            Step::CatchUp => self.pins.catch_up(),
            Step::Swap => {
                self.commit_point();
                self.pins.swap()
            }
            Step::Sweep => self.pins.sweep_next(),
        }
    }

    fn commit_point(&mut self) {
        self.committed = true;
        self.pins.settle();
    }

    /// The pinned links of a device, and how its XDP program runs.
    fn take(&mut self, ifindex: u32) -> Option<(Attached, PinnedProgram, Option<PinnedProgram>)> {
        let egress = self.links.remove(&LinkName { hook: Hook::Egress, ifindex });
        let mut xdp = |attached| self.links.remove(&LinkName { hook: Hook::Xdp(attached), ifindex });
        let (attached, xdp) =
            [Attached::Native, Attached::Skb].into_iter().find_map(|attached| Some((attached, xdp(attached)?)))?;
        Some((attached, xdp, egress))
    }

    fn update(&mut self, on: &On) -> Result<()> {
        let (attached, xdp, egress) = self.take(on.ifindex).context("a link to be updated is not there")?;
        self.commit_point();
        let names = [xdp.name, LinkName { hook: Hook::Egress, ifindex: on.ifindex }];
        match Attachment::adopt(&mut self.object, &self.pins, on.target(), attached, (xdp, egress)) {
            Ok(attachment) => {
                tracing::info!(device = on.device, mode = attached.name(), "the program is replaced in place");
                self.live.insert(on.device.clone(), attachment);
            }
            Err(error) => {
                // A device that is about to go, most likely. Not half of it with old programs: it is tried again.
                tracing::error!(device = on.device, error = format!("{error:#}"), "cannot replace the program");
                self.failed.insert(on.device.clone(), format!("{error:#}"));
                names.iter().try_for_each(|&name| self.pins.unpin(name))?;
            }
        }
        Ok(())
    }

    fn replace(&mut self, name: LinkName) -> Result<()> {
        let link = self.links.remove(&name).context("a link to be replaced is not there")?;
        self.commit_point();
        match replace_tc(&mut self.object, link) {
            Ok(link) => self.tc.push(link),
            Err(error) => {
                // A container that has just gone, most likely. Whatever is wanted is attached anew.
                tracing::warn!(link = %name, error = format!("{error:#}"), "cannot replace the program");
                self.pins.unpin(name)?;
            }
        }
        Ok(())
    }

    fn reattach(&mut self, on: &On) -> Result<()> {
        let (attached, xdp, egress) = self.take(on.ifindex).context("a link to be replaced is not there")?;
        self.commit_point();
        tracing::warn!(
            device = on.device,
            was = attached.name(),
            mode = ?on.mode,
            "the configuration wants another mode: taking the programs off and attaching them anew"
        );
        let links: Vec<Gone> = [Some(&xdp), egress.as_ref()].into_iter().flatten().map(Gone::from).collect();
        for link in [Some(xdp), egress].into_iter().flatten() {
            self.pins.unpin(link.name)?;
        }
        await_gone(&links);
        match Attachment::new(&mut self.object, &self.pins, on.target()) {
            Ok(attachment) => {
                self.live.insert(on.device.clone(), attachment);
            }
            Err(error) => {
                tracing::error!(device = on.device, error = format!("{error:#}"), "cannot attach");
                self.failed.insert(on.device.clone(), format!("{error:#}"));
            }
        }
        Ok(())
    }
}
