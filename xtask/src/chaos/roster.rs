//! What the registry and the operator have said of each backend: what Weir has to make of it.

use std::collections::BTreeMap;

use weir_tests::lab::traffic::Keystream;

/// The services, TCP and UDP, each over IPv4 and IPv6.
pub(super) const SERVICES: [&str; 4] = ["web", "web6", "echo", "echo6"];
/// Backends that a service is never without.
const FEWEST: usize = 2;
/// The weight that backends have at first.
const WEIGHT: u16 = 100;

/// One backend of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// Whether the registry has it.
    pub(super) registered: bool,
    /// The registry's weight.
    pub(super) weight: u16,
    /// Whether the operator drains it.
    pub(super) drained: bool,
    /// The operator's weight.
    pub(super) override_weight: Option<u16>,
}

impl Member {
    /// Whether new flows may go to it.
    fn active(&self) -> bool {
        self.registered && !self.drained && self.override_weight.unwrap_or(self.weight) > 0
    }
}

/// All backends of all services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Roster {
    services: BTreeMap<&'static str, BTreeMap<String, Member>>,
}

impl Roster {
    /// Every backend in every service.
    pub(super) fn new(backends: &[String]) -> Self {
        let member = Member { registered: true, weight: WEIGHT, drained: false, override_weight: None };
        let members = |_| backends.iter().map(|backend| (backend.clone(), member)).collect();
        Self { services: SERVICES.into_iter().map(|service| (service, members(service))).collect() }
    }

    pub(super) fn members(&self, service: &str) -> &BTreeMap<String, Member> {
        &self.services[service]
    }

    pub(super) fn member(&mut self, service: &str, backend: &str) -> &mut Member {
        let members = self.services.get_mut(service).expect("a service of the roster");
        members.get_mut(backend).expect("a backend of the roster")
    }

    /// The backends that new flows of a service go to.
    pub(super) fn active(&self, service: &str) -> Vec<String> {
        let members = self.services[service].iter();
        members.filter(|(_, member)| member.active()).map(|(name, _)| name.clone()).collect()
    }

    /// A backend that the service can do without, if there is one.
    pub(super) fn spare(&self, service: &str, choices: &mut Keystream) -> Option<String> {
        let active = self.active(service);
        if active.len() > FEWEST { pick(active, choices) } else { None }
    }

    /// A backend of the service of which `is_it` holds.
    pub(super) fn any(
        &self,
        service: &str,
        choices: &mut Keystream,
        is_it: impl Fn(&Member) -> bool,
    ) -> Option<String> {
        let members = self.services[service].iter();
        pick(members.filter(|(_, member)| is_it(member)).map(|(name, _)| name.clone()).collect(), choices)
    }
}

/// One of them.
pub(super) fn pick<T>(mut list: Vec<T>, choices: &mut Keystream) -> Option<T> {
    let length = u64::try_from(list.len()).ok().filter(|length| *length > 0)?;
    Some(list.swap_remove(usize::try_from(choices.below(length)).expect("an index of the list")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_never_left_without_backends() {
        let mut roster = Roster::new(&["a", "b", "c"].map(str::to_owned));
        let mut choices = Keystream::new(1);
        let spare = roster.spare("web", &mut choices).unwrap();
        roster.member("web", &spare).drained = true;
        assert_eq!(roster.active("web").len(), 2);
        assert_eq!(roster.spare("web", &mut choices), None);
        assert!(roster.spare("echo", &mut choices).is_some());
        assert_eq!(roster.any("web", &mut choices, |member| member.drained), Some(spare.clone()));
        roster.member("web", &spare).drained = false;
        roster.member("web", &spare).override_weight = Some(0);
        assert_eq!(roster.active("web").len(), 2);
    }
}
