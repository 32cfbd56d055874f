//! What Weir's kernel and userspace share: the ABI of the maps, and the packet path as pure functions.
//!
//! [`decide()`] takes a packet, the tables and a clock, rewrites the packet and returns a [`Verdict`]. It does no I/O:
//! the BPF crate gives it a frame and the maps, the host gives it a slice and [`host::HostTables`]. So the same code
//! is unit-tested, property-tested and run against the kernel packet by packet.
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod abi;
pub mod address;
pub mod answer;
pub mod bucket_table;
pub mod checksum;
pub mod connections;
pub mod decap;
pub mod decide;
pub mod direct;
pub mod fair;
pub mod fast;
pub mod find;
pub mod flow_table;
pub mod forward;
pub mod fragment;
pub mod gauge;
pub mod gcra;
pub mod handover;
pub mod hash;
pub mod headers;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
pub mod icmp;
pub mod index;
pub mod limits;
pub mod mark;
pub mod packet;
pub mod parse;
pub mod path;
pub mod quic;
pub mod refusal;
pub mod reply;
pub mod request;
pub mod snat;
pub mod tables;
pub mod verdict;

pub use address::Address;
pub use decide::{Scratch, decide, from_host, from_port, observe_egress};
pub use headers::Headers;
pub use packet::Packet;
pub use path::Path;
pub use refusal::Refusal;
pub use tables::Tables;
pub use verdict::Verdict;
