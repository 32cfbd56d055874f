//! How the maps look: one list for whoever makes them, checks them, pins them or copies them.

use aya::maps::MapType;
use lb_common::abi::{
    Backend, BucketCell, BucketGroup, Connection, Device, Endpoint, FlowGroup, FlowKey, FragmentKey, Fragments, Limit,
    LimitCount, Meta, Order, OrderKey, PORT_WORDS, PathMtu, QuicKey, ReplyKey, ReplyOwner, Service, Settings, Slot,
    Snat, SnatReply, SnatReplyKey, Stamps, Tally, Traffic, VipKey, map,
};
use lb_common::{Address, Refusal, bucket_table, flow_table};

use super::{Capacity, index};

/// Flags of a map (bpf.h): elements are made when they are needed, and it can be mapped into memory.
const NO_PREALLOC: u32 = 1;
const MMAPABLE: u32 = 1 << 10;

/// One map, as this version of the ABI has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Its name, in the object file and where it is pinned.
    pub(super) name: &'static str,
    /// Its type.
    pub(super) kind: MapType,
    /// Bytes of a key.
    pub(super) key: usize,
    /// Bytes of a value.
    pub(super) value: usize,
    /// `BPF_F_…`.
    pub(super) flags: u32,
    /// How many entries it has.
    pub(super) entries: fn(Capacity) -> u32,
}

const fn shape<K, V>(name: &'static str, kind: MapType, flags: u32, entries: fn(Capacity) -> u32) -> Shape {
    Shape { name, kind, key: size_of::<K>(), value: size_of::<V>(), flags, entries }
}

const fn hash<K, V>(name: &'static str, entries: fn(Capacity) -> u32) -> Shape {
    shape::<K, V>(name, MapType::Hash, NO_PREALLOC, entries)
}

const fn lru<K, V>(name: &'static str, entries: fn(Capacity) -> u32) -> Shape {
    shape::<K, V>(name, MapType::LruHash, 0, entries)
}

const fn mapped<V>(name: &'static str, entries: fn(Capacity) -> u32) -> Shape {
    shape::<u32, V>(name, MapType::Array, MMAPABLE, entries)
}

const fn array<V>(name: &'static str, entries: fn(Capacity) -> u32) -> Shape {
    shape::<u32, V>(name, MapType::Array, 0, entries)
}

const fn counter<V>(name: &'static str, entries: fn(Capacity) -> u32) -> Shape {
    shape::<u32, V>(name, MapType::PerCpuArray, 0, entries)
}

#[expect(clippy::cast_possible_truncation, reason = "a handful of refusals")]
const REFUSALS: u32 = Refusal::ALL.len() as u32;

/// How many rows `SERVICE_TRAFFIC` has: one for each service, of what none of its backends carried; one of what services
/// carried that are gone; and again one for each service, of what backends of it carried that are gone.
const fn traffic_rows(services: u32) -> u32 {
    services.saturating_mul(2).saturating_add(1)
}

/// For how many services `SERVICE_TRAFFIC` has so many rows.
pub(super) const fn services_of(rows: u32) -> u32 {
    rows / 2
}

/// The row of `SERVICE_TRAFFIC` in which is what services carried that are gone.
pub(super) const fn gone_row(services: u32) -> u32 {
    services
}

/// The row of `SERVICE_TRAFFIC` in which is what backends of a service carried that are gone.
pub(super) const fn left_row(services: u32, service: u32) -> u32 {
    gone_row(services) + 1 + service
}

/// Every map that is kept. `UNRESOLVED`, `CENSUS`, `SKETCH` and what the log needs hold nothing worth it: they are made anew with
/// every load of the programs.
pub(super) const SHAPES: [Shape; 30] = [
    hash::<VipKey, u32>(map::VIPS, |of| of.services),
    mapped::<u64>(map::PLACES, index::places),
    mapped::<u64>(map::KNOWN, index::known_words),
    mapped::<Service>(map::SERVICES, |of| of.services),
    mapped::<Slot>(map::SLOTS, |of| of.tables.saturating_mul(of.table_size)),
    mapped::<Backend>(map::BACKENDS, |of| of.backends),
    hash::<VipKey, Endpoint>(map::ENDPOINTS, |of| of.backends),
    lru::<ReplyKey, ReplyOwner>(map::REPLIES, |of| of.replies),
    mapped::<Stamps>(map::STAMPS, |of| of.services.saturating_mul(of.table_size).div_ceil(2)),
    mapped::<FlowGroup>(map::FLOWS, |of| flow_table::groups(of.flows)),
    counter::<Tally>(map::TALLY, |_| 1),
    array::<Limit>(map::LIMITS, |of| of.limits),
    mapped::<BucketCell>(map::SERVICE_BUCKETS, |of| of.limits),
    mapped::<BucketGroup>(map::BUCKETS, |of| bucket_table::groups(of.sources)),
    hash::<FlowKey, Connection>(map::CONNECTIONS, |of| of.flows),
    hash::<u32, Device>(map::DEVICES, |of| of.devices),
    hash::<Address, u32>(map::ADDRESSES, |of| of.addresses),
    array::<Settings>(map::SETTINGS, |_| 1),
    hash::<FlowKey, Snat>(map::SNATS, |of| of.snat_flows),
    hash::<SnatReplyKey, SnatReply>(map::SNAT_REPLIES, |of| of.snat_flows),
    mapped::<u64>(map::PORTS, |of| of.snat_pools.saturating_mul(of.snat_stride).saturating_mul(PORT_WORDS)),
    lru::<FragmentKey, Fragments>(map::FRAGMENTS, |of| of.fragments),
    hash::<QuicKey, u32>(map::QUIC_SERVERS, |of| of.quic_servers),
    hash::<Address, PathMtu>(map::PATHS, |of| of.paths),
    counter::<Traffic>(map::SERVICE_TRAFFIC, |of| traffic_rows(of.services)),
    counter::<Traffic>(map::BACKEND_TRAFFIC, |of| of.backends),
    counter::<LimitCount>(map::LIMIT_COUNTS, |of| of.limits),
    counter::<u64>(map::REFUSALS, |_| REFUSALS),
    hash::<OrderKey, Order>(map::ORDERS, |of| of.backends),
    // The last one: what comes before it is whole when it is there.
    array::<Meta>(map::META, |_| 1),
];

#[cfg(test)]
mod tests {
    use lb_common::abi::VERSION;

    use super::*;

    /// Whoever changes what is pinned makes maps that an earlier program does not understand: the version says so.
    #[test]
    fn another_shape_is_another_version() {
        let sizes = SHAPES.map(|Shape { key, value, .. }| (key, value));
        let expected = [
            (20, 4),
            (4, 8),
            (4, 8),
            (4, 64),
            (4, 8),
            (4, 64),
            (20, 12),
            (40, 8),
            (4, 8),
            (4, 512),
            (4, 32),
            (4, 32),
            (4, 64),
            (4, 384),
            (24, size_of::<Connection>()),
            (4, 32),
            (16, 4),
            (4, 296),
            (24, size_of::<Snat>()),
            (40, 36),
            (4, 8),
            (40, size_of::<Fragments>()),
            (20, 4),
            (16, 8),
            (4, 32),
            (4, 32),
            (4, 56),
            (4, 8),
            (40, 16),
            (4, 64),
        ];
        assert_eq!((VERSION, sizes, REFUSALS), (8, expected, 37));
    }

    #[test]
    fn what_says_that_a_set_is_whole_comes_last() {
        assert_eq!(SHAPES[SHAPES.len() - 1].name, map::META);
    }
}
