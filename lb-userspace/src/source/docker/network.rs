//! The networks of an engine, and how labels name them.

use std::collections::BTreeMap;

use bollard::models::Network;

use super::container::short;
use crate::source::declared::ContainerNetwork;

/// The option that says what a network's bridge is called.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

/// Networks, by id.
pub(in crate::source) type Networks = BTreeMap<String, ContainerNetwork>;

/// What an engine answers about its networks. Only those of the driver `bridge` have one on this host.
pub(in crate::source) fn read(answer: Vec<Network>) -> Networks {
    let read = |network: Network| {
        let id = network.id?;
        let mut options = network.options.unwrap_or_default();
        let local = network.driver.as_deref() == Some("bridge") && network.scope.as_deref() == Some("local");
        let bridge = local.then(|| options.remove(BRIDGE_NAME).unwrap_or_else(|| format!("br-{}", short(&id))));
        Some((id.clone(), ContainerNetwork { id, name: network.name.unwrap_or_default(), bridge }))
    };
    answer.into_iter().filter_map(read).collect()
}

/// The position of the network that a label calls `wanted`: as the engine does, or as the compose file of `project` does.
pub(in crate::source) fn find<'n>(
    wanted: &str,
    project: Option<&str>,
    names: impl Iterator<Item = &'n str> + Clone,
) -> Option<usize> {
    let of_project = project.map(|project| format!("{project}_{wanted}"));
    let at = |name: &str| names.clone().position(|known| known == name);
    let exact = of_project.and_then(|name| at(&name)).or_else(|| at(wanted));
    exact.or_else(|| {
        let ends = |known: &str| known.strip_suffix(wanted).is_some_and(|project| project.ends_with('_'));
        let mut of_any = names.clone().enumerate().filter(|(_, known)| ends(known));
        // Of two projects nobody knows which is meant.
        of_any.next().filter(|_| of_any.next().is_none()).map(|(at, _)| at)
    })
}
