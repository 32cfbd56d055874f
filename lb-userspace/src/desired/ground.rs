//! What packets leave on: the kernel's routes and neighbours, as far as a backend's row has to know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::abi::{self, Delivery, DeviceFlags, Networks, Tags};

use super::MAX_DEVICES;
use crate::config::Forward;
use crate::dataplane::kernel::Attached;
use crate::nexthop::{Device, Frame, Hop, NextHops, Port, Reached, StackReason};
use crate::shaping::Queue;

/// The way out to a backend, as the packet path takes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Way {
    /// [`Delivery`].
    pub delivery: u16,
    /// The device's index.
    pub ifindex: u32,
    /// The largest layer-3 packet it takes, in bytes.
    pub mtu: u32,
    /// The next hop's Ethernet address.
    pub mac_destination: [u8; 6],
    /// The device's own.
    pub mac_source: [u8; 6],
    /// The VLAN tags that frames get.
    pub tags: Tags,
}

impl Way {
    /// There is none.
    pub const NONE: Self = Self {
        delivery: Delivery::NONE,
        ifindex: 0,
        mtu: 0,
        mac_destination: [0; 6],
        mac_source: [0; 6],
        tags: Tags::NONE,
    };

    /// The host's stack finds it.
    pub const STACK: Self = Self { delivery: Delivery::STACK, ..Self::NONE };

    fn port(frame: &Frame, port: Port, delivery: u16) -> Self {
        Self { ifindex: port.ifindex, tags: Tags::NONE, ..Self::device(frame, delivery) }
    }

    fn device(frame: &Frame, delivery: u16) -> Self {
        Self {
            delivery,
            ifindex: frame.ifindex,
            mtu: frame.mtu,
            mac_destination: frame.destination,
            mac_source: frame.source,
            tags: frame.tags,
        }
    }
}

/// What the packet path runs on: the kernel's routes and neighbours, and where Weir is attached.
#[derive(Debug, Clone, Default)]
pub struct Ground {
    /// Next hops and devices.
    pub hops: Arc<NextHops>,
    /// The devices that Weir is attached to, by index.
    pub attached: BTreeMap<u32, Attached>,
    /// The veth devices at whose other ends there are XDP programs, too. Nobody in this network namespace can see that, nor
    /// would be told when it is not so any more: it is the configuration's to say.
    pub peers_with_xdp: BTreeSet<u32>,
    /// Where the tc program for ingress is: on ports of bridges, and on devices that Weir is attached to.
    pub ingress: BTreeSet<u32>,
    /// The bridges that are named as interfaces: who is behind their ports comes from outside.
    pub outside: BTreeSet<u32>,
    /// How packets wait, by the device that they leave by; of those where they do.
    pub queues: BTreeMap<u32, Queue>,
    /// By port: which networks who is behind it belongs to, as bits of [`Networks`].
    pub networks: BTreeMap<u32, u32>,
}

impl Ground {
    /// Whether every program runs in the stack, from where frames can be sent into any Ethernet device. One that runs
    /// in a driver needs the other device's driver to take them.
    fn all_skb(&self) -> bool {
        !self.attached.is_empty() && self.attached.values().all(|attached| *attached == Attached::Skb)
    }

    /// The way out to an address for packets that are forwarded so. The stack cannot deliver what is not for the
    /// backend's own address, or is in a tunnel of Weir's.
    pub fn way(&self, address: IpAddr, forward: Forward) -> Way {
        match self.sent(address) {
            Some(_) if forward == Forward::L2 && self.hops.is_routed(&address) => Way::NONE,
            Some(way) => way,
            None if forward.is_direct() => Way::NONE,
            None => Way::STACK,
        }
    }

    /// The way out from XDP.
    fn sent(&self, address: IpAddr) -> Option<Way> {
        let reached = self.hops.get(&address)?;
        if let Some((frame, port)) = self.port(reached) {
            return Some(Way::port(frame, port, self.port_delivery(port)));
        }
        let sendable = self.all_skb() || matches!(reached.hop, Hop::Device { .. });
        match &reached.frame {
            Some(frame) if sendable => {
                let redirect = self
                    .hops
                    .devices
                    .get(&frame.ifindex)
                    .is_some_and(|device| self.wants_redirect(frame.ifindex, device));
                Some(Way::device(frame, if redirect { Delivery::REDIRECT } else { Delivery::DEVICE }))
            }
            Some(_) | None => None,
        }
    }

    /// The port that an address is behind, if packets can be put there: XDP hands them to the tc program of the device that
    /// they came in by, and replies are translated by the port's own.
    fn port<'a>(&self, reached: &'a Reached) -> Option<(&'a Frame, Port)> {
        let frame = reached.frame.as_ref()?;
        let port = match frame.port {
            Some(port) => Some(port).filter(|port| self.ingress.contains(&port.ifindex)),
            // Until it is known, the bridge finds it, or asks all of its ports.
            None => Some(Port { ifindex: reached.via?, peer: false }).filter(|bridge| self.is_watched(bridge.ifindex)),
        };
        port.filter(|_| self.hands_over()).map(|port| (frame, port))
    }

    /// Whether a device is a bridge all of whose ports have the program.
    fn is_watched(&self, bridge: u32) -> bool {
        let mut ports = self.hops.devices.iter().filter(|(_, device)| device.bridge == Some(bridge)).peekable();
        self.hops.devices.get(&bridge).is_some_and(Device::is_bridge)
            && ports.peek().is_some()
            && ports.all(|(ifindex, _)| self.ingress.contains(ifindex))
    }

    /// Whether what XDP hands over is put where it goes, whatever device it came in by.
    fn hands_over(&self) -> bool {
        self.attached.keys().all(|ifindex| self.ingress.contains(ifindex))
    }

    /// How frames get to a port. From XDP where the port's device takes them, which a veth does whose peer has GRO or a program: bulk
    /// traffic towards the container is a fifth faster than by tc then (docs/design.md), and a container's has neither.
    fn port_delivery(&self, port: Port) -> u16 {
        let device = self.hops.devices.get(&port.ifindex);
        let takes = device.is_some_and(|device| device.can_transmit);
        match port.peer {
            _ if takes => Delivery::REDIRECT,
            true => Delivery::PEER,
            false => Delivery::PORT,
        }
    }

    /// The way out to an address for packets that are forwarded so, for a person.
    pub fn describe(&self, address: IpAddr, forward: Forward) -> String {
        let way = self.way(address, forward);
        if way.delivery == Delivery::STACK || way.delivery == Delivery::NONE {
            let stack = if way.delivery == Delivery::NONE { "none" } else { "stack" };
            return format!("{stack}: {}", self.reason(address, forward));
        }
        let device = self.hops.devices.get(&way.ifindex);
        let name = device.map_or("a device that is gone", |device| &device.name);
        let how = match way.delivery {
            Delivery::PEER => "peer",
            Delivery::PORT => "port",
            _ => "xdp",
        };
        let bridge = device.and_then(|device| self.hops.devices.get(&device.bridge?));
        let bridge = bridge.map(|bridge| format!(" ({})", bridge.name)).unwrap_or_default();
        format!("{how} {name}{}{bridge}", show_tags(way.tags))
    }

    /// Why packets for an address are not sent from XDP, when they are not.
    pub(super) fn reason(&self, address: IpAddr, forward: Forward) -> String {
        match self.hops.hop(&address) {
            _ if forward == Forward::L2 && self.hops.is_routed(&address) => {
                "it is behind a router, and l2 reaches backends on the link alone".to_owned()
            }
            Some(Hop::Stack(StackReason::NoRoute)) => "no route".to_owned(),
            Some(Hop::Stack(StackReason::Local)) => "this host's own address".to_owned(),
            Some(Hop::Stack(StackReason::CannotTransmit { device })) => {
                self.bridged(address).unwrap_or_else(|| format!("{device} takes no frames from XDP"))
            }
            Some(Hop::Stack(StackReason::Unresolved) | Hop::Device { .. }) => {
                "the neighbour does not answer (yet)".to_owned()
            }
            None => "not looked up yet".to_owned(),
        }
    }

    /// Why packets for an address behind a bridge are not put at its port; `None` when it is behind none.
    fn bridged(&self, address: IpAddr) -> Option<String> {
        let reached = self.hops.get(&address)?;
        let name =
            |ifindex: u32| self.hops.devices.get(&ifindex).map_or("a device that is gone", |device| &device.name);
        let bridge = self.hops.devices.get(&reached.via?).filter(|device| device.is_bridge())?;
        let Some(frame) = reached.frame else { return Some("the neighbour does not answer (yet)".to_owned()) };
        let missing = |ifindex: &u32| !self.ingress.contains(ifindex);
        Some(match frame.port {
            None => {
                format!(
                    "{} is a bridge, and the port of {} is not known (yet)",
                    bridge.name,
                    show_mac(frame.destination)
                )
            }
            Some(port) if missing(&port.ifindex) => {
                format!("Weir is not attached (yet) to {}, a port of the bridge {}", name(port.ifindex), bridge.name)
            }
            Some(_) => match self.attached.keys().copied().find(missing) {
                Some(ifindex) => format!("Weir's program for bridges is not attached (yet) to {}", name(ifindex)),
                None => format!("the bridge {} takes no frames from XDP", bridge.name),
            },
        })
    }

    /// Every device of which there is anything to say.
    pub(super) fn devices(&self) -> BTreeMap<u32, abi::Device> {
        let all = self.hops.devices.iter().map(|(&ifindex, device)| (ifindex, self.device(ifindex, device)));
        all.filter(|(_, device)| device.flags != 0).take(MAX_DEVICES).collect()
    }

    fn device(&self, ifindex: u32, device: &Device) -> abi::Device {
        let set = |is: bool, flag: u32| if is { flag } else { 0 };
        let below = self.hops.devices.get(&device.link).unwrap_or(device);
        let redirects = self.wants_redirect(device.link, below);
        let attached = self.attached.get(&ifindex);
        // What comes in by a port that XDP sees was decided there.
        let port = device.bridge.filter(|_| self.ingress.contains(&ifindex) && !self.is_seen(ifindex));
        let flags = set(device.can_transmit || self.all_skb() && device.ethernet.is_some(), DeviceFlags::TRANSMIT)
            | set(redirects, DeviceFlags::REDIRECT)
            | set(device.can_scatter, DeviceFlags::SCATTER)
            | set(self.is_seen(ifindex) || port.is_some(), DeviceFlags::ATTACHED)
            | set(attached == Some(&Attached::Skb), DeviceFlags::GENERIC)
            | set(port.is_some(), DeviceFlags::PORT)
            | set(device.is_bridge() && self.hands_over(), DeviceFlags::BRIDGE)
            | set(self.queues.get(&ifindex) == Some(&Queue::Timed), DeviceFlags::TIMED)
            | set(self.queues.get(&ifindex) == Some(&Queue::Classed), DeviceFlags::CLASSED);
        abi::Device {
            flags,
            link: device.link,
            tags: device.tags,
            networks: self.networks_of(ifindex, port),
            upper: device.bridge.unwrap_or(ifindex),
            mac: device.ethernet.unwrap_or_default(),
            pad: 0,
        }
    }

    /// The networks that who comes in by a device belongs to.
    fn networks_of(&self, ifindex: u32, bridge: Option<u32>) -> u32 {
        let outside = self.is_seen(ifindex)
            || self.outside.contains(&ifindex)
            || bridge.is_some_and(|bridge| self.outside.contains(&bridge));
        self.networks.get(&ifindex).copied().unwrap_or_default() | if outside { Networks::OUTSIDE } else { 0 }
    }

    /// The addresses that are reached in another way on other ground; `None` when that may be all of them.
    pub(crate) fn changed(&self, other: &Self) -> Option<BTreeSet<IpAddr>> {
        let (old, new) = (&self.hops, &other.hops);
        if self.attached != other.attached || self.peers_with_xdp != other.peers_with_xdp {
            return None;
        }
        let tc: BTreeSet<u32> = self.ingress.symmetric_difference(&other.ingress).copied().collect();
        if tc.iter().any(|ifindex| self.attached.contains_key(ifindex)) {
            return None;
        }
        if Arc::ptr_eq(old, new) && tc.is_empty() {
            return Some(BTreeSet::new());
        }
        let is_other = |ifindex: u32| {
            tc.contains(&ifindex) || !Arc::ptr_eq(old, new) && old.devices.get(&ifindex) != new.devices.get(&ifindex)
        };
        // Where the port is not known frames go to the bridge for as long as all of its ports have the program.
        let portless =
            |reached: &Reached| reached.via.filter(|_| reached.frame.is_some_and(|frame| frame.port.is_none()));
        let mut turned: BTreeSet<u32> = new.iter().filter_map(|(_, reached)| portless(reached)).collect();
        turned.retain(|bridge| self.is_watched(*bridge) != other.is_watched(*bridge));
        let leads_by = |reached: &Reached| {
            let frame =
                reached.frame.iter().flat_map(|frame| [Some(frame.ifindex), frame.port.map(|port| port.ifindex)]);
            frame.chain([reached.via]).flatten().any(is_other)
                || portless(reached).is_some_and(|bridge| turned.contains(&bridge))
        };
        let by_others = new.iter().filter(|(_, reached)| leads_by(reached)).map(|(address, _)| *address);
        Some(old.unlike(new).chain(by_others).collect())
    }

    /// Whether frames have to be redirected into a device also when they came in by it. A veth device sends frames back by
    /// `XDP_TX` only when its peer has an XDP program (drivers/net/veth.c, veth_xdp_flush); a redirect wants less, and its
    /// `can_transmit` tells.
    fn wants_redirect(&self, ifindex: u32, device: &Device) -> bool {
        device.kind.as_deref() == Some("veth") && !self.peers_with_xdp.contains(&ifindex)
    }

    /// Whether what comes in by a device has been seen: a program is on it, or on what a VLAN device stands on.
    fn is_seen(&self, ifindex: u32) -> bool {
        let link = self.hops.devices.get(&ifindex).map_or(ifindex, |device| device.link);
        self.attached.contains_key(&ifindex) || self.attached.contains_key(&link)
    }

    /// The names of the devices whose packets are seen. Those of a bridge are, when they are at all of its ports.
    pub(super) fn seen(&self) -> BTreeSet<&str> {
        let ports = self.hops.devices.iter().filter(|(ifindex, _)| !self.ingress.contains(ifindex));
        let unseen: BTreeSet<u32> = ports.filter_map(|(_, device)| device.bridge).collect();
        let is_seen_at_ports = |ifindex: &u32, device: &Device| device.is_bridge() && !unseen.contains(ifindex);
        let devices = self.hops.devices.iter();
        let seen = devices.filter(|(ifindex, device)| self.is_seen(**ifindex) || is_seen_at_ports(ifindex, device));
        seen.map(|(_, device)| device.name.as_str()).collect()
    }
}

/// An Ethernet address for a person.
fn show_mac([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// VLAN tags for a person: ` vlan 100`, the outer one first.
pub(super) fn show_tags(tags: Tags) -> String {
    let words = tags.0.iter().filter(|word| **word != 0);
    let ids: Vec<String> = words
        .map(|word| {
            let [.., high, low] = word.to_ne_bytes();
            // The upper four bits are priority and drop eligibility.
            (u16::from_be_bytes([high, low]) & 0x0fff).to_string()
        })
        .collect();
    if ids.is_empty() { String::new() } else { format!(" vlan {}", ids.join(".")) }
}

#[cfg(test)]
#[path = "ground_tests.rs"]
mod tests;
