//! Ways back that do not lead through Weir's host: direct server return, and backends that know no more of the world
//! than the addresses that Weir's flows come from.

use std::net::IpAddr;

use anyhow::Result;

use super::addresses::{front_v4, front_v6};
use super::cabling::{await_links, batch, cable, offload};
use super::topology::{Backend, Lab};

/// The second device of a backend that answers clients itself: it is on their bridge.
pub const WAY_DEVICE: &str = "way0";
/// The routing table for what such a backend sends from a VIP.
const TABLE: u32 = 100;
/// The number of the first such backend among the hosts on the clients' bridge.
const FIRST_HOST: u8 = 121;

impl Lab {
    /// Gives a backend these VIPs, and a second device by which what it sends from them goes straight to the clients.
    /// The backend neither asks for nor answers about the VIPs by ARP, as whoever shares an address has to.
    ///
    /// # Panics
    /// When the backend is none of this lab's.
    pub fn return_directly(&self, backend: &Backend, vips: &[IpAddr]) -> Result<()> {
        let (netns, port) = (&backend.netns, format!("way-{}", backend.name));
        let number = self.backends.iter().position(|other| other.name == backend.name).expect("a backend of this lab");
        let host = FIRST_HOST + u8::try_from(number).expect("at most a hundred backends");
        for scope in ["all", "default"] {
            netns.sysctl(&format!("net/ipv4/conf/{scope}/arp_ignore"), "1")?;
            netns.sysctl(&format!("net/ipv4/conf/{scope}/arp_announce"), "2")?;
            // What comes from clients comes by another device than what goes to them.
            netns.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        netns.sysctl("net/ipv4/conf/net0/rp_filter", "0")?;
        let mut lines = String::new();
        cable(&mut lines, netns.name(), WAY_DEVICE, self.switch.name(), &port);
        batch(&lines)?;
        self.switch.ip_batch(&format!("link set dev {port} master br-front up\n"))?;
        let (v4, v6) = (front_v4(host), front_v6(host));
        let mut lines = format!("addr add {v4}/32 dev {WAY_DEVICE}\naddr add {v6}/128 dev {WAY_DEVICE} nodad\n");
        lines += &format!("link set dev {WAY_DEVICE} up\n");
        for prefix in ["198.51.100.0/24", "2001:db8:1::/64"] {
            lines += &format!("route add {prefix} dev {WAY_DEVICE} table {TABLE}\n");
        }
        for vip in vips {
            let (length, more) = if vip.is_ipv4() { (32, "") } else { (128, " nodad") };
            lines += &format!("addr add {vip}/{length} dev lo{more}\n");
        }
        netns.ip_batch(&lines)?;
        for vip in vips {
            let family = if vip.is_ipv4() { "-4" } else { "-6" };
            netns.ip(&format!("{family} rule add from {vip} lookup {TABLE}"))?;
        }
        offload(netns, &[WAY_DEVICE])?;
        offload(&self.switch, &[&port])?;
        await_links(netns, 2)
    }

    /// Takes a backend's default route away, and leaves it one to these addresses.
    pub fn return_only_to(&self, backend: &Backend, addresses: &[IpAddr]) -> Result<()> {
        for family in ["-4", "-6"] {
            let gateway = backend.netns.ip(&format!("{family} route show default"))?;
            let gateway = gateway.split_whitespace().skip_while(|word| *word != "via").nth(1).unwrap_or_default();
            backend.netns.ip(&format!("{family} route del default"))?;
            for address in addresses.iter().filter(|address| address.is_ipv4() == (family == "-4")) {
                backend.netns.ip(&format!("{family} route add {address} via {gateway}"))?;
            }
        }
        Ok(())
    }
}
