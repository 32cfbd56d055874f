//! `[weir]`: the controller itself.

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use lb_common::abi::{FlowGroup, Settings};
use lb_common::flow_table;

use super::own::Own;
use super::prime::nearest_prime;
use super::service::MAX_SERVICES;
use super::table::Table;
use crate::vip::Protocol;

/// Where the control socket is unless the file says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/weir/weir.sock";
/// Slots of a Maglev table unless the file says otherwise: the paper's small table.
pub const DEFAULT_TABLE_SIZE: u32 = 65_537;
/// The same where there is room for so many services that these would take more than [`DEFAULT_TABLE_BYTES`]: the largest
/// that do not, or the last. Primes below powers of two.
const SMALLER_TABLE_SIZES: [u32; 4] = [32_749, 16_381, 8_191, 4_093];
/// What tables may take, in bytes, without being asked for.
const DEFAULT_TABLE_BYTES: u64 = 256 << 20;
/// How many sources are remembered unless the file says otherwise.
pub const DEFAULT_MAX_SOURCES: u32 = 131_072;

/// Where everything is pinned unless the file says otherwise.
pub const DEFAULT_STATE: &str = "/sys/fs/bpf/weir";
/// How many flows of moving slots are remembered unless the file says otherwise.
pub const DEFAULT_MAX_FLOWS: u32 = 131_072;

/// How long a silent TCP connection is believed unless the file says otherwise.
const DEFAULT_TCP_IDLE: Duration = Duration::from_secs(3600);
/// How long a silent UDP flow is believed unless the file says otherwise.
const DEFAULT_UDP_IDLE: Duration = Duration::from_secs(60);
/// How many services the maps are made for at least, unless the file says otherwise.
const DEFAULT_MAX_SERVICES: u32 = 16;
/// How many backends the maps are made for unless the file says otherwise.
const DEFAULT_MAX_BACKENDS: u32 = 16_384;

/// How many flows of snat there may be unless the file says otherwise.
const DEFAULT_MAX_SNAT_FLOWS: u32 = 131_072;
/// For how many backends of snat there are ports unless the file says otherwise: when there is snat, and when not.
const DEFAULT_MAX_SNAT_BACKENDS: u32 = 64;
const NO_SNAT_BACKENDS: u32 = 1;
/// How many datagrams may be on their way in fragments unless the file says otherwise.
const DEFAULT_MAX_FRAGMENTS: u32 = 1024;

const MAX_MAX_SNAT_BACKENDS: u32 = 4096;
const MIN_MAX_FRAGMENTS: u32 = 64;
const MAX_MAX_FRAGMENTS: u32 = 65_536;
const MIN_TABLE_SIZE: u32 = 251;
const MAX_TABLE_SIZE: u32 = 1_048_573;
const MAX_MAX_SOURCES: u32 = 1 << 24;
const MIN_MAX_FLOWS: u32 = 1024;
const MAX_MAX_FLOWS: u32 = 1 << 24;
/// Each may have an address of its own, whose next hop is followed.
const MAX_MAX_BACKENDS: u32 = 131_072;
const _: () = assert!(MAX_MAX_BACKENDS as usize <= crate::nexthop::MAX_FOLLOWED);
/// As many as a file may have.
const MAX_MAX_SERVICES: u32 = 16_384;
const _: () = assert!(MAX_MAX_SERVICES as usize == MAX_SERVICES);
/// Bytes of a slot and of its stamp in the kernel's arrays.
const SLOT_BYTES: u64 = 8;
const STAMP_BYTES: u64 = 4;
/// Tables beyond those of the services: see [`crate::controller::capacity`].
const SPARE_TABLES: u64 = 8;
/// `sun_path` of unix(7), without its closing zero.
const MAX_SOCKET_BYTES: usize = 107;

/// What a duration is expected to be.
pub(super) const DURATION: &str = "a duration in whole seconds from 1s to 24h, such as \"30s\", \"10m\" or \"1h30m\"";

/// `[weir]`: the controller itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weir {
    /// Where the control socket is.
    pub socket: PathBuf,
    /// The folder of a BPF file system where everything is pinned while Weir runs. Absolute.
    pub state: PathBuf,
    /// What SIGTERM leaves behind.
    pub on_exit: OnExit,
    /// Mixed into every flow's hash. Balancers that share traffic (ECMP) need the same one.
    pub hash_seed: u64,
    /// Slots of a service's Maglev table: a prime between 251 and 1,048,573.
    pub table_size: u32,
    /// Whether the file says so. Otherwise the maps that are there keep theirs.
    pub table_size_said: bool,
    /// How many sources all per-source limits together remember, 1 to 16,777,216.
    pub max_sources: u32,
    /// How many services the maps are made for, from as many as are configured to [`MAX_SERVICES`].
    pub max_services: u32,
    /// How many backends all services together may have, 1 to 131,072.
    pub max_backends: u32,
    /// How many flows of moving slots are remembered, 1,024 to 16,777,216.
    pub max_flows: u32,
    /// Addresses that packets to backends of snat come from, at most [`lb_common::abi::MAX_SNAT`] of each family.
    pub snat_addresses: Vec<IpAddr>,
    /// Addresses that tunnels to backends begin at, at most one of each family; else the kernel's routes say.
    pub tunnel_sources: Vec<IpAddr>,
    /// The UDP port of tunnels to backends of gue.
    pub gue_port: u16,
    /// Whether echo requests to VIPs are answered.
    pub echo: bool,
    /// What becomes of packets to a VIP's ports that no service has.
    pub closed_ports: ClosedPorts,
    /// How many flows of snat there may be at once, 1,024 to 16,777,216.
    pub max_snat_flows: u32,
    /// For how many backends of snat there are ports, 1 to 4,096.
    pub max_snat_backends: u32,
    /// How many datagrams may be on their way in fragments at once, 64 to 65,536.
    pub max_fragments: u32,
    /// Whether `max_snat_backends` was said.
    pub(super) snat_backends_said: bool,
    /// How long a silent TCP connection is believed where its service does not say, 1 s to 24 h.
    pub tcp_idle: Duration,
    /// How long a silent UDP flow is believed where its service does not say, 1 s to 24 h.
    pub udp_idle: Duration,
}

impl Default for Weir {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
            state: DEFAULT_STATE.into(),
            on_exit: OnExit::Detach,
            hash_seed: 0,
            table_size: DEFAULT_TABLE_SIZE,
            table_size_said: false,
            max_sources: DEFAULT_MAX_SOURCES,
            max_services: DEFAULT_MAX_SERVICES,
            max_backends: DEFAULT_MAX_BACKENDS,
            max_flows: DEFAULT_MAX_FLOWS,
            snat_addresses: Vec::new(),
            tunnel_sources: Vec::new(),
            gue_port: Settings::GUE_PORT,
            echo: true,
            closed_ports: ClosedPorts::Pass,
            max_snat_flows: DEFAULT_MAX_SNAT_FLOWS,
            max_snat_backends: NO_SNAT_BACKENDS,
            max_fragments: DEFAULT_MAX_FRAGMENTS,
            snat_backends_said: false,
            tcp_idle: DEFAULT_TCP_IDLE,
            udp_idle: DEFAULT_UDP_IDLE,
        }
    }
}

impl Weir {
    /// How long a silent flow is believed where its service does not say.
    pub const fn idle(&self, protocol: Protocol) -> Duration {
        match protocol {
            Protocol::Tcp | Protocol::Sctp => self.tcp_idle,
            Protocol::Udp => self.udp_idle,
        }
    }
}

/// What SIGTERM leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// Nothing: the host is as it was.
    Detach,
    /// Programs and maps: traffic goes on, and the next run adopts them.
    Keep,
}

const ON_EXITS: [(&str, OnExit); 2] = [("detach", OnExit::Detach), ("keep", OnExit::Keep)];

impl OnExit {
    /// The word used in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detach => "detach",
            Self::Keep => "keep",
        }
    }
}

/// What becomes of packets to a VIP's ports that no service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedPorts {
    /// They are left to the host.
    Pass,
    /// They are answered by "port unreachable".
    Refuse,
}

const CLOSED_PORTS: [(&str, ClosedPorts); 2] = [("pass", ClosedPorts::Pass), ("refuse", ClosedPorts::Refuse)];

impl Weir {
    /// For how many addresses of a family every backend of snat has ports.
    pub fn snat_stride(&self) -> u32 {
        let of = |v4: bool| self.snat_addresses.iter().filter(|address| address.is_ipv4() == v4).count();
        u32::try_from(of(true).max(of(false)).max(1)).unwrap_or(1)
    }

    /// Makes room for backends of snat where there may be such, and nothing else was said.
    pub(super) fn expect_snat(&mut self, by_service: bool) {
        if !self.snat_backends_said && (by_service || !self.snat_addresses.is_empty()) {
            self.max_snat_backends = DEFAULT_MAX_SNAT_BACKENDS;
        }
    }

    /// How many slots a table has when the file does not say: fewer where many services have one. It depends on the file
    /// alone, so that balancers with the same file agree.
    fn default_table_size(&self) -> u32 {
        let mut size = DEFAULT_TABLE_SIZE;
        for smaller in SMALLER_TABLE_SIZES {
            if self.bytes_of_tables(size) > DEFAULT_TABLE_BYTES {
                size = smaller;
            }
        }
        size
    }

    /// How much memory the kernel's tables of slots and of their stamps take, in bytes.
    pub fn table_bytes(&self) -> u64 {
        self.bytes_of_tables(self.table_size)
    }

    /// How many bytes the flows of slots that move take in the kernel.
    pub const fn flow_bytes(&self) -> u64 {
        flow_table::groups(self.max_flows) as u64 * size_of::<FlowGroup>() as u64
    }

    fn bytes_of_tables(&self, size: u32) -> u64 {
        let size = u64::from(size);
        let services = u64::from(self.max_services);
        SLOT_BYTES * size * (services + SPARE_TABLES) + STAMP_BYTES * size * services
    }
}

/// Reads `[weir]` of a file with so many `services`; paths in it start at `directory`.
pub(super) fn read(root: &mut Table<'_, '_>, directory: &Path, services: usize) -> (Weir, Own) {
    let services = u32::try_from(services.min(MAX_SERVICES)).unwrap_or(MAX_MAX_SERVICES);
    // Twice as many as there are: a reload may add some, and maps do not grow.
    let max_services = (services * 2).clamp(DEFAULT_MAX_SERVICES, MAX_MAX_SERVICES);
    let mut weir = Weir { max_services, ..Weir::default() };
    weir.table_size = weir.default_table_size();
    let Some(mut table) = root.table("weir", "a table [weir]") else { return (weir, Own::default()) };
    if let Some(socket) = table.string("socket", "the path of a Unix socket", usize::MAX) {
        weir.socket = directory.join(socket.value);
        let bytes = weir.socket.as_os_str().as_bytes().len();
        if bytes > MAX_SOCKET_BYTES {
            let text =
                format!("found a path of {bytes} bytes, expected at most {MAX_SOCKET_BYTES}: the kernel's limit");
            table.problem(socket.line, "socket", text);
        }
    }
    if let Some(state) = read_state(&mut table) {
        weir.state = state;
    }
    weir.on_exit = table.choice("on_exit", &ON_EXITS).map_or(weir.on_exit, |found| found.value);
    weir.tcp_idle = table.duration("tcp_idle", DURATION).map_or(weir.tcp_idle, |found| found.value);
    weir.udp_idle = table.duration("udp_idle", DURATION).map_or(weir.udp_idle, |found| found.value);
    if let Some(seed) = table.integer("hash_seed", "an integer from 0 to 18446744073709551615", 0, u64::MAX) {
        weir.hash_seed = seed.value;
    }
    let table_size = read_table_size(&mut table);
    weir.max_sources = read_count(&mut table, "max_sources", 1, MAX_MAX_SOURCES).unwrap_or(weir.max_sources);
    weir.max_services = read_max_services(&mut table, services).unwrap_or(weir.max_services);
    weir.table_size_said = table_size.is_some();
    weir.table_size = table_size.unwrap_or_else(|| weir.default_table_size());
    weir.max_backends = read_count(&mut table, "max_backends", 1, MAX_MAX_BACKENDS).unwrap_or(weir.max_backends);
    weir.max_flows = read_count(&mut table, "max_flows", MIN_MAX_FLOWS, MAX_MAX_FLOWS).unwrap_or(weir.max_flows);
    let own = Own::read(&mut table);
    weir.snat_addresses = own.snat.iter().map(|found| found.value).collect();
    weir.tunnel_sources = own.tunnel.iter().map(|found| found.value).collect();
    if let Some(port) = table.integer("gue_port", "an integer from 1 to 65535", 1, u16::MAX.into()) {
        weir.gue_port = u16::try_from(port.value).unwrap_or(weir.gue_port);
    }
    weir.echo = table.boolean("echo").map_or(weir.echo, |found| found.value);
    weir.closed_ports = table.choice("closed_ports", &CLOSED_PORTS).map_or(weir.closed_ports, |found| found.value);
    let flows = read_count(&mut table, "max_snat_flows", MIN_MAX_FLOWS, MAX_MAX_FLOWS);
    weir.max_snat_flows = flows.unwrap_or(weir.max_snat_flows);
    let backends = read_count(&mut table, "max_snat_backends", 1, MAX_MAX_SNAT_BACKENDS);
    weir.snat_backends_said = backends.is_some();
    weir.max_snat_backends = backends.unwrap_or(weir.max_snat_backends);
    let fragments = read_count(&mut table, "max_fragments", MIN_MAX_FRAGMENTS, MAX_MAX_FRAGMENTS);
    weir.max_fragments = fragments.unwrap_or(weir.max_fragments);
    table.finish();
    (weir, own)
}

/// An integer from `least` to `most`.
fn read_count(table: &mut Table<'_, '_>, key: &'static str, least: u32, most: u32) -> Option<u32> {
    let found = table.integer(key, &format!("an integer from {least} to {most}"), least.into(), most.into())?;
    u32::try_from(found.value).ok()
}

fn read_max_services(table: &mut Table<'_, '_>, services: u32) -> Option<u32> {
    let least = services.max(1);
    let expected = match services {
        0 | 1 => format!("an integer from {least} to {MAX_MAX_SERVICES}"),
        _ => format!("an integer from {least}, the number of services in this file, to {MAX_MAX_SERVICES}"),
    };
    let found = table.integer("max_services", &expected, least.into(), MAX_MAX_SERVICES.into())?;
    u32::try_from(found.value).ok()
}

/// A folder that is the same one wherever a later Weir is started from, and whoever starts it.
fn read_state(table: &mut Table<'_, '_>) -> Option<PathBuf> {
    let expected = "the absolute path of a folder in a BPF file system, such as \"/sys/fs/bpf/weir\"";
    let found = table.parsed("state", expected, |text| {
        let path = Path::new(text);
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        (path.is_absolute() && plain && path.file_name().is_some()).then(|| path.to_owned())
    });
    found.map(|found| found.value)
}

fn read_table_size(table: &mut Table<'_, '_>) -> Option<u32> {
    let expected = format!("a prime from {MIN_TABLE_SIZE} to {MAX_TABLE_SIZE}");
    let found = table.integer("table_size", &expected, MIN_TABLE_SIZE.into(), MAX_TABLE_SIZE.into())?;
    let size = u32::try_from(found.value).ok()?;
    let prime = nearest_prime(size);
    if prime != size {
        // Maglev walks the table in steps: only a prime size makes every step reach every slot.
        let text = format!("found {size}, which is no prime, expected {expected}: the nearest is {prime}");
        table.problem(found.line, "table_size", text);
    }
    Some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_services_have_smaller_tables_by_default() {
        let size = |max_services| Weir { max_services, ..Weir::default() }.default_table_size();
        let expected = [65_537, 65_537, 32_749, 16_381, 8_191, 4_093];
        assert_eq!([16, 300, 400, 1_000, 2_000, 16_384].map(size), expected);
        assert!(SMALLER_TABLE_SIZES.iter().all(|size| nearest_prime(*size) == *size));
    }
}
