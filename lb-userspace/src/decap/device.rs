//! The device that tunnels end at, as the kernel tells of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use lb_common::Address;

use crate::netlink::link::{self, Link};
use crate::netlink::socket::Requests;
use crate::netlink::{ROUTE, address};

/// A device, looked up anew each time: its addresses and its MTU change, and it may go.
pub(super) struct Device {
    requests: Requests,
    name: String,
    ifindex: u32,
}

impl Device {
    /// Finds it by its name, in this thread's network namespace.
    pub(super) fn find(name: &str) -> Result<Self> {
        let mut requests = Requests::open(ROUTE).context("asking the kernel about network devices")?;
        let links = links(&mut requests)?;
        let Some(link) = links.iter().find(|link| link.name == name) else {
            let known: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
            bail!("--iface {name}: found no such device on this host, expected one of {}", known.join(", "));
        };
        if link.ethernet.is_none() {
            bail!(
                "--iface {name}: found a device without Ethernet, expected the Ethernet device that tunnels arrive at"
            );
        }
        Ok(Self { requests, name: name.to_owned(), ifindex: link.ifindex })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Its MTU, in bytes.
    pub(super) fn mtu(&mut self) -> Result<u32> {
        let links = links(&mut self.requests)?;
        let link = links.iter().find(|link| link.ifindex == self.ifindex);
        let gone =
            || format!("the device {} is gone, and the programs with it: start `weir decap` on another", self.name);
        Ok(link.with_context(gone)?.mtu)
    }

    /// Its addresses, but those of the link alone.
    pub(super) fn addresses(&mut self) -> Result<BTreeSet<IpAddr>> {
        let answers = self.requests.dump(&address::list()).context("asking the kernel for addresses")?;
        let of_device =
            answers.iter().filter_map(|payload| address::parse(payload)).filter(|found| found.ifindex == self.ifindex);
        Ok(of_device.map(|found| found.address).filter(|address| !Address::from(*address).is_no_host()).collect())
    }
}

fn links(requests: &mut Requests) -> Result<Vec<Link>> {
    let answers = requests.dump(&link::list()).context("asking the kernel for network devices")?;
    Ok(answers.iter().filter_map(|payload| link::parse(payload)).collect())
}
