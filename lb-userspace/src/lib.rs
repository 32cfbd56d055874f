//! Weir's controller: from service registries to the maps of the packet path.
//!
//! `sources → desired state → plan → data plane`: every arrow is a type in this crate, and each can be run alone.

pub mod address;
pub mod api;
pub mod cli;
pub mod config;
pub mod controller;
pub mod dataplane;
pub mod decap;
pub mod desired;
pub mod doctor;
pub mod following;
pub mod handover;
pub mod limiter;
pub mod maglev;
pub mod memory;
mod netlink;
pub mod networks;
pub mod nexthop;
pub mod orders;
mod parallel;
pub mod plan;
pub mod ramp;
pub mod reset;
pub mod run;
pub mod server_id;
pub mod shaping;
pub mod snat;
pub mod source;
pub mod survey;
pub mod vip;
