//! The stage of the demonstration with containers: a host with an engine, and Weir, which is told nothing of services.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use weir_tests::lab::docker::{Engine, Host, Run};
use weir_tests::lab::{FRONT, HTTP_PORT, Netns, WeirProcess, wait_until};

use crate::demo::stage::{http_v4, http_v6};
use crate::screen::Screen;

/// How long something may take that is to happen soon, before the demonstration gives up.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// The service that the containers declare.
pub(super) const SERVICE: &str = "web";

/// The containers by name, with their weights.
pub(super) type Members = BTreeMap<String, u16>;

/// Everything that stands while the demonstration runs. Fields are dropped in this order.
pub(super) struct Stage {
    weir: WeirProcess,
    host: Host,
}

impl Stage {
    /// Builds it all and waits until Weir is ready.
    pub(super) fn build(binary: &Path, server: &Path, screen: &mut Screen) -> Result<Self> {
        screen.heading("The stage");
        let host = Host::build(server)?;
        let weir = WeirProcess::start(&host.lab, binary, &host.config(""))?;
        screen.line("A Docker engine in a network namespace, with its firewall as it comes; two clients");
        screen.line(&format!("beyond the NIC, {FRONT}. No container publishes a port. weir run has the engine as"));
        screen.line(&format!("registry; labels declare {} and {}.", http_v4(), http_v6()));
        Ok(Self { weir, host })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.host.engine
    }

    /// Who sends requests.
    pub(super) fn client(&self) -> &Netns {
        &self.host.lab.clients[0].netns
    }

    /// The containers of the first phase.
    pub(super) fn members(&self) -> Members {
        (1..=4u16).map(|number| (format!("web-{number}"), 100 * number)).collect()
    }

    /// The containers that take new flows, with their weights.
    pub(super) fn serving(&self) -> Result<Members> {
        read(&self.weir.json(&["backends", SERVICE])?)
    }

    /// Waits until these and no others take new flows.
    pub(super) fn await_serving(&self, members: &Members) -> Result<()> {
        let mut last = Ok(Members::new());
        let there = wait_until("the containers to serve", SOON, || {
            last = self.serving();
            last.as_ref().is_ok_and(|last| last == members).then_some(())
        });
        there.with_context(|| match last {
            Ok(last) => format!("wanted {members:?}, `weir backends {SERVICE}` has {last:?}"),
            Err(error) => format!("{error:#}"),
        })
    }

    /// The last lines of Weir's log.
    pub(super) fn log_tail(&self) -> String {
        let log = self.weir.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Leaves it standing.
    pub(super) fn keep(self, binary: &Path, screen: &mut Screen) -> Result<()> {
        let lab = &self.host.lab;
        lab.keep()?;
        screen.heading("The lab stands");
        let client = lab.clients[0].netns.name();
        screen.line(&format!("ask:     nsenter --net=/run/netns/{client} curl http://{}", http_v4()));
        screen.line(&format!("look:    {} backends --socket {}", binary.display(), lab.socket().display()));
        screen.line(&format!("docker:  DOCKER_HOST={} /usr/bin/docker ps", self.engine().url()));
        screen.line(&format!("log:     {}/weir.log", lab.dir().display()));
        screen.line("the end: cargo xtask clean");
        Ok(())
    }
}

/// A container that declares the service and its VIPs by labels.
pub(super) fn container(name: &str, weight: u16) -> Run {
    let vip = |vip: SocketAddr| format!("{vip}/tcp");
    Run::new(name)
        .label("weir.service", SERVICE)
        .label("weir.port", &HTTP_PORT.to_string())
        .label("weir.vip", &format!("{},{}", vip(http_v4()), vip(http_v6())))
        .label("weir.weight", &weight.to_string())
}

fn read(shown: &Value) -> Result<Members> {
    let rows = shown.as_array().context("`weir backends -o json` wrote no list")?;
    let row = |row: &Value| {
        let number = |key: &str| row[key].as_u64().with_context(|| format!("a backend has no number {key:?}: {row}"));
        let id = row["id"].as_str().with_context(|| format!("a backend has no text \"id\": {row}"))?;
        Ok((id.to_owned(), u16::try_from(number("weight")?)?, number("slots")?))
    };
    let rows: Vec<(String, u16, u64)> = rows.iter().map(row).collect::<Result<_>>()?;
    Ok(rows
        .into_iter()
        .filter(|(_, weight, slots)| *weight > 0 && *slots > 0)
        .map(|(id, weight, _)| (id, weight))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_slots_and_a_weight_serves() {
        let shown = serde_json::json!([
            { "id": "web-1", "weight": 100, "slots": 6_000 },
            { "id": "web-2", "weight": 0, "slots": 12 },
            { "id": "web-3", "weight": 100, "slots": 0 },
        ]);
        assert_eq!(read(&shown).unwrap(), [("web-1".to_owned(), 100)].into());
        assert!(read(&serde_json::json!([{ "id": "x" }])).is_err());
    }
}
