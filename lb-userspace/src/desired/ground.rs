//! What packets leave on: the kernel's routes and neighbours, as far as a backend's row has to know.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::abi::{Delivery, DeviceFlags};

use super::MAX_DEVICES;
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
}

impl Way {
    /// The host's stack finds it.
    pub const STACK: Self =
        Self { delivery: Delivery::STACK, ifindex: 0, mtu: 0, mac_destination: [0; 6], mac_source: [0; 6] };

    fn device(frame: &Frame, delivery: u16) -> Self {
        Self {
            delivery,
            ifindex: frame.ifindex,
            mtu: frame.mtu,
            mac_destination: frame.destination,
            mac_source: frame.source,
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
}

impl Ground {
    /// Whether every program runs in the stack, from where frames can be sent into any Ethernet device. One that runs
    /// in a driver needs the other device's driver to take them.
    fn all_skb(&self) -> bool {
        !self.attached.is_empty() && self.attached.values().all(|attached| *attached == Attached::Skb)
    }

    /// The way out to an address.
    pub fn way(&self, address: IpAddr) -> Way {
        let sendable = self.all_skb() || matches!(self.hops.hops.get(&address), Some(Hop::Device { .. }));
        match self.hops.frames.get(&address) {
            Some(frame) if sendable => {
                let redirect = self.hops.devices.get(&frame.ifindex).is_some_and(wants_redirect);
                Way::device(frame, if redirect { Delivery::REDIRECT } else { Delivery::DEVICE })
            }
            Some(_) | None => Way::STACK,
        }
    }

    /// The way out to an address, for a person.
    pub fn describe(&self, address: IpAddr) -> String {
        let way = self.way(address);
        if way != Way::STACK {
            let name = self.hops.devices.get(&way.ifindex).map_or("a device that is gone", |device| &device.name);
            return format!("xdp {name}");
        }
        match self.hops.hops.get(&address) {
            Some(Hop::Stack(StackReason::NoRoute)) => "stack: no route".to_owned(),
            Some(Hop::Stack(StackReason::Local)) => "stack: this host's own address".to_owned(),
            Some(Hop::Stack(StackReason::CannotTransmit { device })) => {
                format!("stack: {device} takes no frames from XDP")
            }
            Some(Hop::Stack(StackReason::Unresolved) | Hop::Device { .. }) => {
                "stack: the neighbour does not answer (yet)".to_owned()
            }
            None => "stack: not looked up yet".to_owned(),
        }
    }

    /// The flags of every device that has any.
    pub(super) fn devices(&self) -> BTreeMap<u32, u32> {
        let all_skb = self.all_skb();
        let flags = |ifindex: &u32, device: &Device| {
            let transmit = device.can_transmit || all_skb && device.ethernet.is_some();
            let transmit = if transmit { DeviceFlags::TRANSMIT } else { 0 };
            let redirect = if wants_redirect(device) { DeviceFlags::REDIRECT } else { 0 };
            transmit | redirect | if self.attached.contains_key(ifindex) { DeviceFlags::ATTACHED } else { 0 }
        };
        let all = self.hops.devices.iter().map(|(&ifindex, device)| (ifindex, flags(&ifindex, device)));
        all.filter(|(_, flags)| *flags != 0).take(MAX_DEVICES).collect()
    }
}

/// Whether frames have to be redirected into a device also when they came in by it. A veth device sends frames back by
/// `XDP_TX` only when its peer has an XDP program (drivers/net/veth.c, veth_xdp_flush); a redirect wants less, and its
/// `can_transmit` tells.
fn wants_redirect(device: &Device) -> bool {
    device.kind.as_deref() == Some("veth")
}
