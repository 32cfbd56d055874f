//! A follower that is watched.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weir::nexthop::{Follower, Hop, Mac, NextHops};

use crate::support::{Lab, Namespace};

/// Longer than anything here takes: a neighbour that is dead is given up and found again within 15 s.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// A follower in a lab's host.
pub(crate) struct Watch {
    pub(crate) follower: Follower,
    pub(crate) changes: watch::Receiver<Arc<NextHops>>,
    pub(crate) runtime: tokio::runtime::Runtime,
}

impl Watch {
    /// Starts it, with these addresses to follow.
    pub(crate) fn new(lab: &Lab, addresses: &[&str]) -> Self {
        let follower = lab.host.inside(Follower::start).expect("starting");
        follower.follow(addresses.iter().map(|address| ip(address)).collect()).expect("few addresses");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { changes: follower.changes(), follower, runtime }
    }

    /// Waits until the picture is as it should be, and returns it.
    pub(crate) fn until(&mut self, what: &str, right: impl Fn(&NextHops) -> bool) -> Arc<NextHops> {
        let changes = &mut self.changes;
        let seen =
            self.runtime.block_on(async { tokio::time::timeout(DEADLINE, changes.wait_for(|next| right(next))).await });
        let seen = seen.map(|seen| Arc::clone(&seen.expect("the follower lives")));
        seen.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}; instead {:#?}", self.changes.borrow()))
    }

    /// Waits until an address has this hop.
    pub(crate) fn until_hop(&mut self, address: &str, expected: &Hop) {
        let address = ip(address);
        self.until(&format!("{address} by {expected:?}"), |next| next.hop(&address) == Some(expected));
    }

    /// Waits until an address is sent to this Ethernet address.
    pub(crate) fn until_sent_to(&mut self, address: &str, mac: Mac) -> Arc<NextHops> {
        let address = ip(address);
        self.until(
            &format!("{address} at {mac:x?}"),
            |next| matches!(next.hop(&address), Some(Hop::Device { destination, .. }) if *destination == mac),
        )
    }
}

/// An address.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The Ethernet address of a device.
pub(crate) fn mac_of(namespace: &Namespace, device: &str) -> Mac {
    let shown = namespace.run(&format!("ip -o link show {device}"));
    let mac = shown.split_once("link/ether ").expect("an Ethernet device").1;
    let bytes: Vec<u8> = mac[..17].split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// The index of a device that the follower knows.
pub(crate) fn index_of(next: &NextHops, device: &str) -> u32 {
    *next.devices.iter().find(|(_, known)| known.name == device).expect("the device is known").0
}
