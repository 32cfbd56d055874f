//! What lies in the maps: keys and values shared by the kernel's side and the controller's.
//!
//! Every layout is asserted at compile time, padding is named, and nothing here has a niche or an invalid bit pattern.

mod backend;
mod class;
mod connection;
mod counters;
mod device;
mod endpoint;
mod flow;
mod flow_line;
mod fragment;
mod known;
mod limit;
mod meta;
mod note;
mod order;
mod path;
mod quic;
mod reply;
mod service;
mod settings;
mod slot;
mod snat;
mod tags;

pub use backend::{Backend, Delivery, Forward, Lane};
pub use class::Class;
pub use connection::{Connection, ConnectionFlags};
pub use counters::{LimitCount, Tally, Traffic};
pub use device::{Device, DeviceFlags, Networks};
pub use endpoint::{Endpoint, EndpointFlags};
pub use flow::{Flow, FlowFlags, FlowKey};
pub use flow_line::{FlowGroup, FlowLine};
pub use fragment::{Datagram, FRAGMENT_WORDS, FragmentFate, FragmentKey, Fragments};
pub use known::AddressFlags;
pub use limit::{
    BUCKET_WAYS, BucketCell, BucketGroup, BucketKey, BucketLevel, ERROR_LIMIT, FLOW_LIMIT, Limit, LimitFlags,
    LimitOver, LimitScope, LimitUnit, MAX_LIMIT_IDS, PlainFlags, PlainLimit, SketchCell, WAYS,
};
pub use meta::{Meta, VERSION};
pub use note::Note;
pub use order::{Order, OrderFlags, OrderKey};
pub use path::PathMtu;
pub use quic::{MAX_SERVER_ID, QuicIds, QuicKey};
pub use reply::{ReplyKey, ReplyOwner};
pub use service::{MAX_LIMITS, Service, ServiceFlags, Table, VipKey};
pub use settings::{MAX_SNAT, Settings, SettingsFlags};
pub use slot::{Slot, Stamps};
pub use snat::{FIRST_PORT_WORD, PORT_WORDS, Snat, SnatReply, SnatReplyKey};
pub use tags::Tags;

/// The names of the maps, as the object file has them.
pub mod map {
    /// [`VipKey`](super::VipKey) → service id.
    pub const VIPS: &str = "VIPS";
    /// A VIP's [place](crate::index::place) → service id plus one, or 0.
    pub const PLACES: &str = "PLACES";
    /// 64 bits each, one for each [known address](crate::index::known).
    pub const KNOWN: &str = "KNOWN";
    /// Service id → [`Service`](super::Service).
    pub const SERVICES: &str = "SERVICES";
    /// Slot index → [`Slot`](super::Slot); every service's table is a run of it.
    pub const SLOTS: &str = "SLOTS";
    /// Backend id → [`Backend`](super::Backend).
    pub const BACKENDS: &str = "BACKENDS";
    /// Where a backend listens → [`Endpoint`](super::Endpoint).
    pub const ENDPOINTS: &str = "ENDPOINTS";
    /// [`ReplyKey`](super::ReplyKey) → [`ReplyOwner`](super::ReplyOwner), for the flows that the tables do not explain.
    pub const REPLIES: &str = "REPLIES";
    /// Two neighbouring slots of a service → [`Stamps`](super::Stamps), by service id × table size + slot.
    pub const STAMPS: &str = "STAMPS";
    /// [`FlowKey`](super::FlowKey) → [`Flow`](super::Flow), for slots that hand over: a [table](crate::flow_table) of
    /// [`FlowGroup`](super::FlowGroup)s.
    pub const FLOWS: &str = "FLOWS";
    /// 0 → [`Tally`](super::Tally), per CPU.
    pub const TALLY: &str = "TALLY";
    /// [`FlowKey`](super::FlowKey) → 0: flows that were seen while a census was taken.
    pub const CENSUS: &str = "CENSUS";
    /// [`OrderKey`](super::OrderKey) → [`Order`](super::Order).
    pub const ORDERS: &str = "ORDERS";
    /// 0 → [`Meta`](super::Meta).
    pub const META: &str = "META";
    /// Limit id → [`Limit`](super::Limit).
    pub const LIMITS: &str = "LIMITS";
    /// Limit id → [`BucketCell`](super::BucketCell), for limits per service.
    pub const SERVICE_BUCKETS: &str = "SERVICE_BUCKETS";
    /// [`BucketKey`](super::BucketKey) → bucket, for limits per source and per backend: a [table](crate::bucket_table) of
    /// [`BucketGroup`](super::BucketGroup)s.
    pub const BUCKETS: &str = "BUCKETS";
    /// Rows of [`SketchCell`](super::SketchCell)s: see [`crate::fair`].
    pub const SKETCH: &str = "SKETCH";
    /// [`FlowKey`](super::FlowKey) → [`Connection`](super::Connection), of services that limit how many there are at once.
    pub const CONNECTIONS: &str = "CONNECTIONS";
    /// [`Address`](crate::Address) → [`AddressFlags`](super::AddressFlags).
    pub const ADDRESSES: &str = "ADDRESSES";
    /// 0 → [`Settings`](super::Settings).
    pub const SETTINGS: &str = "SETTINGS";
    /// What the object file calls it, where it is a section of its own.
    pub const SETTINGS_SECTION: &str = ".bss.settings";
    /// The section of [`constant::PATHS_TOLD`](super::constant::PATHS_TOLD).
    pub const PATHS_SECTION: &str = ".data.paths";
    /// [`FlowKey`](super::FlowKey) → [`Snat`](super::Snat).
    pub const SNATS: &str = "SNATS";
    /// [`SnatReplyKey`](super::SnatReplyKey) → [`SnatReply`](super::SnatReply).
    pub const SNAT_REPLIES: &str = "SNAT_REPLIES";
    /// Pools of ports: [`PORT_WORDS`](super::PORT_WORDS) words for each pool and each of its
    /// [`stride`](super::Settings::stride) addresses.
    pub const PORTS: &str = "PORTS";
    /// [`FragmentKey`](super::FragmentKey) → [`Fragments`](super::Fragments).
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// [`QuicKey`](super::QuicKey) → backend id.
    pub const QUIC_SERVERS: &str = "QUIC_SERVERS";
    /// A tunnel's far end, an [`Address`](crate::Address) → [`PathMtu`](super::PathMtu).
    pub const PATHS: &str = "PATHS";
    /// Index of a device → [`Device`](super::Device).
    pub const DEVICES: &str = "DEVICES";
    /// Service id → [`Traffic`](super::Traffic) that no backend of it carried, per CPU. Behind those, what services carried
    /// that are gone; and behind that, by service id again, what its backends carried that are gone. Programs write the
    /// first of them alone, the controller the others.
    pub const SERVICE_TRAFFIC: &str = "SERVICE_TRAFFIC";
    /// Backend id → [`Traffic`](super::Traffic), per CPU.
    pub const BACKEND_TRAFFIC: &str = "BACKEND_TRAFFIC";
    /// Limit id → [`LimitCount`](super::LimitCount), per CPU.
    pub const LIMIT_COUNTS: &str = "LIMIT_COUNTS";
    /// A ring of [`Address`](crate::Address)es of clients whose next hop's Ethernet address the kernel does not know.
    pub const UNRESOLVED: &str = "UNRESOLVED";
    /// [`Refusal`](crate::Refusal) index → packets, per CPU.
    pub const REFUSALS: &str = "REFUSALS";
}

/// The names of the programs, as the object file has them and the kernel shows them.
pub mod program {
    /// The packet path, on every attached device's ingress.
    pub const XDP: &str = "weir_xdp";
    /// What this host itself sends to VIPs, and notes of flows that start on it: on every attached device's egress.
    pub const EGRESS: &str = "weir_egress";
    /// On every attached device's ingress behind XDP, for what that hands over; and on the ports of bridges, the packet path for
    /// what containers send.
    pub const INGRESS: &str = "weir_ingress";
}

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "aya::Pod promises that any bit pattern is a value; see the layouts above")]
    macro_rules! pod {
        ($($t:ty),* $(,)?) => { $(
            // SAFETY: `repr(C)` or `repr(transparent)`, integers only, padding named: every bit pattern is a value.
            unsafe impl aya::Pod for $t {}
        )* };
    }
    pod!(
        super::Backend,
        super::BucketCell,
        super::BucketGroup,
        super::Connection,
        super::SketchCell,
        super::Device,
        super::Endpoint,
        super::Flow,
        super::Tally,
        super::FlowGroup,
        super::FlowKey,
        super::FragmentKey,
        super::Fragments,
        super::Limit,
        super::LimitCount,
        super::Meta,
        super::Order,
        super::OrderKey,
        super::PathMtu,
        super::QuicKey,
        super::ReplyKey,
        super::ReplyOwner,
        super::Service,
        super::Settings,
        super::Slot,
        super::Snat,
        super::SnatReply,
        super::SnatReplyKey,
        super::Stamps,
        super::Traffic,
        super::VipKey,
        crate::Address,
    );
}

/// The names of the constants that the loader sets.
pub mod constant {
    /// Not 0: every verdict is logged. For debugging alone; with 0 the verifier removes the code.
    pub const TRACE: &str = "TRACE";
    /// How large `PLACES` is, as a power of two.
    pub const PLACE_BITS: &str = "PLACE_BITS";
    /// How many bits `KNOWN` has, as a power of two.
    pub const KNOWN_BITS: &str = "KNOWN_BITS";
    /// Not 0: something in `PATHS` was told. The programs set it, too.
    pub const PATHS_TOLD: &str = "PATHS_TOLD";
    /// [`FlowHash::to_words`](crate::flow_table::FlowHash::to_words) of `FLOWS`.
    pub const FLOW_HASH: &str = "FLOW_HASH";
    /// [`BucketHash::to_words`](crate::bucket_table::BucketHash::to_words) of `BUCKETS`.
    pub const BUCKET_HASH: &str = "BUCKET_HASH";
}
