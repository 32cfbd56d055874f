//! How many packets devices received (if_link.h, `struct rtnl_link_stats64`).

use std::collections::BTreeMap;
use std::io;

use super::ROUTE;
use super::link::{HEADER_LENGTH, RTM_GETLINK};
use super::message::{Request, attributes, u64_of};
use super::socket::Requests;

const IFLA_STATS64: u16 = 23;

/// Asks for the packets that each device of the network namespace received since it was made, by its index.
pub(crate) fn received() -> io::Result<BTreeMap<u32, u64>> {
    let answers = Requests::open(ROUTE)?.dump(&Request::dump(RTM_GETLINK, &[0; HEADER_LENGTH]))?;
    Ok(answers.iter().filter_map(|payload| parse(payload)).collect())
}

fn parse(payload: &[u8]) -> Option<(u32, u64)> {
    let header: &[u8; HEADER_LENGTH] = payload.first_chunk()?;
    let ifindex = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    let stats = attributes(payload, HEADER_LENGTH).find_map(|(kind, value)| (kind == IFLA_STATS64).then_some(value))?;
    // `rx_packets` is the first of them.
    Some((ifindex, u64_of(stats.get(..8)?)?))
}
