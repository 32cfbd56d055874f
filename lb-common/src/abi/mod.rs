//! What lies in the maps: keys and values shared by the kernel's side and the controller's.
//!
//! Every layout is asserted at compile time, padding is named, and nothing here has a niche or an invalid bit pattern.

mod backend;
mod counters;
mod device;
mod endpoint;
mod flow;
mod limit;
mod meta;
mod order;
mod reply;
mod service;
mod slot;

pub use backend::{Backend, Delivery};
pub use counters::{FlowCount, LimitCount, Traffic};
pub use device::DeviceFlags;
pub use endpoint::Endpoint;
pub use flow::{Flow, FlowFlags, FlowKey};
pub use limit::{BucketCell, FLOW_LIMIT, Limit, LimitScope, LimitUnit, SourceKey};
pub use meta::{Meta, VERSION};
pub use order::{Order, OrderFlags, OrderKey};
pub use reply::{ReplyKey, ReplyOwner};
pub use service::{MAX_LIMITS, Service, ServiceFlags, Table, VipKey};
pub use slot::{Slot, Stamps};

/// The names of the maps, as the object file has them.
pub mod map {
    /// [`VipKey`](super::VipKey) → service id.
    pub const VIPS: &str = "VIPS";
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
    /// [`FlowKey`](super::FlowKey) → [`Flow`](super::Flow), for slots that hand over.
    pub const FLOWS: &str = "FLOWS";
    /// 0 → [`FlowCount`](super::FlowCount), per CPU.
    pub const FLOW_COUNTS: &str = "FLOW_COUNTS";
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
    /// [`SourceKey`](super::SourceKey) → bucket, for limits per source.
    pub const SOURCE_BUCKETS: &str = "SOURCE_BUCKETS";
    /// Index of a device → [`DeviceFlags`](super::DeviceFlags).
    pub const DEVICES: &str = "DEVICES";
    /// Service id → [`Traffic`](super::Traffic), per CPU.
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
    /// Notes flows that start on this host, on every attached device's egress.
    pub const EGRESS: &str = "weir_egress";
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
        super::Endpoint,
        super::Flow,
        super::FlowCount,
        super::FlowKey,
        super::Limit,
        super::LimitCount,
        super::Meta,
        super::Order,
        super::OrderKey,
        super::ReplyKey,
        super::ReplyOwner,
        super::Service,
        super::Slot,
        super::SourceKey,
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
}
