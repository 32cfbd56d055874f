//! What packets leave on: the kernel's routes and neighbours, as far as a backend's row has to know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::abi::{self, Delivery, DeviceFlags, Tags};

use super::MAX_DEVICES;
use crate::config::Forward;
use crate::dataplane::kernel::Attached;
use crate::nexthop::{Device, Frame, Hop, NextHops, StackReason};

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

    /// The way out to an address for packets that are forwarded so, for a person.
    pub fn describe(&self, address: IpAddr, forward: Forward) -> String {
        let way = self.way(address, forward);
        if way.delivery == Delivery::STACK || way.delivery == Delivery::NONE {
            let stack = if way.delivery == Delivery::NONE { "none" } else { "stack" };
            return format!("{stack}: {}", self.reason(address, forward));
        }
        let name = self.hops.devices.get(&way.ifindex).map_or("a device that is gone", |device| &device.name);
        format!("xdp {name}{}", show_tags(way.tags))
    }

    /// Why packets for an address are not sent from XDP, when they are not.
    pub(super) fn reason(&self, address: IpAddr, forward: Forward) -> String {
        match self.hops.hop(&address) {
            _ if forward == Forward::L2 && self.hops.is_routed(&address) => {
                "it is behind a router, and l2 reaches backends on the link alone".to_owned()
            }
            Some(Hop::Stack(StackReason::NoRoute)) => "no route".to_owned(),
            Some(Hop::Stack(StackReason::Local)) => "this host's own address".to_owned(),
            Some(Hop::Stack(StackReason::CannotTransmit { device })) => format!("{device} takes no frames from XDP"),
            Some(Hop::Stack(StackReason::Unresolved) | Hop::Device { .. }) => {
                "the neighbour does not answer (yet)".to_owned()
            }
            None => "not looked up yet".to_owned(),
        }
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
        let flags = set(device.can_transmit || self.all_skb() && device.ethernet.is_some(), DeviceFlags::TRANSMIT)
            | set(redirects, DeviceFlags::REDIRECT)
            | set(device.can_scatter, DeviceFlags::SCATTER)
            | set(self.is_seen(ifindex), DeviceFlags::ATTACHED)
            | set(attached == Some(&Attached::Skb), DeviceFlags::GENERIC);
        abi::Device { flags, link: device.link, tags: device.tags }
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

    /// The names of the devices whose packets are seen.
    pub(super) fn seen(&self) -> BTreeSet<&str> {
        let seen = self.hops.devices.iter().filter(|(ifindex, _)| self.is_seen(**ifindex));
        seen.map(|(_, device)| device.name.as_str()).collect()
    }
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
