//! How the lab's namespaces are cabled and addressed: the words for `ip` and `ethtool`.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::addresses::{WEIR_BACK_V4, WEIR_BACK_V6, WEIR_FRONT_V4, WEIR_FRONT_V6};
use super::command::run_with_input;
use super::direct::WAY_DEVICE;
use super::hop;
use super::netns::Netns;
use super::topology::{BACK, FRONT, HOST_DEVICE};
use super::wait::wait_until;

/// The index of a host's first device, and one less than that of its second; more than the switch has ports.
const HOST_INDEX: u32 = 1000;

/// How long links have to come up.
const LINKS_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn batch(lines: &str) -> Result<()> {
    run_with_input(Command::new("ip").args(["-batch", "-"]), lines).map(drop)
}

pub(super) fn cable(lines: &mut String, netns: &str, device: &str, peer_netns: &str, peer: &str) {
    // Both ends are born where they belong: nothing appears in the machine's own namespace. The index keeps the two
    // ends' apart: where they are equal the kernel takes the pair for a single device, and tells of its carrier up to a
    // second late (net/core/link_watch.c, `linkwatch_urgent_event`).
    let index = if [BACK, hop::FAR, WAY_DEVICE].contains(&device) { HOST_INDEX + 1 } else { HOST_INDEX };
    writeln!(lines, "link add name {device} index {index} netns {netns} type veth peer name {peer} netns {peer_netns}")
        .expect("a String takes everything");
}

/// Two bridges that learn and that pass on even frames to link-local groups; only spanning tree's own, pause and LACP
/// the kernel keeps.
pub(super) fn bridges(clients: &[String], backends: &[String]) -> String {
    let mut lines = String::from("link set dev lo up\n");
    for (bridge, uplink, hosts) in [("front", "weir-front", clients), ("back", "weir-back", backends)] {
        lines +=
            &format!("link add name br-{bridge} type bridge forward_delay 0 mcast_snooping 0 group_fwd_mask 0xfff8\n");
        lines += &format!("link set dev br-{bridge} up\n");
        for port in std::iter::once(uplink).chain(hosts.iter().map(String::as_str)) {
            lines += &format!("link set dev {port} master br-{bridge} up\n");
        }
    }
    lines
}

pub(super) fn weir_addresses() -> String {
    let mut lines = String::from("link set dev lo up\n");
    for (device, v4, v6) in [(FRONT, WEIR_FRONT_V4, WEIR_FRONT_V6), (BACK, WEIR_BACK_V4, WEIR_BACK_V6)] {
        lines +=
            &format!("addr add {v4}/24 dev {device}\naddr add {v6}/64 dev {device} nodad\nlink set dev {device} up\n");
    }
    lines
}

pub(super) fn host_addresses(v4: Ipv4Addr, v6: Ipv6Addr, routes: &[String]) -> String {
    let device = HOST_DEVICE;
    format!(
        "link set dev lo up\naddr add {v4}/24 dev {device}\naddr add {v6}/64 dev {device} nodad\nlink set dev {device} up\n{}\n",
        routes.join("\n")
    )
}

/// No duplicate address detection and no router solicitations: addresses work at once, and the wire is silent.
pub(super) fn quieten(netns: &Netns, only_bridges: bool) -> Result<()> {
    for scope in ["all", "default"] {
        netns.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
        netns.sysctl(&format!("net/ipv6/conf/{scope}/accept_ra"), "0")?;
        netns.sysctl(&format!("net/ipv6/conf/{scope}/router_solicitations"), "0")?;
        if only_bridges {
            netns.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
        }
    }
    Ok(())
}

/// `tx off`: packets of local sockets leave with their checksum finished, as they would on a wire; XDP does not see
/// the note that it is not. `gro on`: a veth takes packets from `XDP_TX` and `XDP_REDIRECT` only when it polls, and
/// without a program of its own it polls only for GRO (drivers/net/veth.c, `veth_xdp_xmit`).
pub(super) fn offload(netns: &Netns, devices: &[&str]) -> Result<()> {
    for device in devices {
        netns.command("ethtool", &["-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "on"])?;
    }
    Ok(())
}

/// Waits until the kernel has noticed the carrier of every link: only then do IPv6 addresses work and bridges forward.
pub(super) fn await_links(netns: &Netns, devices: usize) -> Result<()> {
    let what = format!("{devices} devices of {} to be up", netns.name());
    wait_until(&what, LINKS_WITHIN, || {
        let links = netns
            .ip("-json link show type veth")
            .and_then(|text| Ok(serde_json::from_str::<serde_json::Value>(&text)?));
        let links = match links {
            Ok(links) => links,
            Err(error) => return Some(Err(error)),
        };
        let up = links.as_array().into_iter().flatten().filter(|link| link["operstate"] == "UP").count();
        (up == devices).then_some(Ok(()))
    })?
}
