//! The configuration in force: what a person wrote, and what registries declare.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Config, Forward, Registry, Service, Wrong, check_together};
use crate::source::declared::{Allow, Declared, DeclaredService};
use crate::vip::Vip;

impl Config {
    /// The configuration with the services that registries declare, by the registry's name, behind those of the file, at
    /// most `room` of all together; and what is wrong with those that were left out, by the registry.
    pub fn with_declared(
        &self,
        declared: &BTreeMap<String, Arc<Declared>>,
        room: usize,
    ) -> (Self, BTreeMap<String, Vec<String>>) {
        let mut config = self.clone();
        let mut problems: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for service in &mut config.services {
            let registry = self.registries.get(&service.registry);
            if registry.is_some_and(Registry::declares) {
                service.allow = Some(allow(declared.get(&service.registry), &service.registry_service));
            }
        }
        let mut names: BTreeSet<String> = config.services.iter().map(|service| service.name.clone()).collect();
        let mut vips: BTreeMap<Vip, String> =
            config.services.iter().map(|service| (service.vip, service.name.clone())).collect();
        for (registry, said) in declared {
            // One that is not in the configuration any more may still be heard.
            if !self.registries.contains_key(registry) {
                continue;
            }
            for one in &said.services {
                if self.has(registry, one) {
                    continue;
                }
                match self.refused(one, &vips, config.services.len() >= room) {
                    Some(problem) => problems.entry(registry.clone()).or_default().push(problem),
                    None => {
                        let name = free_name(one, registry, &names);
                        names.insert(name.clone());
                        vips.insert(one.vip, name.clone());
                        config.services.push(self.declared(registry, name, one, said));
                    }
                }
            }
        }
        (config, problems)
    }

    /// The registries that may create services at an address.
    pub fn creators(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        let may_create = move |registry: &Registry| match registry {
            Registry::Docker(docker) | Registry::Swarm(docker) => {
                docker.may_create.iter().any(|prefix| prefix.contains(address))
            }
            Registry::File(_) | Registry::Consul(_) => false,
        };
        self.registries.iter().filter(move |(_, registry)| may_create(registry)).map(|(name, _)| name.as_str())
    }

    /// Whether the file has a service already that is meant by what was declared.
    fn has(&self, registry: &str, one: &DeclaredService) -> bool {
        let is_meant = |service: &Service| {
            service.vip == one.vip
                && service.registry == registry
                && (service.registry_service == one.registry_service || service.name == one.name)
        };
        self.services.iter().any(is_meant)
    }

    /// Why there cannot be such a service.
    fn refused(&self, one: &DeclaredService, vips: &BTreeMap<Vip, String>, full: bool) -> Option<String> {
        let DeclaredService { vip, claimed_by, registry_service, .. } = one;
        let problem = |found: String, expected: &str| {
            Some(format!(
                "{claimed_by}: weir.vip {vip} of service {registry_service} is left out: found {found}, expected {expected}"
            ))
        };
        if let Some(taken) = vips.get(vip) {
            return problem(format!("that service {taken} has this VIP"), "every VIP once");
        }
        let mut own = self.weir.snat_addresses.iter().chain(&self.weir.tunnel_sources);
        if own.any(|own| *own == vip.address) {
            return problem("an address that packets to backends come from".to_owned(), "another one");
        }
        let forward = one.forward.unwrap_or(Forward::Nat);
        let wrong = one.limits.iter().find_map(|limit| limit.check_for(forward, vip).err());
        let wrong = wrong.or_else(|| check_together(&one.limits).err());
        if let Some(Wrong { key, text }) = wrong {
            return Some(format!(
                "{claimed_by}: weir.vip {vip} of service {registry_service} is left out: weir.limit….{key}: {text}"
            ));
        }
        if full {
            return problem(
                "no room for more services".to_owned(),
                "a larger `max_services` under [weir], for which Weir is started anew",
            );
        }
        None
    }

    fn declared(&self, registry: &str, name: String, one: &DeclaredService, said: &Arc<Declared>) -> Service {
        Service {
            name,
            vip: one.vip,
            registry: registry.to_owned(),
            registry_service: one.registry_service.clone(),
            registry_tags: Vec::new(),
            forward: one.forward.unwrap_or(Forward::Nat),
            quic: None,
            idle: self.weir.idle(one.vip.protocol),
            slow_start: None,
            limits: one.limits.clone(),
            allow: Some(allow(Some(said), &one.registry_service)),
        }
    }
}

/// Who may use a service of a registry that declares. Of one without any container nobody said who may not.
fn allow(said: Option<&Arc<Declared>>, service: &str) -> Allow {
    let said = said.and_then(|said| said.allow.get(service)).cloned();
    said.unwrap_or(Allow { outside: true, ..Allow::default() })
}

/// The name that was declared, or another one when the file or another registry has it for another VIP.
fn free_name(one: &DeclaredService, registry: &str, names: &BTreeSet<String>) -> String {
    let candidates = [one.name.clone(), format!("{}@{}", one.registry_service, one.vip)];
    let last = format!("{}@{}@{registry}", one.registry_service, one.vip);
    candidates.into_iter().find(|name| !names.contains(name)).unwrap_or(last)
}
