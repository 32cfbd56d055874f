//! Addresses of Weir's own: those that packets to backends come from.

use std::net::IpAddr;

use lb_common::abi::MAX_SNAT;

use super::table::{Found, Table};
use crate::source::unreachable_kind;

/// Addresses of Weir's own, with their lines.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// `snat_addresses`.
    pub(super) snat: Vec<Found<IpAddr>>,
    /// `tunnel_sources`.
    pub(super) tunnel: Vec<Found<IpAddr>>,
}

impl Own {
    /// Reads both keys of `[weir]`.
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        let expected = format!(
            "an array of IPv4 and IPv6 addresses, each a string, at most {MAX_SNAT} of a family, which are routed to this \
             host and are no VIPs"
        );
        let snat = read(table, "snat_addresses", &expected, MAX_SNAT);
        let expected = "an array of at most one IPv4 and one IPv6 address, each a string, which are this host's";
        let tunnel = read(table, "tunnel_sources", expected, 1);
        for found in &tunnel {
            if let Some(first) = snat.iter().find(|one| one.value == found.value) {
                let text = format!(
                    "found {}, which `snat_addresses` on line {} has too, expected an address of its own: what comes back to \
                     a tunnel is no reply of a flow's",
                    found.value, first.line
                );
                table.problem(found.line, "tunnel_sources", text);
            }
        }
        Self { snat, tunnel }
    }

    /// The key and the line that name an address.
    pub(super) fn whose(&self, address: IpAddr) -> Option<(&'static str, usize)> {
        let named = |all: &[Found<IpAddr>]| all.iter().find(|one| one.value == address).map(|one| one.line);
        let snat = named(&self.snat).map(|line| ("snat_addresses", line));
        snat.or_else(|| named(&self.tunnel).map(|line| ("tunnel_sources", line)))
    }
}

/// An array of addresses, at most `most` of each family, each once.
fn read(table: &mut Table<'_, '_>, key: &'static str, expected: &str, most: usize) -> Vec<Found<IpAddr>> {
    let found = table.addresses(key, expected, |address| unreachable_kind(address).map_or(Ok(()), Err));
    let mut all: Vec<Found<IpAddr>> = Vec::new();
    for one in found {
        let of_family = all.iter().filter(|other| other.value.is_ipv4() == one.value.is_ipv4()).count();
        if let Some(first) = all.iter().find(|other| other.value == one.value) {
            let text = format!("found {}, which line {} has too, expected every address once", one.value, first.line);
            table.problem(one.line, key, text);
        } else if of_family == most {
            let text = format!(
                "found {}, one more of its family than the {most} there may be, expected {expected}",
                one.value
            );
            table.problem(one.line, key, text);
        } else {
            all.push(one);
        }
    }
    all
}
