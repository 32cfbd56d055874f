//! Weir's controller: from service registries to the maps of the packet path.
//!
//! `sources → desired state → plan → data plane`: every arrow is a type in this crate, and each can be run alone.

pub mod address;
pub mod api;
pub mod cli;
pub mod config;
pub mod controller;
pub mod dataplane;
pub mod desired;
pub mod doctor;
pub mod limiter;
pub mod maglev;
mod netlink;
pub mod nexthop;
pub mod plan;
pub mod run;
pub mod source;
pub mod vip;
