//! The programs on every configured device, as devices come and go.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Attached, Attachment, Object};
use crate::api::types::InterfaceRow;
use crate::config::Interface;
use crate::nexthop::Device;

/// Keeps the programs on the configured devices. Dropping it takes them off all of them.
#[derive(Debug)]
pub struct Attachments {
    // Before the object, so that the links go first.
    live: BTreeMap<String, (u32, Attachment)>,
    failed: BTreeMap<String, (u32, String)>,
    object: Object,
    interfaces: Vec<Interface>,
}

impl Attachments {
    /// Attaches to every configured device; all of them, or none.
    ///
    /// # Errors
    /// Names the first device that could not be attached to, and why.
    pub fn new(object: Object, interfaces: Vec<Interface>, devices: &BTreeMap<u32, Device>) -> Result<Self> {
        let mut attachments = Self { live: BTreeMap::new(), failed: BTreeMap::new(), object, interfaces };
        attachments.follow(devices);
        let problem = attachments.problems().next();
        match problem {
            Some(problem) => anyhow::bail!(problem),
            None => Ok(attachments),
        }
    }

    /// Lets go of devices that are gone, and attaches to those that are there (again). A device that could not be
    /// attached to is not tried again until it is another one.
    pub fn follow(&mut self, devices: &BTreeMap<u32, Device>) {
        let index = |name: &str| devices.iter().find(|(_, device)| device.name == name).map(|(&ifindex, _)| ifindex);
        self.live.retain(|name, (ifindex, _)| index(name) == Some(*ifindex));
        self.failed.retain(|name, (ifindex, _)| index(name) == Some(*ifindex));
        for Interface { name, mode, .. } in &self.interfaces {
            let Some(ifindex) = index(name) else { continue };
            if self.live.contains_key(name) || self.failed.contains_key(name) {
                continue;
            }
            match Attachment::new(&mut self.object, name, *mode) {
                Ok(attachment) => {
                    tracing::info!(device = %name, mode = ?attachment.attached, "attached");
                    self.live.insert(name.clone(), (ifindex, attachment));
                }
                Err(error) => {
                    tracing::error!(device = %name, error = format!("{error:#}"), "cannot attach");
                    self.failed.insert(name.clone(), (ifindex, format!("{error:#}")));
                }
            }
        }
    }

    /// Where the programs are, by device index.
    pub fn attached(&self) -> BTreeMap<u32, Attached> {
        self.live.values().map(|(ifindex, attachment)| (*ifindex, attachment.attached)).collect()
    }

    /// Every configured device, for a person.
    pub fn rows(&self) -> Vec<InterfaceRow> {
        let mode = |name: &String| match (self.live.get(name), self.failed.get(name)) {
            (Some((_, attachment)), _) => match attachment.attached {
                Attached::Native => "native",
                Attached::Skb => "skb",
            },
            (None, Some(_)) => "failed",
            (None, None) => "absent",
        };
        let rows = self.interfaces.iter().map(|Interface { name, .. }| (name, mode(name)));
        rows.map(|(name, mode)| InterfaceRow { name: name.clone(), mode: mode.to_owned() }).collect()
    }

    /// What keeps it from being attached everywhere.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.interfaces.iter().filter_map(|Interface { name, .. }| match self.failed.get(name) {
            Some((_, error)) => Some(error.clone()),
            None if self.live.contains_key(name) => None,
            None => Some(format!("there is no device {name} at the moment; Weir attaches when it appears")),
        })
    }
}
