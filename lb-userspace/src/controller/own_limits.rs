//! Limits of Weir's own, which nobody configures.

use lb_common::abi;

use crate::config::{Limit, Per, Unit};
use crate::limiter;

/// What new entries of the flow table are held to: of connections that are never more than opened, a flood of SYNs that
/// is, there are then never more than three quarters of the table. A quarter may come at once.
pub(super) fn flow_limit(max_flows: u32) -> abi::Limit {
    let rate = (max_flows / 2 / abi::Flow::HALF_OPEN_S).max(1);
    let burst = (max_flows / 4).max(1);
    limiter::compile(&of_all(rate.into(), burst.into()))
}

/// What ICMP errors of Weir's own are held to, for all clients together: ten times what Linux sends
/// for one host (net.ipv4.icmp_msgs_per_sec; RFC 1812 §4.3.2.8, RFC 4443 §2.4 f).
pub(super) fn error_limit() -> abi::Limit {
    limiter::compile(&of_all(10_000, 1_000))
}

/// A limit of packets of all clients together.
const fn of_all(rate: u64, burst: u64) -> Limit {
    Limit::strict(Per::Service, rate, Unit::Packets).with_burst(burst)
}
