//! What the doctor looks at.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::{Config, DEFAULT_STATE, Mode};
use crate::dataplane::kernel::pins::Found;

/// What Weir is to do on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The interfaces to attach to; `None` to look at all that come into question.
    pub interfaces: Option<Vec<(String, Mode)>>,
    /// There are IPv4 VIPs; `None` when that is not known.
    pub ipv4: Option<bool>,
    /// There are IPv6 VIPs; `None` when that is not known.
    pub ipv6: Option<bool>,
    /// Where everything is pinned.
    pub state: PathBuf,
}

impl Wanted {
    /// What a configuration wants.
    pub fn of(config: Option<&Config>) -> Self {
        let Some(config) = config else {
            return Self { interfaces: None, ipv4: None, ipv6: None, state: DEFAULT_STATE.into() };
        };
        let any = |ipv4| Some(config.services.iter().any(|service| service.vip.address.is_ipv4() == ipv4));
        let interfaces = config.interfaces.iter().map(|interface| (interface.name.clone(), interface.mode)).collect();
        Self { interfaces: Some(interfaces), ipv4: any(true), ipv6: any(false), state: config.weir.state.clone() }
    }
}

/// What was found on the host. `None` is what could not be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What Weir is to do here.
    pub wanted: Wanted,
    /// The kernel's release, as `uname -r` says it.
    pub release: Option<String>,
    /// The kernel describes its own types (`/sys/kernel/btf/vmlinux`).
    pub btf: bool,
    /// The effective capabilities, a bit each (capability.h).
    pub capabilities: Option<u64>,
    /// In the initial user namespace, where capabilities mean the whole host.
    pub initial_user_namespace: Option<bool>,
    /// `net.core.bpf_jit_enable`.
    pub jit: Option<u8>,
    /// `net.ipv4.ip_forward`.
    pub forwarding_ipv4: Option<u8>,
    /// `net.ipv6.conf.all.forwarding`; `None` also where IPv6 is off.
    pub forwarding_ipv6: Option<u8>,
    /// `net.ipv4.conf.all.rp_filter`.
    pub rp_filter_all: Option<u8>,
    /// What is pinned.
    pub state: Found,
    /// Why devices could not be listed, if they could not.
    pub netlink_error: Option<String>,
    /// The names of all devices.
    pub devices: BTreeSet<String>,
    /// The veths of no bridge that frames cannot be redirected into: their peers have neither GRO nor XDP.
    pub deaf_veths: BTreeSet<String>,
    /// The interfaces to attach to.
    pub interfaces: Vec<InterfaceFacts>,
}

/// An interface to attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Its name.
    pub name: String,
    /// How to attach.
    pub mode: Mode,
    /// What it is, if it exists.
    pub device: Option<DeviceFacts>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Set up.
    pub is_up: bool,
    /// It has a carrier.
    pub has_carrier: bool,
    /// It carries Ethernet frames.
    pub is_ethernet: bool,
    /// Its driver, or for a virtual device its type.
    pub driver: Option<String>,
    /// The largest layer-3 packet, in bytes.
    pub mtu: u32,
    /// What its driver can do with XDP, `NETDEV_XDP_ACT_…` (netdev.h).
    pub xdp_features: Option<u64>,
    /// The XDP program that is attached.
    pub program: Option<Program>,
    /// The offloads that are on, by `ethtool -k`'s internal names.
    pub offloads: Option<BTreeSet<String>>,
    /// `net.ipv4.conf.NAME.rp_filter`.
    pub rp_filter: Option<u8>,
    /// `net.ipv4.conf.NAME.forwarding`.
    pub forwarding_ipv4: Option<u8>,
    /// The VLAN devices that stand on it.
    pub vlans: BTreeSet<String>,
}

/// An attached XDP program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its id, as `bpftool prog` shows it; 0 where several are attached.
    pub id: u32,
    /// Its name, where it could be read.
    pub name: Option<String>,
}
