//! Looking: the only part of the doctor that touches the host.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::facts::{DeviceFacts, Facts, InterfaceFacts, Program, Wanted};
use crate::config::Mode;
use crate::dataplane::kernel::pins;
use crate::netlink::generic::Family;
use crate::netlink::link::{self, Link};
use crate::netlink::netdev::XDP_NDO_XMIT;
use crate::netlink::socket::Requests;
use crate::netlink::{GENERIC, ROUTE, ethtool, netdev};

/// Looks at the host, in the calling thread's network namespace. What cannot be seen is left out.
///
/// Devices are asked for over netlink and sysctls read from `/proc/sys/net`, which both follow the thread's namespace;
/// `/sys/class/net` shows the namespace it was mounted in, and is believed only about a device that is the same there.
pub fn gather(wanted: &Wanted) -> Facts {
    let mut facts = Facts {
        wanted: wanted.clone(),
        release: read("/proc/sys/kernel/osrelease"),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        capabilities: capabilities(),
        initial_user_namespace: read("/proc/thread-self/uid_map").map(|map| maps_everybody(&map)),
        jit: sysctl("core/bpf_jit_enable"),
        forwarding_ipv4: sysctl("ipv4/ip_forward"),
        forwarding_ipv6: sysctl("ipv6/conf/all/forwarding"),
        rp_filter_all: sysctl("ipv4/conf/all/rp_filter"),
        state: pins::look(&wanted.state),
        netlink_error: None,
        devices: BTreeSet::new(),
        deaf_veths: BTreeSet::new(),
        interfaces: Vec::new(),
    };
    match Devices::ask() {
        Ok(devices) => devices.fill(&mut facts),
        Err(error) => facts.netlink_error = Some(error.to_string()),
    }
    facts
}

/// The devices, as the kernel tells them.
struct Devices {
    links: Vec<Link>,
    features: Option<BTreeMap<u32, u64>>,
    generic: Requests,
    ethtool: Option<Family>,
}

impl Devices {
    fn ask() -> io::Result<Self> {
        let mut generic = Requests::open(GENERIC)?;
        let features = match Family::find(&mut generic, netdev::NAME)? {
            Some(family) => Some(netdev::list(&mut generic, &family)?),
            None => None,
        };
        let ethtool = Family::find(&mut generic, ethtool::NAME)?;
        let links = Requests::open(ROUTE)?.dump(&link::list())?;
        let links = links.iter().filter_map(|payload| link::parse(payload)).collect();
        Ok(Self { links, features, generic, ethtool })
    }

    fn fill(mut self, facts: &mut Facts) {
        facts.devices = self.links.iter().map(|link| link.name.clone()).collect();
        facts.deaf_veths =
            self.links.iter().filter(|link| self.is_deaf_veth(link)).map(|link| link.name.clone()).collect();
        let wanted = facts.wanted.interfaces.clone().unwrap_or_else(|| {
            let comes_into_question =
                |link: &&Link| link.ethernet.is_some() && link.controller.is_none() && link.is_up();
            let candidates = self.links.iter().filter(comes_into_question);
            candidates.map(|link| (link.name.clone(), Mode::Auto)).collect()
        });
        for (name, mode) in wanted {
            let link = self.links.iter().find(|link| link.name == name).cloned();
            let device = link.map(|link| self.device(&link));
            facts.interfaces.push(InterfaceFacts { name, mode, device });
        }
    }

    /// A bridge's port is no next hop of its own: the bridge is, and that is the stack's affair anyway.
    fn is_deaf_veth(&self, link: &Link) -> bool {
        link.kind.as_deref() == Some("veth")
            && link.controller.is_none()
            && link.is_up()
            && self
                .features
                .as_ref()
                .is_some_and(|all| all.get(&link.ifindex).is_some_and(|xdp| xdp & XDP_NDO_XMIT == 0))
    }

    fn device(&mut self, link: &Link) -> DeviceFacts {
        let offloads = self
            .ethtool
            .as_ref()
            .and_then(|family| ethtool::active(&mut self.generic, family, link.ifindex).ok().flatten());
        DeviceFacts {
            is_up: link.is_up(),
            has_carrier: link.has_carrier(),
            is_ethernet: link.ethernet.is_some(),
            driver: link.kind.clone().or_else(|| driver(link)),
            mtu: link.mtu,
            xdp_features: self.features.as_ref().and_then(|features| features.get(&link.ifindex).copied()),
            program: link.xdp.map(|(_, id)| Program { id, name: program_name(id) }),
            offloads,
            rp_filter: sysctl(&format!("ipv4/conf/{}/rp_filter", link.name)),
            forwarding_ipv4: sysctl(&format!("ipv4/conf/{}/forwarding", link.name)),
            vlans: vlans_on(&self.links, link.ifindex),
        }
    }
}

/// The VLAN devices that stand on a device of this namespace.
fn vlans_on(links: &[Link], ifindex: u32) -> BTreeSet<String> {
    links
        .iter()
        .filter(|link| link.kind.as_deref() == Some("vlan") && link.lower == Some(ifindex) && !link.elsewhere)
        .map(|link| link.name.clone())
        .collect()
}

/// A physical device's driver, from sysfs, if sysfs shows the same device.
fn driver(link: &Link) -> Option<String> {
    let device = Path::new("/sys/class/net").join(&link.name);
    let shown = |file| read(device.join(file));
    let mac = link.ethernet?.map(|byte| format!("{byte:02x}")).join(":");
    let same = shown("ifindex")?.parse() == Ok(link.ifindex) && shown("address")? == mac;
    let driver = same.then(|| std::fs::read_link(device.join("device/driver")).ok())??;
    driver.file_name()?.to_str().map(str::to_owned)
}

/// The name of a loaded program. Needs the privilege to look at programs.
fn program_name(id: u32) -> Option<String> {
    aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
}

fn capabilities() -> Option<u64> {
    let status = read("/proc/thread-self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether a `uid_map` (user_namespaces(7)) is the initial user namespace's.
fn maps_everybody(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn sysctl(name: &str) -> Option<u8> {
    read(Path::new("/proc/sys/net").join(name))?.parse().ok()
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_are_found_on_their_device_only() {
        let link = |name: &str, kind: &str, lower, elsewhere| Link {
            ifindex: 9,
            name: name.into(),
            mtu: 1500,
            ethernet: None,
            kind: Some(kind.into()),
            flags: 0,
            lower: Some(lower),
            tag: None,
            controller: None,
            elsewhere,
            xdp: None,
        };
        let links = [
            link("eth0.5", "vlan", 2, false),
            link("eth1.5", "vlan", 3, false),
            link("moved", "vlan", 2, true),
            link("macvlan0", "macvlan", 2, false),
        ];
        assert_eq!(vlans_on(&links, 2), ["eth0.5".to_owned()].into());
    }

    #[test]
    fn only_the_initial_user_namespace_maps_everybody() {
        assert!(maps_everybody("         0          0 4294967295"));
        assert!(!maps_everybody("         0     100000      65536"));
        assert!(!maps_everybody(""));
    }

    #[test]
    fn this_process_has_capabilities_to_read() {
        assert!(capabilities().is_some());
    }
}
