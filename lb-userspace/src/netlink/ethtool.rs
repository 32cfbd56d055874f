//! Offloads of devices: the generic netlink family `ethtool` (ethtool_netlink.h).

use std::collections::BTreeSet;
use std::io;

use super::generic::{Family, HEADER_LENGTH, header};
use super::message::{Request, attributes, string_of};
use super::socket::{Answer, Requests};

const ETHTOOL_MSG_FEATURES_GET: u8 = 11;

const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;

/// The family's name.
pub(crate) const NAME: &str = "ethtool";

/// The names of the features that are on at a device (`net/ethtool/common.c`, `netdev_features_strings`); `None` when
/// the kernel does not say.
pub(crate) fn active(requests: &mut Requests, family: &Family, ifindex: u32) -> io::Result<Option<BTreeSet<String>>> {
    let request = Request::get(family.id, &header(ETHTOOL_MSG_FEATURES_GET))
        .nested(ETHTOOL_A_FEATURES_HEADER, &[(ETHTOOL_A_HEADER_DEV_INDEX, &ifindex.to_ne_bytes())]);
    match requests.ask_one(request)? {
        Answer::Message(payload) => Ok(Some(parse(&payload))),
        Answer::Acknowledged | Answer::Refused(_) => Ok(None),
    }
}

fn parse(payload: &[u8]) -> BTreeSet<String> {
    // A list of names without a mask: a bit that is named is on.
    within(payload, HEADER_LENGTH, ETHTOOL_A_FEATURES_ACTIVE)
        .flat_map(|active| within(active, 0, ETHTOOL_A_BITSET_BITS))
        .flat_map(|bits| within(bits, 0, ETHTOOL_A_BITSET_BITS_BIT))
        .flat_map(|bit| within(bit, 0, ETHTOOL_A_BITSET_BIT_NAME))
        .filter_map(string_of)
        .collect()
}

fn within(payload: &[u8], header: usize, wanted: u16) -> impl Iterator<Item = &[u8]> {
    attributes(payload, header).filter_map(move |(kind, value)| (kind == wanted).then_some(value))
}
