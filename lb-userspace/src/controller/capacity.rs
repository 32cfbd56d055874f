//! How large the data plane's maps have to be.

use lb_common::abi::{MAX_LIMIT_IDS, MAX_LIMITS};
use lb_common::{bucket_table, flow_table};

use crate::config::Config;
use crate::dataplane::{Capacity, bucket_room};

/// Room for more tables than there are services: the one that is being written, and those that rest after they were
/// replaced, while a program may still be reading them. Writing one takes longer than any program runs.
const SPARE_TABLES: u32 = 8;

/// Flows whose replies are remembered because the tables do not explain them.
const REPLIES: u32 = 65_536;

/// Network devices: more than a host of containers has. The map's elements are made as they are needed.
const DEVICES: u32 = 65_536;

/// Addresses of Weir's own, those that were before, and some more: elements are made as they are needed.
const OWN_ADDRESSES: u32 = 256;

/// How large the maps have to be for a configuration.
pub fn capacity(config: &Config) -> Capacity {
    let services = config.weir.max_services;
    let limits = u32::try_from(MAX_LIMITS).unwrap_or(u32::MAX);
    Capacity {
        services,
        // Twice as many as may be desired: those that drain are there beside those that serve.
        backends: config.weir.max_backends.saturating_mul(2),
        table_size: config.weir.table_size,
        tables: services.saturating_add(SPARE_TABLES),
        // And those that new flows and ICMP errors are held to; no more than services can name.
        limits: services.saturating_mul(limits).saturating_add(2).min(MAX_LIMIT_IDS - 1),
        // As many as its groups have room for, and so for flows: so it is known again when it is found.
        sources: bucket_room(bucket_table::groups(config.weir.max_sources)),
        flows: flow_table::room(flow_table::groups(config.weir.max_flows)),
        replies: REPLIES,
        devices: DEVICES,
        addresses: services.saturating_add(OWN_ADDRESSES),
        snat_flows: config.weir.max_snat_flows,
        snat_pools: config.weir.max_snat_backends,
        snat_stride: config.weir.snat_stride(),
        fragments: config.weir.max_fragments,
        quic_servers: config.weir.max_backends.saturating_mul(2),
        paths: config.weir.max_backends.saturating_mul(2),
    }
}
