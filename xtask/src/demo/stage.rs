//! The stage: the lab, its servers, the registry and Weir.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use weir_tests::lab::{
    BACK, Backend, Entry, FRONT, FileRegistry, HTTP_PORT, HttpServer, Lab, Process, UDP_PORT, UdpEcho, WeirProcess,
    vip_v4, vip_v6, wait_until,
};

use crate::screen::Screen;

/// The rate of the UDP service's limit, packets a second for each source.
pub(super) const LIMIT_RATE: u32 = 1_000;
/// Its burst, packets.
pub(super) const LIMIT_BURST: u32 = 50;
/// How long an edit may take to reach the kernel before the demonstration gives up.
const EDIT_WITHIN: Duration = Duration::from_secs(5);

/// One backend in one family, as `weir backends` has it: its weight and how many slots it holds.
type InKernel = BTreeMap<String, (u64, u64)>;

/// The backends by name, with their weights; those that are not in it are not in the registry.
pub(super) type Members = BTreeMap<String, u16>;

/// Everything that stands while the demonstration runs. Fields are dropped in this order.
pub(super) struct Stage {
    weir: WeirProcess,
    registry: FileRegistry,
    servers: Vec<HttpServer>,
    echoes: Vec<UdpEcho>,
    /// Namespaces, links and addresses.
    pub(super) lab: Lab,
}

impl Stage {
    /// Builds it all and waits until Weir is ready.
    pub(super) fn build(binary: &Path, screen: &mut Screen) -> Result<Self> {
        screen.heading("The stage");
        let lab = Lab::builder().clients(2).backends(4).backend_prefix("web-").build()?;
        let mut servers = Vec::new();
        let mut echoes = Vec::new();
        for backend in &lab.backends {
            servers.push(HttpServer::start(&backend.netns, &backend.name, HTTP_PORT)?);
            echoes.push(UdpEcho::start(&backend.netns, &backend.name, UDP_PORT)?);
        }
        let registry = FileRegistry::new(&lab)?;
        let members = first_members();
        for (service, entries) in files(&lab, &members) {
            registry.publish(service, &entries)?;
        }
        registry.publish("echo", &entries_v4(&lab, &lab_members(&lab), UDP_PORT))?;
        let weir = WeirProcess::start(&lab, binary, &config(&lab))?;
        screen.line("Network namespaces: two clients, Weir between them, and behind it four");
        screen.line("backends with real HTTP servers.");
        screen.line(&format!("weir run, on {FRONT} and {BACK}, serves {}", http_v4()));
        screen.line(&format!("and {}.", http_v6()));
        let stage = Self { weir, registry, servers, echoes, lab };
        stage.await_members(&members)?;
        Ok(stage)
    }

    /// Writes both files of the HTTP service with these backends. Returns how long each took from its rename into
    /// place until `weir backends` showed it in the kernel; asking takes a few milliseconds, which are in it.
    pub(super) fn edit(&self, members: &Members) -> Result<Vec<Duration>> {
        let mut took = Vec::new();
        for (service, entries) in files(&self.lab, members) {
            let before = self.in_kernel(service)?;
            let started = Instant::now();
            self.registry.publish(service, &entries)?;
            self.await_service(service, members, Some(&before))?;
            took.push(started.elapsed());
        }
        Ok(took)
    }

    /// How many datagrams have arrived at all backends together.
    pub(super) fn datagrams(&self) -> u64 {
        self.echoes.iter().map(UdpEcho::received).sum()
    }

    /// The last lines of Weir's log.
    pub(super) fn log_tail(&self) -> String {
        let log = self.weir.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Leaves it standing: servers become processes of their own.
    pub(super) fn keep(self, binary: &Path, screen: &mut Screen) -> Result<()> {
        let Self { weir, servers, echoes, lab, .. } = self;
        drop((servers, echoes));
        let program = std::env::current_exe().context("this program has no path")?;
        let mut processes = Vec::new();
        for backend in &lab.backends {
            let mut command = Command::new(&program);
            command.args(["serve", &backend.name]);
            processes.push(Process::start(&lab, &backend.netns, &backend.name, &mut command)?);
        }
        lab.keep()?;
        screen.heading("The lab stands");
        let client = lab.clients[0].netns.name();
        screen.line(&format!("ask:     nsenter --net=/run/netns/{client} curl http://{}", http_v4()));
        screen.line(&format!("look:    {} backends --socket {}", binary.display(), lab.socket().display()));
        screen.line(&format!("edit:    {}/web.toml", lab.dir().join("services.d").display()));
        screen.line(&format!("log:     {}/weir.log", lab.dir().display()));
        screen.line("the end: cargo xtask clean");
        // Dropped now, they see that the lab is kept, and stay.
        drop((weir, processes));
        Ok(())
    }

    fn await_members(&self, members: &Members) -> Result<()> {
        files(&self.lab, members).iter().try_for_each(|(service, _)| self.await_service(service, members, None))
    }

    /// Waits until the kernel holds these backends of a service, and others than `before`.
    fn await_service(&self, service: &str, members: &Members, before: Option<&InKernel>) -> Result<()> {
        let mut last = Ok(InKernel::new());
        let there = wait_until(&format!("{service} to be in the kernel as the registry has it"), EDIT_WITHIN, || {
            last = self.in_kernel(service);
            let Ok(now) = &last else { return None };
            (serves(now, members) && before.is_none_or(|before| before != now)).then_some(())
        });
        there.with_context(|| match last {
            Ok(now) => format!("wanted {members:?}, `weir backends {service}` has {now:?} (id: (weight, slots))"),
            Err(error) => format!("{error:#}"),
        })
    }

    fn in_kernel(&self, service: &str) -> Result<InKernel> {
        let shown = self.weir.json(&["backends", service])?;
        read_backends(&shown).with_context(|| format!("`weir backends {service} -o json` wrote {shown}"))
    }
}

/// Where the HTTP service is, IPv4.
pub(super) fn http_v4() -> SocketAddr {
    (vip_v4(10), 80).into()
}

/// Where the HTTP service is, IPv6.
pub(super) fn http_v6() -> SocketAddr {
    (vip_v6(10), 80).into()
}

/// Where the UDP service is.
pub(super) fn echo() -> SocketAddr {
    (vip_v4(20), 7).into()
}

/// The weights of the first phase.
pub(super) fn first_members() -> Members {
    (1..=4u16).map(|number| (format!("web-{number}"), 100 * number)).collect()
}

fn lab_members(lab: &Lab) -> Members {
    lab.backends.iter().map(|backend| (backend.name.clone(), 100)).collect()
}

/// One file a family: a service's backends are of its VIP's family.
fn files(lab: &Lab, members: &Members) -> [(&'static str, Vec<Entry>); 2] {
    let v6 = entries(lab, members, HTTP_PORT, |backend| backend.v6.into());
    [("web", entries_v4(lab, members, HTTP_PORT)), ("web6", v6)]
}

fn entries_v4(lab: &Lab, members: &Members, port: u16) -> Vec<Entry> {
    entries(lab, members, port, |backend| backend.v4.into())
}

fn entries(lab: &Lab, members: &Members, port: u16, address: fn(&Backend) -> IpAddr) -> Vec<Entry> {
    let weight = |backend: &Backend| members.get(&backend.name).copied();
    let entry = |backend: &Backend| Some(Entry::new(&backend.name, address(backend), port, weight(backend)?));
    lab.backends.iter().filter_map(entry).collect()
}

fn config(lab: &Lab) -> String {
    let (web, web6, echo) = (http_v4(), http_v6(), echo());
    let service = |name: &str, vip: SocketAddr, protocol: &str| {
        format!(
            "\n[[service]]\nname = \"{name}\"\nvip = \"{}\"\nport = {}\nprotocol = \"{protocol}\"\n\
             registry = \"local\"\nforward = \"nat\"\n",
            vip.ip(),
            vip.port()
        )
    };
    let interface = |name: &str| format!("\n[[interface]]\nname = \"{name}\"\nmode = \"native\"\n");
    [
        format!("[weir]\nsocket = {:?}\nstate = {:?}\non_exit = \"detach\"\n", lab.socket(), lab.state()),
        interface(FRONT),
        interface(BACK),
        "\n[registry.local]\ntype = \"file\"\npath = \"services.d\"\n".to_owned(),
        service("web", web, "tcp"),
        service("web6", web6, "tcp"),
        service("echo", echo, "udp"),
        format!("limit = {{ per = \"source\", rate = {LIMIT_RATE}, unit = \"packets/s\", burst = {LIMIT_BURST} }}\n"),
    ]
    .concat()
}

/// Whether new flows go to these backends by these weights, and to no other.
fn serves(now: &InKernel, members: &Members) -> bool {
    let there = |(id, weight): (&String, &u16)| {
        now.get(id).is_some_and(|(held, slots)| *held == u64::from(*weight) && (*slots > 0 || *weight == 0))
    };
    members.iter().all(there) && now.iter().all(|(id, (_, slots))| *slots == 0 || members.contains_key(id))
}

fn read_backends(shown: &Value) -> Result<InKernel> {
    let backend = |backend: &Value| {
        let number = |key: &str| backend[key].as_u64().with_context(|| format!("a backend has no number {key:?}"));
        let id = backend["id"].as_str().context("a backend has no text \"id\"")?;
        Ok((id.to_owned(), (number("weight")?, number("slots")?)))
    };
    shown.as_array().context("that is no array")?.iter().map(backend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_serves_what_the_registry_has() {
        let shown = serde_json::json!([
            { "service": "web", "id": "web-1", "weight": 100, "slots": 6_000 },
            { "service": "web", "id": "web-2", "weight": 200, "slots": 12_000 },
        ]);
        let now = read_backends(&shown).unwrap();
        let members = |list: &[(&str, u16)]| list.iter().map(|(id, weight)| ((*id).to_owned(), *weight)).collect();
        assert!(serves(&now, &members(&[("web-1", 100), ("web-2", 200)])));
        assert!(!serves(&now, &members(&[("web-1", 100), ("web-2", 300)])));
        assert!(!serves(&now, &members(&[("web-1", 100)])));
        assert!(!serves(&now, &members(&[("web-1", 100), ("web-2", 200), ("web-3", 1)])));
        assert!(read_backends(&serde_json::json!([{ "id": "x" }])).is_err());
    }
}
