//! Services that registries create, beside those of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::abi::Networks;

use super::{Controller, Former, Registries};
use crate::config::{Config, Registry, Service};
use crate::dataplane::DataPlane;
use crate::nexthop::NextHops;
use crate::source::declared::Declared;
use crate::source::{Report, Snapshot, Update};
use crate::vip::Vip;

/// How many services that nobody has are named, and how many of their containers.
const MAX_TOLD: usize = 20;
const MAX_NAMED: usize = 3;

/// Whether a configuration may be another one in force than it was written.
pub(super) fn may_differ(config: &Config) -> bool {
    config.registries.values().any(Registry::declares)
}

impl<P: DataPlane> Controller<P> {
    /// A configuration with what registries declare now and limits that a person has set, and what is wrong with that, by the registry's name.
    pub(super) fn in_force(&self, written: &Config) -> (Config, BTreeMap<String, Vec<String>>) {
        let (mut config, misdeclared) =
            written.with_declared(self.registries.declared(), self.capacity.services as usize);
        self.limit_by_hand(&mut config);
        (config, misdeclared)
    }

    /// Goes by what registries declare now.
    pub(super) fn declare(&mut self) {
        let Some(written) = &self.written else { return };
        let (config, misdeclared) = self.in_force(written);
        self.registries.misdeclare(misdeclared);
        if config.services == self.config.services {
            return;
        }
        let stay: BTreeSet<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
        self.registries.rosters.retain(|name, _| stay.contains(name.as_str()));
        let before: BTreeMap<Vip, &Service> = self.config.services.iter().map(|one| (one.vip, one)).collect();
        let changed = config.services.iter().filter(|one| before.get(&one.vip) != Some(one)).map(|one| one.vip);
        for vip in changed.collect::<Vec<_>>() {
            self.at_rest.remove(&vip);
        }
        self.go_by(config);
    }

    /// Takes what registries declare of networks now.
    pub(super) fn know_networks(&mut self) {
        if self.networks.are(self.registries.declared()) {
            return;
        }
        if self.networks.declare(self.registries.declared()) {
            let told_apart = self.config.services.iter().filter(|service| service.allow.is_some());
            for service in told_apart {
                self.at_rest.remove(&service.vip);
            }
        }
        self.ground.networks = self.networks_of_ports(&Arc::clone(&self.ground.hops));
    }

    /// By port, the bits of the networks that who is behind it is on. Until any registry has said since Weir began anew: as it
    /// was, since services still name those bits. Afterwards bits may mean other networks than they did.
    pub(super) fn networks_of_ports(&mut self, hops: &NextHops) -> BTreeMap<u32, u32> {
        let mut ports = self.networks.of_ports(hops);
        if self.adopted && self.registries.declared().is_empty() {
            let is_port = |ifindex: &u32| hops.devices.get(ifindex).is_some_and(|device| device.bridge.is_some());
            let held = self.state.devices.iter().filter(|(ifindex, _)| is_port(ifindex));
            let bits = held.map(|(ifindex, device)| (*ifindex, device.networks & !Networks::OUTSIDE));
            ports.extend(bits.filter(|(_, bits)| *bits != 0));
        }
        ports
    }

    /// The bridges on whose ports containers are that may be clients.
    pub fn bridges(&self) -> BTreeSet<String> {
        self.networks.bridges()
    }

    /// From where a service may be used. Of one whose registry has not said since Weir began anew: as it was.
    pub(super) fn who_may(&self, service: &Service) -> u32 {
        match self.state.services.get(&service.vip) {
            Some(held) if service.allow.is_some() && !self.registries.declared().contains_key(&service.registry) => {
                held.head.networks
            }
            _ => self.networks.who_may(service.allow.as_ref()),
        }
    }

    /// Takes another configuration, and keeps in mind what was configured before.
    pub(super) fn go_by(&mut self, config: Config) {
        let former = |service: &Service| Former { idle: service.idle, registry: service.registry.clone() };
        self.retired.extend(self.config.services.iter().map(|service| (service.vip, former(service))));
        self.config = config;
        self.forget_by_hand();
    }
}

impl Registries {
    /// What is in force of what registries declared, by the registry's name: also networks, and who is behind which port.
    pub const fn declared(&self) -> &BTreeMap<String, Arc<Declared>> {
        &self.declared
    }

    /// Whether with this update other services are declared, or others may use them. It is to be heard afterwards.
    pub(super) fn takes_effect(&mut self, update: &Update) -> bool {
        let Report::Snapshot(_) = update.report else { return false };
        let Some(pending) = self.by_name.get_mut(&*update.registry).and_then(|registry| registry.pending.take()) else {
            return false;
        };
        let before = self.declared.insert(update.registry.to_string(), Arc::clone(&pending));
        before.is_none_or(|before| (&before.services, &before.allow) != (&pending.services, &pending.allow))
    }

    /// Notes what is wrong with what registries declared.
    pub(super) fn misdeclare(&mut self, problems: BTreeMap<String, Vec<String>>) {
        for (registry, all) in &problems {
            let known = self.misdeclared.get(registry);
            for problem in all.iter().filter(|one| !known.is_some_and(|known| known.contains(one))) {
                tracing::warn!(registry, problem);
            }
        }
        self.misdeclared = problems;
    }

    /// Whether an authoritative registry has said that nobody of its is at an address.
    pub(super) fn is_gone(&self, registry: &str, address: IpAddr) -> bool {
        let addresses = self.by_name.get(registry).and_then(|registry| registry.addresses.as_ref());
        addresses.is_some_and(|addresses| !addresses.contains(&address))
    }

    /// Notes which services a registry knows that nobody has.
    pub(super) fn claim(&mut self, config: &Config, name: &str, snapshot: &Snapshot) {
        let wanted: BTreeSet<&str> = config
            .services
            .iter()
            .filter(|service| service.registry == name)
            .map(|service| service.registry_service.as_str())
            .collect();
        let nobodys = snapshot.iter().filter(|(service, _)| !wanted.contains(service.as_str()));
        let unclaimed: Vec<String> = nobodys
            .take(MAX_TOLD)
            .map(|(service, endpoints)| {
                let ids: BTreeSet<&str> = endpoints.iter().map(|endpoint| &*endpoint.id).collect();
                let named: Vec<&str> = ids.iter().copied().take(MAX_NAMED).collect();
                let more = if ids.len() > named.len() { ", …" } else { "" };
                format!(
                    "container {}{more}: found weir.service {service:?}, expected a service of the configuration with registry \
                     {name:?}, or a weir.vip that may be created",
                    named.join(", ")
                )
            })
            .collect();
        let Some(registry) = self.by_name.get_mut(name) else { return };
        for problem in unclaimed.iter().filter(|one| !registry.unclaimed.contains(one)) {
            tracing::warn!(registry = name, problem);
        }
        registry.unclaimed = unclaimed;
    }
}
