//! The stage: the lab, backends that can be killed, the registry and a Weir that can be killed too.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::lab::traffic::{ANSWER_PORT, Answerer, FLOOD_V4_PREFIX, FLOOD_V6_PREFIX, Ledger};
use weir_tests::lab::{Backend, Client, Entry, FileRegistry, Lab, Netns, WeirProcess, wait_until};

use super::config::{self, Side};
use super::roster::{Roster, SERVICES};

const BACKENDS: u8 = 6;
/// How long it may take until the kernel holds what the registry has.
const CONVERGES_WITHIN: Duration = Duration::from_secs(10);

/// Everything that stands during the run. Fields are dropped in this order.
pub(super) struct Stage {
    /// Weir.
    pub(super) weir: WeirProcess,
    servers: Vec<Option<Answerer>>,
    /// The registry's directory.
    pub(super) registry: FileRegistry,
    /// What the registry and the operator have said.
    pub(super) roster: Roster,
    /// The service beside the others.
    pub(super) side: Side,
    /// What broke.
    pub(super) ledger: Ledger,
    /// Two builds of Weir whose programs differ; the first is in use.
    pub(super) binaries: [PathBuf; 2],
    /// Namespaces, links and addresses.
    pub(super) lab: Lab,
}

impl Stage {
    /// Builds it and waits until Weir is ready.
    pub(super) fn build(binary: PathBuf, other: PathBuf) -> Result<Self> {
        let lab = Lab::builder().clients(3).backends(BACKENDS).build()?;
        let servers = lab.backends.iter().map(|backend| Answerer::start(&backend.netns, &backend.name).map(Some));
        let servers = servers.collect::<Result<_>>()?;
        for backend in &lab.backends {
            // Connections that a flood has half opened are given up soon: answers to them, sent anew a thousand at once,
            // would fill the links' queues for half a minute.
            backend.netns.sysctl("net/ipv4/tcp_synack_retries", "1")?;
        }
        let names: Vec<String> = lab.backends.iter().map(|backend| backend.name.clone()).collect();
        let registry = FileRegistry::new(&lab)?;
        let roster = Roster::new(&names);
        for service in SERVICES {
            registry.publish(service, &entries(&lab, &roster, service))?;
        }
        let side: Vec<Entry> =
            lab.backends.iter().map(|backend| Entry::new(&backend.name, backend.v4, ANSWER_PORT + 1, 100)).collect();
        registry.publish("side", &side)?;
        // Answers to sources that are not there go to a client, which has no use for them: as to an upstream router.
        let sink = &lab.clients[2];
        lab.weir.ip(&format!("route add {FLOOD_V4_PREFIX} via {}", sink.v4))?;
        lab.weir.ip(&format!("route add {FLOOD_V6_PREFIX} via {}", sink.v6))?;
        let side = Side::Limited { rate: 1_000 };
        let weir = WeirProcess::start(&lab, &binary, &config::text(&lab, side))?;
        let (binaries, ledger) = ([binary, other], Ledger::default());
        Ok(Self { weir, servers, registry, roster, side, ledger, binaries, lab })
    }

    /// Where the long-lived connections come from.
    pub(super) fn residents(&self) -> &Netns {
        &self.lab.clients[0].netns
    }

    /// Where the short connections come from.
    pub(super) fn visitors(&self) -> &Netns {
        &self.lab.clients[1].netns
    }

    /// Where the stream and the flood come from.
    pub(super) fn crowd(&self) -> &Client {
        &self.lab.clients[2]
    }

    /// Writes the registry's file of a service as the roster has it.
    pub(super) fn publish(&self, service: &str) -> Result<()> {
        self.registry.publish(service, &entries(&self.lab, &self.roster, service))
    }

    /// Writes the configuration anew. It is read at the next reload or start.
    pub(super) fn write_config(&self) -> Result<()> {
        let path = self.lab.dir().join("weir.toml");
        std::fs::write(&path, config::text(&self.lab, self.side))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// `weir ARGUMENTS…`; an error when it does not end with 0.
    pub(super) fn tell(&self, arguments: &[&str]) -> Result<String> {
        let output = self.weir.cli(arguments)?;
        ensure!(
            output.code == Some(0),
            "`weir {}` ended with {:?}: {}",
            arguments.join(" "),
            output.code,
            output.stderr.trim()
        );
        Ok(output.stdout)
    }

    /// Kills a backend's server with all its connections and starts it again.
    pub(super) fn kill_backend(&mut self, index: usize) -> Result<()> {
        let backend = &self.lab.backends[index];
        let _excused = self.ledger.excuse(&backend.name);
        self.servers[index] = None;
        self.servers[index] = Some(Answerer::start(&backend.netns, &backend.name)?);
        Ok(())
    }

    /// How many datagrams of a stream have arrived at all backends together.
    pub(super) fn streamed(&self) -> u64 {
        self.servers.iter().flatten().map(Answerer::streamed).sum()
    }

    /// The namespaces of the backends and of the stream's client.
    pub(super) fn stream_ends(&self) -> impl Iterator<Item = &Netns> {
        self.lab.backends.iter().map(|backend| &backend.netns).chain([&self.crowd().netns])
    }

    /// How many frames the lab's links have dropped because a queue was full.
    pub(super) fn dropped(&self) -> Result<u64> {
        let hosts = self.lab.clients.iter().map(|client| &client.netns);
        let hosts = hosts.chain(self.lab.backends.iter().map(|backend| &backend.netns));
        hosts.chain([&self.lab.weir, &self.lab.switch]).map(dropped_in).sum()
    }

    /// What `weir status` says of moving slots.
    pub(super) fn moving(&self) -> Result<Moving> {
        let status = self.weir.json(&["status"])?;
        Moving::read(&status).with_context(|| format!("`weir status -o json` wrote {status}"))
    }

    /// Waits until the kernel holds what registry and operator have said.
    pub(super) fn converge(&self) -> Result<()> {
        for service in SERVICES {
            let wanted: BTreeSet<String> = self.roster.active(service).into_iter().collect();
            let mut last = Ok(BTreeSet::new());
            let what = format!("new flows of {service} to go where registry and operator want them");
            wait_until(&what, CONVERGES_WITHIN, || {
                last = self.holders(service);
                (last.as_ref().ok() == Some(&wanted)).then_some(())
            })
            .with_context(|| match &last {
                Ok(found) => format!("wanted {wanted:?}, `weir backends {service}` has {found:?}"),
                Err(error) => format!("{error:#}"),
            })?;
        }
        Ok(())
    }

    /// The backends that hold slots of a service.
    fn holders(&self, service: &str) -> Result<BTreeSet<String>> {
        let rows = self.weir.json(&["backends", service])?;
        let rows = rows.as_array().context("`weir backends -o json` wrote no array")?.iter();
        let holders = rows.filter(|row| row["slots"].as_u64().unwrap_or_default() > 0);
        let ids: Option<_> = holders.map(|row| Some(row["id"].as_str()?.to_owned())).collect();
        ids.context("a backend has no text \"id\"")
    }

    /// The last lines of Weir's log.
    pub(super) fn log_tail(&self) -> String {
        let log = self.weir.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// How much is moving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moving {
    /// Slots that hand over.
    pub(super) slots: u64,
    /// How many times the flow table was consulted.
    pub(super) flow_lookups: u64,
    /// Flows that were not remembered because too many were.
    pub(super) inserts_refused: u64,
}

impl Moving {
    fn read(status: &Value) -> Option<Self> {
        let number = |key: &str| status["moving"][key].as_u64();
        Some(Self {
            slots: number("slots")?,
            flow_lookups: number("flow_lookups")?,
            inserts_refused: number("inserts_refused")?,
        })
    }
}

fn dropped_in(netns: &Netns) -> Result<u64> {
    let links: Value = serde_json::from_str(&netns.ip("-s -json link show type veth")?)?;
    let count = |link: &Value, way: &str| link["stats64"][way]["dropped"].as_u64().unwrap_or_default();
    Ok(links.as_array().into_iter().flatten().map(|link| count(link, "rx") + count(link, "tx")).sum())
}

fn entries(lab: &Lab, roster: &Roster, service: &str) -> Vec<Entry> {
    let v6 = config::vip(service).is_ipv6();
    let address = |backend: &Backend| if v6 { IpAddr::from(backend.v6) } else { backend.v4.into() };
    let members = roster.members(service).iter().filter(|(_, member)| member.registered);
    let entry = |(name, member): (&String, &super::roster::Member)| {
        let backend = lab.backends.iter().find(|backend| backend.name == *name)?;
        Some(Entry::new(name, address(backend), ANSWER_PORT, member.weight))
    };
    members.filter_map(entry).collect()
}
