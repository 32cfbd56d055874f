//! Judging an interface.

use super::facts::{DeviceFacts, Facts, InterfaceFacts, Program};
use super::{Finding, Level};
use crate::config::Mode;
use crate::netlink::netdev::{XDP_BASIC, XDP_REDIRECT};

/// The largest MTU at which a frame surely fits one page with what XDP keeps around it: 4,096 bytes less 256 of
/// headroom (`XDP_PACKET_HEADROOM`), 320 of `struct skb_shared_info`, an Ethernet header and two VLAN tags.
const MTU_MAX: u32 = 4096 - 256 - 320 - 14 - 8;

/// How the names of Weir's own programs begin.
const OWN_PROGRAMS: &str = "weir";

/// The findings about an interface.
pub(super) fn findings(facts: &Facts, interface: &InterfaceFacts) -> Vec<Finding> {
    let name = &interface.name;
    let Some(device) = &interface.device else {
        // When no device could be listed at all, that is the finding.
        let missing = facts.netlink_error.is_none().then(|| missing(facts));
        return missing.map(|finding| finding.about(name)).into_iter().collect();
    };
    if !device.is_ethernet {
        let advice = "Weir attaches to Ethernet interfaces: name one under [[interface]]";
        return vec![Finding::bad("interface", "carries no Ethernet frames", advice).about(name)];
    }
    if device.driver.as_deref() == Some("bridge") {
        return bridge(facts, name, device).into_iter().map(|finding| finding.about(name)).collect();
    }
    let mut findings = vec![state(name, device), native(interface, device)];
    findings.extend(device.program.as_ref().map(|program| attached(name, program)));
    findings.extend(mtu(interface, device));
    findings.extend(lro(name, device));
    findings.extend(rp_filter(facts, name, device));
    findings.extend(forwarding(facts, name, device));
    findings.extend(vlans(name, device));
    findings.into_iter().map(|finding| finding.about(name)).collect()
}

/// The findings about a bridge, which gets no XDP program: its ports get the tc program.
fn bridge(facts: &Facts, name: &str, device: &DeviceFacts) -> Vec<Finding> {
    let state = if device.is_up {
        // It has a carrier as soon as it has a port.
        Finding::good("interface", "it is a bridge: Weir attaches to its ports, also without XDP in their drivers")
    } else {
        state(name, device)
    };
    let program = device
        .program
        .as_ref()
        .filter(|program| program.name.as_ref().is_some_and(|name| !name.starts_with(OWN_PROGRAMS)));
    let program = program.map(|program| attached(name, program));
    [Some(state), program, rp_filter(facts, name, device), forwarding(facts, name, device)]
        .into_iter()
        .flatten()
        .collect()
}

fn missing(facts: &Facts) -> Finding {
    let names: Vec<_> = facts.devices.iter().map(String::as_str).collect();
    let advice = format!("name one of these under [[interface]]: {}", names.join(", "));
    Finding::bad("interface", "there is no such interface", advice)
}

fn state(name: &str, device: &DeviceFacts) -> Finding {
    if !device.is_up {
        Finding::bad("interface", "it is down", format!("ip link set {name} up"))
    } else if !device.has_carrier {
        Finding::advice("interface", "it is up and has no carrier", "see to the cable, or the other end")
    } else {
        Finding::good("interface", "it is up")
    }
}

fn is_native(features: u64) -> bool {
    features & XDP_BASIC != 0
}

fn native(interface: &InterfaceFacts, device: &DeviceFacts) -> Finding {
    let driver =
        device.driver.as_deref().map_or_else(|| "its driver".to_owned(), |driver| format!("its driver ({driver})"));
    let Some(features) = device.xdp_features else {
        let found = format!("this kernel does not say whether {driver} has XDP");
        return Finding::advice("xdp", found, "Linux 6.6 or later says so; mode = \"auto\" finds out by trying");
    };
    match (is_native(features), interface.mode) {
        (true, Mode::Skb) => Finding::advice(
            "xdp",
            format!("{driver} has XDP, and the configuration says mode = \"skb\", which is slower"),
            "set mode = \"auto\" for this interface",
        ),
        (true, _) if features & XDP_REDIRECT == 0 => Finding::advice(
            "xdp",
            format!("{driver} has XDP without redirects"),
            "backends behind other interfaces need them: set mode = \"skb\" for this interface if there are such",
        ),
        (true, _) => Finding::good("xdp", format!("{driver} has XDP")),
        (false, Mode::Native) => Finding::bad(
            "xdp",
            format!("{driver} has no XDP now, and the configuration says mode = \"native\""),
            "set mode = \"auto\" for this interface",
        ),
        (false, _) => Finding {
            level: Level::Advice,
            ..Finding::good("xdp", format!("{driver} has no XDP now: Weir attaches in skb mode, which is slower"))
        },
    }
}

fn attached(name: &str, program: &Program) -> Finding {
    let Some(program_name) = &program.name else {
        // Looking at programs takes more than running them does.
        return Finding::advice(
            "program",
            format!("an XDP program is attached (id {}), whose name cannot be read", program.id),
            "run it as root to see whether the program is Weir's",
        );
    };
    let shown = format!("{program_name}, id {}", program.id);
    if program_name.starts_with(OWN_PROGRAMS) {
        return Finding::good("program", format!("Weir's program is attached ({shown})"));
    }
    Finding::bad(
        "program",
        format!("another XDP program is attached ({shown}), and there is room for one"),
        format!(
            "see whose it is: bpftool prog show id {}; if it is not needed: ip link set dev {name} xdp off (a program \
             held by a link goes with the process that holds it)",
            program.id
        ),
    )
}

fn mtu(interface: &InterfaceFacts, device: &DeviceFacts) -> Option<Finding> {
    let native = interface.mode != Mode::Skb && device.xdp_features.is_none_or(is_native);
    native.then(|| {
        let found = format!("MTU {}", device.mtu);
        if device.mtu <= MTU_MAX {
            return Finding::good("mtu", found);
        }
        Finding::advice(
            "mtu",
            format!("{found}: most drivers refuse an XDP program when a frame does not fit one page"),
            format!("ip link set {} mtu {MTU_MAX}, or mode = \"skb\" for this interface", interface.name),
        )
    })
}

fn lro(name: &str, device: &DeviceFacts) -> Option<Finding> {
    let on: Vec<_> = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")]
        .iter()
        .filter(|(feature, _)| device.offloads.as_ref().is_some_and(|offloads| offloads.contains(*feature)))
        .map(|(_, option)| *option)
        .collect();
    (!on.is_empty()).then(|| {
        let switches: Vec<_> = on.iter().map(|option| format!("{option} off")).collect();
        Finding::advice(
            "offloads",
            format!(
                "the device merges packets before XDP sees them ({}), with which many drivers refuse XDP",
                on.join(", ")
            ),
            format!("ethtool -K {name} {}", switches.join(" ")),
        )
    })
}

fn rp_filter(facts: &Facts, name: &str, device: &DeviceFacts) -> Option<Finding> {
    const STRICT: u8 = 1;
    if facts.wanted.ipv4 == Some(false) {
        return None;
    }
    // The larger of the two counts (ip-sysctl, rp_filter).
    let effective = device.rp_filter?.max(facts.rp_filter_all?);
    Some(if effective == STRICT {
        Finding::advice(
            "rp-filter",
            "the reverse-path filter is strict: packets that XDP hands to the stack are dropped where the way back to \
             their source leaves by another interface",
            format!("{}=2", sysctl(name, "rp_filter")),
        )
    } else {
        Finding::good(
            "rp-filter",
            if effective == 0 { "no reverse-path filter" } else { "the reverse-path filter is loose" },
        )
    })
}

fn forwarding(facts: &Facts, name: &str, device: &DeviceFacts) -> Option<Finding> {
    // When the whole host does not forward, that is the host's finding.
    let off = facts.forwarding_ipv4? != 0 && device.forwarding_ipv4? == 0;
    (off && facts.wanted.ipv4 != Some(false)).then(|| {
        let found = "the host forwards IPv4, but not what comes in here";
        Finding::bad("forwarding-ipv4", found, format!("{}=1", sysctl(name, "forwarding")))
    })
}

/// The command that sets an interface's IPv4 sysctl. Slashes, as the name may have dots in it (sysctl(8)).
fn sysctl(name: &str, key: &str) -> String {
    if name.contains('.') {
        format!("sysctl -w net/ipv4/conf/{name}/{key}")
    } else {
        format!("sysctl -w net.ipv4.conf.{name}.{key}")
    }
}

fn vlans(name: &str, device: &DeviceFacts) -> Option<Finding> {
    (!device.vlans.is_empty()).then(|| {
        let names: Vec<_> = device.vlans.iter().map(String::as_str).collect();
        Finding::advice(
            "vlan",
            format!("frames for {} come with a VLAN's tag", names.join(", ")),
            format!("see to it that the NIC leaves the tags in them, or XDP takes them for untagged: ethtool -K {name} rxvlan off"),
        )
    })
}
