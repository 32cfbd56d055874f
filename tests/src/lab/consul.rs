//! A real Consul agent in a namespace of the lab.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::http_client::{Answer, request};
use super::netns::Netns;
use super::process::Process;
use super::topology::Lab;
use super::wait::wait_until;

/// How long the agent has to elect itself.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to leave.
const LEAVES_WITHIN: Duration = Duration::from_secs(30);
/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);

/// Where `cargo xtask setup` unpacks Consul: below `$XDG_CACHE_HOME`, by default `~/.cache`.
pub fn cache_dir() -> PathBuf {
    cache_of("consul")
}

/// Where programs are that are unpacked for tests, each in a folder of its own.
pub(super) fn cache_of(program: &str) -> PathBuf {
    let named = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(|| PathBuf::from("/var/cache")).join("weir").join(program)
}

/// The Consul to run: `$CONSUL_BINARY`, or the one that `cargo xtask setup` unpacked, or the one on the path.
pub fn installed() -> PathBuf {
    if let Some(named) = std::env::var_os("CONSUL_BINARY") {
        return named.into();
    }
    let unpacked = cache_dir().join("usr/bin/consul");
    if unpacked.exists() {
        return unpacked;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|dir| dir.join("consul")).find(|path| path.is_file());
    installed.unwrap_or(unpacked)
}

/// What to register. The service has one check, with a time to live of a day, which is passing at first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// The instance's id, unique at the agent.
    pub id: String,
    /// The service's name.
    pub service: String,
    /// Where it listens.
    pub address: String,
    /// The port it listens on.
    pub port: u16,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its weights while passing and while warning.
    pub weights: (u16, u16),
}

/// `consul agent -dev` in a namespace, on loopback there. Dropped, it ends.
#[derive(Debug)]
pub struct Consul {
    netns: Netns,
    http: SocketAddr,
    process: Process,
}

impl Consul {
    /// Starts it in `netns` with a data directory of its own and waits until it has a leader.
    pub fn start(lab: &Lab, netns: &Netns) -> Result<Self> {
        Self::start_at(lab, netns, free_port(netns)?)
    }

    /// Starts it with its HTTP API on this port: after a stop, in the same place again.
    pub fn start_at(lab: &Lab, netns: &Netns, http_port: u16) -> Result<Self> {
        let binary = installed();
        ensure!(binary.exists(), "there is no {}: `cargo xtask setup` brings it", binary.display());
        let data = lab.dir().join(format!("consul-{http_port}"));
        let [rpc, lan, wan] = [free_port(netns)?, free_port(netns)?, free_port(netns)?];
        let mut command = Command::new(&binary);
        command.args(["agent", "-dev", "-client", "127.0.0.1", "-bind", "127.0.0.1", "-node", "lab"]);
        command.args(["-dns-port", "-1", "-grpc-port", "-1", "-log-level", "warn"]);
        // Nobody asks the one server of a lab any more when it leaves: no drain.
        command.args(["-hcl", "performance { leave_drain_time = \"10ms\" }"]);
        for (option, port) in
            [("-http-port", http_port), ("-server-port", rpc), ("-serf-lan-port", lan), ("-serf-wan-port", wan)]
        {
            command.args([option, &port.to_string()]);
        }
        command.arg("-data-dir").arg(data);
        let process = Process::start(lab, netns, &format!("consul-{http_port}"), &mut command)?;
        let mut consul = Self { netns: netns.clone(), http: (Ipv4Addr::LOCALHOST, http_port).into(), process };
        let ready = wait_until("Consul's leader", READY_WITHIN, || {
            if !matches!(consul.process.ended(), Ok(None)) {
                return Some(false);
            }
            let leader = consul.call(Method::GET, "/v1/status/leader", None).ok()?;
            (leader.text().trim().len() > 2).then_some(true)
        });
        match ready {
            Ok(true) => Ok(consul),
            Ok(false) => anyhow::bail!("Consul ended at once; its log:\n{}", consul.process.log()),
            Err(error) => Err(error).with_context(|| format!("its log:\n{}", consul.process.log())),
        }
    }

    /// Where its HTTP API is, inside its namespace.
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// Its API as `[registry.NAME]` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The process: to stop it with SIGSTOP, to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Registers an instance, or changes it.
    pub fn register(&self, registration: &Registration) -> Result<()> {
        let Registration { id, service, address, port, tags, weights: (passing, warning) } = registration;
        let body = json!({
            "ID": id, "Name": service, "Address": address, "Port": port, "Tags": tags,
            "Weights": { "Passing": passing, "Warning": warning },
            "Check": { "CheckID": check(id), "TTL": "24h", "Status": "passing" },
        });
        self.call(Method::PUT, "/v1/agent/service/register", Some(body)).map(drop)
    }

    /// Takes an instance out.
    pub fn deregister(&self, id: &str) -> Result<()> {
        self.call(Method::PUT, &format!("/v1/agent/service/deregister/{id}"), None).map(drop)
    }

    /// Sets an instance's check: `pass`, `warn` or `fail`.
    pub fn set_health(&self, id: &str, health: &str) -> Result<()> {
        self.call(Method::PUT, &format!("/v1/agent/check/{health}/{}", check(id)), None).map(drop)
    }

    /// One call of its HTTP API; anything but 200 is an error.
    pub fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = request(&self.netns, method, self.http, path, body, CALL)?;
        ensure!(answer.status.is_success(), "Consul answered {path} with {}: {}", answer.status, answer.text());
        Ok(answer)
    }

    /// Leaves, as an operator would have it, and waits for the end of the process.
    pub fn leave(&mut self) -> Result<()> {
        request(&self.netns, Method::PUT, self.http, "/v1/agent/leave", "", LEAVES_WITHIN)?;
        self.process.wait(LEAVES_WITHIN).map(drop)
    }

    /// Ends without a word.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }
}

fn check(id: &str) -> String {
    format!("check-{id}")
}

/// A port that nobody in the namespace listens on. Nobody else is in it to take it meanwhile.
fn free_port(netns: &Netns) -> Result<u16> {
    let bound = netns.run(|| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    Ok(bound.context("no free port on loopback")?.local_addr()?.port())
}
