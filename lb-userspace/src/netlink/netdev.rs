//! What devices' drivers can do with XDP: the generic netlink family `netdev`, of Linux 6.3 and later (netdev.h).

use std::collections::BTreeMap;
use std::io;

use super::generic::{Family, HEADER_LENGTH, header};
use super::message::{Request, attributes, u32_of, u64_of};
use super::socket::{Answer, Requests};

const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_CMD_DEV_DEL_NTF: u8 = 3;

const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

/// Programs run in the driver and may pass, drop and transmit (XDP_TX).
pub(crate) const XDP_BASIC: u64 = 1;
/// Programs may redirect from this device.
pub(crate) const XDP_REDIRECT: u64 = 2;
/// Frames may be redirected into this device.
pub(crate) const XDP_NDO_XMIT: u64 = 4;

/// Frames of several buffers may be redirected into this device.
pub(crate) const XDP_NDO_XMIT_SG: u64 = 64;

/// The group of the events about devices.
pub(crate) const GROUP: &str = "mgmt";

/// The family's name.
pub(crate) const NAME: &str = "netdev";

/// Asks about every device.
pub(crate) fn list(requests: &mut Requests, family: &Family) -> io::Result<BTreeMap<u32, u64>> {
    let answers = requests.dump(&Request::dump(family.id, &header(NETDEV_CMD_DEV_GET)))?;
    Ok(answers.iter().filter_map(|payload| parse(payload)).collect())
}

/// Asks about some devices; those that are gone are left out.
pub(crate) fn get(requests: &mut Requests, family: &Family, ifindexes: &[u32]) -> io::Result<BTreeMap<u32, u64>> {
    let questions: Vec<_> = ifindexes
        .iter()
        .map(|ifindex| {
            Request::get(family.id, &header(NETDEV_CMD_DEV_GET)).attribute(NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes())
        })
        .collect();
    let answers = requests.ask(&questions)?;
    Ok(answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Message(payload) => parse(payload),
            Answer::Acknowledged | Answer::Refused(_) => None,
        })
        .collect())
}

/// An event: the device and its features, none when it is gone.
pub(crate) fn event(payload: &[u8]) -> Option<(u32, Option<u64>)> {
    let (ifindex, features) = parse(payload)?;
    Some((ifindex, (payload.first() != Some(&NETDEV_CMD_DEV_DEL_NTF)).then_some(features)))
}

fn parse(payload: &[u8]) -> Option<(u32, u64)> {
    let (mut ifindex, mut features) = (None, 0);
    for (kind, value) in attributes(payload, HEADER_LENGTH) {
        match kind {
            NETDEV_A_DEV_IFINDEX => ifindex = u32_of(value),
            NETDEV_A_DEV_XDP_FEATURES => features = u64_of(value)?,
            _ => {}
        }
    }
    Some((ifindex?, features))
}
