//! What those who bear labels together ask for: VIPs, and who may use them. Who was created first comes first.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::label::{Labels, OUTSIDE};
use super::network::{Networks, find};
use crate::config::{Prefix, one_of, quoted};
use crate::source::declared::{Allow, DeclaredService};
use crate::vip::Vip;

/// Who bears labels.
#[derive(Debug, Clone, Copy)]
pub(in crate::source) struct Bearer<'c> {
    /// What it is, as a word before its name.
    pub(in crate::source) kind: &'static str,
    /// What it is called.
    pub(in crate::source) name: &'c str,
    /// The compose project or the stack that it belongs to.
    pub(in crate::source) project: Option<&'c str>,
}

impl fmt::Display for Bearer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// One that serves, and the networks, by id, whose containers may use its service unless labels say.
#[derive(Debug, Clone)]
pub(in crate::source) struct Member<'c> {
    pub(in crate::source) bearer: Bearer<'c>,
    pub(in crate::source) labels: Labels,
    pub(in crate::source) on: Vec<String>,
}

/// The VIPs that are claimed.
#[derive(Debug, Default)]
pub(in crate::source) struct Claims<'c>(Vec<(Vip, Bearer<'c>, Labels)>);

impl<'c> Claims<'c> {
    /// Notes the VIPs that somebody wants, as far as it may have them; what is wrong is added to `problems`.
    pub(in crate::source) fn claim(
        &mut self,
        bearer: Bearer<'c>,
        labels: &Labels,
        may_create: &[Prefix],
        problems: &mut Vec<String>,
    ) {
        for vip in &labels.vips {
            if !may_create.iter().any(|prefix| prefix.contains(vip.address)) {
                let allowed: Vec<String> = may_create.iter().take(8).map(Prefix::to_string).collect();
                let allowed = match allowed.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                    [] => "that `may_create` of the registry allows it: it allows none".to_owned(),
                    allowed => format!("an address that `may_create` allows: {}", one_of(allowed)),
                };
                problems.push(format!("{bearer}: weir.vip: found {vip}, expected {allowed}"));
                continue;
            }
            let Some((_, first, settings)) = self.0.iter().find(|(claimed, ..)| claimed == vip) else {
                self.0.push((*vip, bearer, labels.clone()));
                continue;
            };
            let differing: Vec<&str> = [
                ("weir.service", settings.service != labels.service),
                ("weir.forward", settings.forward != labels.forward),
                ("weir.limit", settings.limits != labels.limits),
            ]
            .iter()
            .filter(|(_, differs)| *differs)
            .map(|(label, _)| *label)
            .collect();
            if !differing.is_empty() {
                problems.push(format!(
                    "{bearer}: weir.vip: found {vip} with another {} than {first} has, expected the same; what {}, which \
                     was created first, says holds",
                    one_of(&differing),
                    first.name
                ));
            }
        }
    }

    /// The services that were claimed, by VIP: the first one of a name is called so.
    pub(in crate::source) fn services(&self) -> Vec<DeclaredService> {
        let mut named: BTreeSet<&str> = BTreeSet::new();
        let mut services: Vec<DeclaredService> = self
            .0
            .iter()
            .map(|(vip, bearer, labels)| DeclaredService {
                name: if named.insert(&labels.service) {
                    labels.service.clone()
                } else {
                    format!("{}@{vip}", labels.service)
                },
                registry_service: labels.service.clone(),
                vip: *vip,
                forward: labels.forward,
                limits: labels.limits.clone(),
                claimed_by: bearer.to_string(),
            })
            .collect();
        services.sort_by_key(|service| service.vip);
        services
    }
}

/// Who may use a service: what its member that was created first says, else whoever shares a network with one. What is
/// wrong is added to `problems`.
pub(in crate::source) fn allow(
    service: &str,
    members: &[Member<'_>],
    networks: &Networks,
    problems: &mut Vec<String>,
) -> Allow {
    let Some(first) = members.first() else { return Allow::default() };
    for other in members {
        let differs =
            (&first.labels.allow_networks, first.labels.public) != (&other.labels.allow_networks, other.labels.public);
        if differs {
            problems.push(format!(
                "{}: found another weir.allow_networks or weir.public than {} has, expected the same for service \
                 {service}; what {}, which was created first, says holds",
                other.bearer, first.bearer, first.bearer.name
            ));
        }
    }
    let Some(wanted) = &first.labels.allow_networks else {
        let ids: BTreeSet<String> = members.iter().flat_map(|member| member.on.iter().cloned()).collect();
        return Allow { networks: Arc::new(ids), outside: first.labels.public };
    };
    let mut ids = BTreeSet::new();
    for name in wanted.iter().filter(|name| *name != OUTSIDE) {
        let found = find(name, first.bearer.project, networks.values().map(|network| network.name.as_str()));
        match found.and_then(|at| networks.keys().nth(at)) {
            Some(id) => drop(ids.insert(id.clone())),
            None => problems.push(format!(
                "{}: weir.allow_networks: found {}, expected the name of a network, of which there may be only one, or \
                 {OUTSIDE}",
                first.bearer,
                quoted(name)
            )),
        }
    }
    Allow { networks: Arc::new(ids), outside: wanted.iter().any(|name| name == OUTSIDE) }
}
