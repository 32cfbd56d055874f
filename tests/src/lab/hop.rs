//! A router between Weir's host and the backends, with a path MTU of its own.
//!
//! ```text
//!   Weir's host │ back ──(bridge)── near │ hop │ far ──(bridge)── backends
//!                  10.0.1.1     10.0.1.2        10.0.2.1     10.0.2.11…
//! ```

use anyhow::Result;

use super::addresses::{HOP_FAR_V4, HOP_FAR_V6, HOP_NEAR_V4, HOP_NEAR_V6, WEIR_BACK_V4, WEIR_BACK_V6};
use super::cabling::{await_links, batch, cable, offload, quieten};
use super::netns::Netns;

/// The device on Weir's side.
const NEAR: &str = "near";
/// The device on the backends' side.
pub(super) const FAR: &str = "far";
/// How many ports of the switch it takes.
pub(super) const PORTS: usize = 2;

/// The hop's devices, addresses and routes; the bridge `far`, and the backends' ports on it.
pub(super) fn furnish(weir: &Netns, switch: &Netns, hop: &Netns, mtu: u16, backends: &[String]) -> Result<()> {
    quieten(hop, false)?;
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        hop.sysctl(key, "1")?;
    }
    // Each packet that is too large is answered: a test sees the first one.
    for (key, value) in [("net/ipv4/icmp_ratelimit", "0"), ("net/ipv6/icmp/ratelimit", "0")] {
        hop.sysctl(key, value)?;
    }
    let mut lines = String::new();
    for (device, port) in [(NEAR, "hop-near"), (FAR, "hop-far")] {
        cable(&mut lines, hop.name(), device, switch.name(), port);
    }
    batch(&lines)?;
    let mut lines =
        String::from("link add name br-far type bridge forward_delay 0 mcast_snooping 0 group_fwd_mask 0xfff8\n");
    lines += "link set dev br-far up\nlink set dev hop-near master br-back up\nlink set dev hop-far master br-far up\n";
    for port in backends {
        lines += &format!("link set dev {port} master br-far\n");
    }
    switch.ip_batch(&lines)?;
    let mut lines = String::from("link set dev lo up\n");
    for (device, v4, v6) in [(NEAR, HOP_NEAR_V4, HOP_NEAR_V6), (FAR, HOP_FAR_V4, HOP_FAR_V6)] {
        lines +=
            &format!("addr add {v4}/24 dev {device}\naddr add {v6}/64 dev {device} nodad\nlink set dev {device} up\n");
    }
    lines += &format!("route add default via {WEIR_BACK_V4}\nroute add default via {WEIR_BACK_V6}\n");
    // Of the route, not of the device: so backends may send what they like, and it is what is sent to them that is too
    // large. Locked, which is what a router heeds of a route's MTU (net/ipv6/route.c, `ip6_dst_mtu_maybe_forward`).
    // The kernel's own route to the prefix is replaced, or outdone: its metric is 256 for IPv6.
    for prefix in ["10.0.2.0/24", "fd00:2::/64 metric 128"] {
        lines += &format!("route replace {prefix} dev {FAR} mtu lock {mtu}\n");
    }
    hop.ip_batch(&lines)?;
    offload(hop, &[NEAR, FAR])?;
    offload(switch, &["hop-near", "hop-far"])?;
    await_links(hop, 2)?;
    weir.ip_batch(&format!("route add 10.0.2.0/24 via {HOP_NEAR_V4}\nroute add fd00:2::/64 via {HOP_NEAR_V6}\n"))
}
