//! The lab: network namespaces that stand for clients, for Weir's host and for backends, with real links between
//! them, real servers in them and real traffic through them.
//!
//! ```text
//!   clients ──(bridge)── front │ Weir's host │ back ──(bridge)── backends
//!   198.51.100.11…                  forwards              10.0.1.11…
//!   2001:db8:1::11…                                       fd00:1::11…
//! ```
//!
//! Both bridges are in a namespace of their own, so Weir's host has two ordinary NICs. Clients have a route to the
//! VIP prefixes ([`VIP_V4_PREFIX`], [`VIP_V6_PREFIX`]) through it, backends their default route. Nothing of the
//! machine's own network is touched. Neighbours are learnt by ARP and neighbour discovery, as on a real link.
//!
//! On request, the way to a client is as long as to one that is far away ([`DelayLine`]), there is a router with a path MTU of its own between Weir's host and the backends ([`Builder::hop_mtu`]),
//! backends answer clients past Weir's host ([`Lab::return_directly`]) or know nobody but Weir
//! ([`Lab::return_only_to`]), and cables to Weir's host carry VLAN tags ([`Trunk`]).
//!
//! On Weir's host there can be a Docker engine, with real containers behind its bridges ([`docker`]).
//!
//! Each lab has a BPF file system of its own, so that what Weir pins ([`Lab::state`]) ends with the lab.
//!
//! A [`Lab`] takes everything away when it is dropped: after a panic and after Ctrl-C or SIGTERM too. What a killed
//! run left behind is swept away by the next one.

mod addresses;
mod bpffs;
mod bytecode;
mod cabling;
mod capture;
mod cleanup;
mod command;
mod consul;
mod delay_line;
mod direct;
pub mod docker;
mod ending;
mod envoy;
mod frames;
mod freshness;
mod hop;
mod http_client;
mod http_load;
mod http_server;
mod netns;
mod privileges;
mod process;
mod registry;
mod sniffer;
mod steady_load;
mod topology;
pub mod traffic;
mod trunk;
mod turn;
mod udp_echo;
mod udp_load;
mod wait;
mod weir;
mod worker;

pub use addresses::{
    HOP_NEAR_V4, HOP_NEAR_V6, VIP_V4_PREFIX, VIP_V6_PREFIX, WEIR_BACK_V4, WEIR_BACK_V6, WEIR_FRONT_V4, WEIR_FRONT_V6,
    vip_v4, vip_v6,
};
pub use capture::{Summary, Tshark, tshark_verdict, write_capture};
pub use cleanup::{Kept, sweep};
pub use command::{output, run};
pub use consul::{Consul, Registration, cache_dir as consul_cache_dir, installed as consul_binary};
pub use delay_line::DelayLine;
pub use direct::WAY_DEVICE;
pub use envoy::{ENVOY_VERSION, envoy_binary, envoy_cache_dir};
pub use frames::FrameSocket;
pub use http_client::{Answer, request};
pub use http_load::{HttpLoad, HttpReport};
pub use http_server::{HTTP_PORT, HttpServer};
pub use netns::{Netns, Task};
pub use privileges::missing_capabilities;
pub use process::Process;
pub use registry::{Entry, FileRegistry};
pub use sniffer::Sniffer;
pub use steady_load::{Attempt, SteadyLoad, SteadyReport};
pub use topology::{BACK, Backend, Builder, Client, FRONT, HOST_DEVICE, Lab};
pub use trunk::{Tag, Trunk};
pub use udp_echo::{UDP_PORT, UdpEcho};
pub use udp_load::{UdpLoad, UdpReport};
pub use wait::{WaitError, wait_until};
pub use weir::{CliOutput, WeirProcess, default_binary as weir_binary};
pub use worker::Worker;
