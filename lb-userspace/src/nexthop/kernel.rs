//! The follower's talk with the kernel: hears events, asks what it does not know, and keeps the table.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use tokio::io::unix::AsyncFd;

use super::search::Due;
use super::table::Table;
use crate::netlink::fdb;
use crate::netlink::generic::Family;
use crate::netlink::link::{self, RTM_DELLINK, RTM_NEWLINK};
use crate::netlink::message::Request;
use crate::netlink::neighbour::{self, Key, RTM_DELNEIGH, RTM_NEWNEIGH};
use crate::netlink::route::{self, RTM_DELROUTE, RTM_NEWROUTE};
use crate::netlink::socket::{self, Answer, Requests};
use crate::netlink::{AF_INET, AF_INET6, GENERIC, ROUTE, netdev};

/// `RTNLGRP_…` (rtnetlink.h): LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE,
/// NEXTHOP.
const GROUPS: [u32; 9] = [1, 3, 5, 7, 8, 9, 11, 19, 32];

/// Datagrams read before anything else gets a turn.
const MAX_HEARD: usize = 1024;

/// `ENOENT` and `ENOBUFS` (asm-generic/errno.h).
const ENOENT: i32 = 2;
const ENOBUFS: i32 = 105;

/// What events changed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    /// Something has to be asked: a route is outdated, or what a driver can do.
    pub(super) routes: bool,
    /// A neighbour that is used.
    pub(super) neighbours: bool,
    /// Events were lost: anything may have changed.
    pub(super) overrun: bool,
}

/// A multicast socket in the runtime.
pub(super) struct Listener {
    socket: Option<AsyncFd<socket::Events>>,
    /// It was not read to its end.
    more: bool,
}

impl Listener {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, to have the caller promise that the descriptor stays open; `Events` owns its own"
    )]
    fn open(protocol: isize, groups: &[u32]) -> io::Result<Self> {
        Ok(Self { socket: Some(AsyncFd::new(socket::Events::open(protocol, groups)?)?), more: false })
    }

    /// Hears nothing, ever.
    fn deaf() -> Self {
        Self { socket: None, more: false }
    }

    /// Waits for something to hear.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match &self.socket {
            Some(_) if self.more => Ok(()),
            // Readiness is cleared before reading to the end, so that what comes meanwhile sets it again.
            Some(socket) => socket.readable().await.map(|mut ready| ready.clear_ready()),
            None => std::future::pending().await,
        }
    }

    /// Hands over what there is, message by message. Returns whether messages were lost.
    fn hear(&mut self, mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        let Some(socket) = &mut self.socket else { return Ok(false) };
        let mut lost = false;
        self.more = true;
        for _ in 0..MAX_HEARD {
            match socket.get_mut().hear(&mut each)? {
                socket::Heard::Datagram => {}
                socket::Heard::Overrun => lost = true,
                socket::Heard::Nothing => {
                    self.more = false;
                    break;
                }
            }
        }
        Ok(lost)
    }
}

/// The kernel's side: what was learnt from it, and the sockets to learn more.
pub(super) struct Kernel {
    pub(super) table: Table,
    /// Links, routes, neighbours.
    pub(super) events: Listener,
    /// What drivers can do.
    pub(super) device_events: Listener,
    routes: Requests,
    generic: Requests,
    netdev: Option<Family>,
    /// Devices whose driver has to be asked again what it can do.
    doubtful: BTreeSet<u32>,
    table_full: bool,
}

impl Kernel {
    /// Opens the sockets in the calling thread's network namespace; requests are counted in `requests`.
    pub(super) fn open(requests: &Arc<AtomicU64>) -> io::Result<Self> {
        let mut generic = Requests::open(GENERIC)?.counted(Arc::clone(requests));
        let netdev = Family::find(&mut generic, netdev::NAME)?;
        let device_events = match netdev.as_ref().and_then(|family| family.group(netdev::GROUP)) {
            Some(group) => Listener::open(GENERIC, &[group])?,
            None => Listener::deaf(),
        };
        if netdev.is_none() {
            tracing::warn!(
                "this kernel does not say which drivers can transmit from XDP (Linux 6.3 and later do): taking it for \
                 granted of physical devices, veth and bonds"
            );
        }
        Ok(Self {
            table: Table::default(),
            events: Listener::open(ROUTE, &GROUPS)?,
            device_events,
            routes: Requests::open(ROUTE)?.counted(Arc::clone(requests)),
            generic,
            netdev,
            doubtful: BTreeSet::new(),
            table_full: false,
        })
    }

    /// Asks for all devices, and marks everything else to be asked by the next [`Kernel::look_up`].
    pub(super) fn resync(&mut self) -> io::Result<()> {
        let links = self.routes.dump(&link::list())?;
        self.table.set_links(links.iter().filter_map(|payload| link::parse(payload)));
        if let Some(family) = &self.netdev {
            self.table.set_all_features(Some(netdev::list(&mut self.generic, family)?));
        }
        // After the links: what is behind a port that is not known is not kept.
        match self.routes.dump(&fdb::list()) {
            Ok(entries) => entries.iter().filter_map(|payload| fdb::parse(payload)).for_each(|entry| {
                self.table.learn(entry);
            }),
            // Whoever is behind a port can change the list as fast as it is read. Everything else must not wait for that.
            Err(error) => tracing::warn!(%error, "the kernel does not say who is behind the ports of bridges"),
        }
        self.doubtful.clear();
        self.table.outdate_all();
        self.table.doubt_neighbours();
        Ok(())
    }

    /// Takes in the events about links, addresses, routes, rules and neighbours.
    pub(super) fn hear(&mut self) -> io::Result<Heard> {
        let Self { table, events, doubtful, .. } = self;
        let mut heard = Heard::default();
        heard.overrun = events.hear(|kind, payload| match kind {
            RTM_NEWNEIGH | RTM_DELNEIGH => {
                if let Some((key, neighbour)) = neighbour::parse(payload) {
                    heard.neighbours |= table.set_neighbour(key, (kind == RTM_NEWNEIGH).then_some(neighbour));
                } else if kind == RTM_NEWNEIGH
                    && let Some(entry) = fdb::parse(payload)
                {
                    heard.neighbours |= table.learn(entry);
                }
            }
            RTM_NEWROUTE | RTM_DELROUTE => {
                if let Some((first, last)) = route::destination(payload) {
                    heard.routes |= table.outdate(first, last);
                }
            }
            RTM_NEWLINK => {
                if let Some(link) = link::parse(payload) {
                    // Not only when something known changed: switching offloads changes what a driver can do.
                    doubtful.insert(link.ifindex);
                    // A port's program has to be there before its first packet, not after the routes were asked for.
                    let is_port = link.controller.is_some();
                    heard.neighbours |= table.set_link(link) && is_port;
                    heard.routes = true;
                }
            }
            RTM_DELLINK => {
                if let Some(link) = link::parse(payload) {
                    doubtful.remove(&link.ifindex);
                    heard.routes |= table.remove_link(link.ifindex);
                }
            }
            // Addresses, rules and nexthop objects: few, and they may change any route of their family, whose number
            // is the first byte of `struct ifaddrmsg`, `fib_rule_hdr` and `nhmsg` alike.
            _ => {
                let (first, last) = match payload.first() {
                    Some(&AF_INET) => (IpAddr::V4(0.into()), IpAddr::V4(u32::MAX.into())),
                    Some(&AF_INET6) => (IpAddr::V6(0.into()), IpAddr::V6(u128::MAX.into())),
                    _ => (IpAddr::V4(0.into()), IpAddr::V6(u128::MAX.into())),
                };
                heard.routes |= table.outdate(first, last);
            }
        })?;
        Ok(heard)
    }

    /// Takes in the events about what drivers can do.
    pub(super) fn hear_devices(&mut self) -> io::Result<Heard> {
        let Self { table, device_events, .. } = self;
        let mut heard = Heard::default();
        heard.overrun = device_events.hear(|_, payload| {
            if let Some((ifindex, features)) = netdev::event(payload) {
                heard.neighbours |= table.set_features(ifindex, features);
            }
        })?;
        Ok(heard)
    }

    /// Asks for whatever is outdated or unknown.
    pub(super) fn look_up(&mut self) -> io::Result<()> {
        if let Some(family) = &self.netdev {
            let doubtful: Vec<_> = std::mem::take(&mut self.doubtful).into_iter().collect();
            for (ifindex, features) in netdev::get(&mut self.generic, family, &doubtful)? {
                self.table.set_features(ifindex, Some(features));
            }
        }
        let addresses = self.table.outdated();
        let questions: Vec<_> = addresses.iter().map(|address| route::lookup(*address)).collect();
        for (address, answer) in addresses.iter().zip(self.routes.ask(&questions)?) {
            self.table.set_route(*address, route::answered(&answer));
        }
        let keys = self.table.unknown_neighbours();
        let questions: Vec<_> = keys.iter().map(|key| neighbour::get(*key)).collect();
        for (key, answer) in keys.iter().zip(self.routes.ask(&questions)?) {
            match answer {
                Answer::Message(payload) => {
                    let neighbour = neighbour::parse(&payload).map(|(_, neighbour)| neighbour);
                    self.table.set_neighbour(*key, neighbour);
                }
                Answer::Refused(ENOENT) | Answer::Acknowledged => {
                    self.table.set_neighbour(*key, None);
                }
                Answer::Refused(number) => {
                    let error = io::Error::from_raw_os_error(number);
                    tracing::debug!(address = %key.address, %error, "the kernel does not say what it knows of a neighbour");
                    self.table.set_neighbour(*key, None);
                }
            }
        }
        Ok(())
    }

    /// Has the kernel resolve or confirm the neighbours that want it.
    pub(super) fn use_neighbours(&mut self, now: Instant) -> io::Result<()> {
        let due = self.table.due(now);
        // One after the other for each, so that it is without a search for a moment only.
        let each = |due: &Due| {
            let anew = due.anew.then(|| (due.key, neighbour::begin_anew(due.key)));
            anew.into_iter().chain([(due.key, neighbour::use_now(due.key))])
        };
        let (keys, questions): (Vec<Key>, Vec<Request>) = due.iter().flat_map(each).unzip();
        let answers = match self.routes.ask(&questions) {
            Ok(answers) => answers,
            Err(error) => {
                self.table.not_asked(&due);
                return Err(error);
            }
        };
        for (key, answer) in keys.iter().zip(answers) {
            let Answer::Refused(number) = answer else { continue };
            if number == ENOENT {
                // There is no entry, hence no search to begin anew.
            } else if number == ENOBUFS {
                if !std::mem::replace(&mut self.table_full, true) {
                    tracing::warn!(
                        "the kernel's neighbour table is full: raise net.ipv4.neigh.default.gc_thresh3 (and net.ipv6's) \
                         above the number of backends on this host's links"
                    );
                }
            } else {
                // The device went away, most likely; the events that follow will tell.
                let error = io::Error::from_raw_os_error(number);
                tracing::debug!(address = %key.address, %error, "the kernel would not resolve a neighbour");
            }
        }
        Ok(())
    }
}
