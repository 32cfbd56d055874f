//! Docker's engine, for labs with containers.

use super::debian::{Machine, find};
use super::step::{Action, Step};

/// What labs with containers call, and the package of each in Debian.
const TOOLS: [(&str, &str); 4] = [
    ("dockerd", "docker.io"),
    ("docker-compose", "docker-compose"),
    ("iptables", "iptables"),
    ("busybox", "busybox-static"),
];

/// Installs without starting what is installed: a policy that says no (invoke-rc.d(8)) is there meanwhile, unless the
/// machine has one of its own.
const INSTALL: &str = "\
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >$policy
  chmod 755 $policy
fi
apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends";

/// The packages that are missing, as one step.
pub(super) fn plan(machine: &Machine) -> Option<Step> {
    let missing: Vec<&str> =
        TOOLS.into_iter().filter(|(tool, _)| find(tool).is_none()).map(|(_, package)| package).collect();
    if missing.is_empty() {
        return None;
    }
    let packages = missing.join(" ");
    let step = Step {
        what: missing.join(", "),
        why: "Containers of the lab are run by a real Docker engine. None is started here: an engine changes the \
              firewall of the network that it is in, and the lab starts its own, in a namespace."
            .to_owned(),
        needs_root: true,
        by_hand: false,
        actions: vec![],
    };
    if !machine.is_debian {
        let advice = format!("# {}: install {packages}, by whatever names, and do not start the engine", machine.name);
        return Some(Step { by_hand: true, needs_root: false, actions: vec![Action::Note(advice)], ..step });
    }
    let install = format!("{INSTALL} {packages}");
    Some(Step { actions: vec![Action::run(&["apt-get", "update"]), Action::run(&["sh", "-c", &install])], ..step })
}
