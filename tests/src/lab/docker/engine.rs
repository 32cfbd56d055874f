//! The engine: `dockerd` as a process of the lab, and its command line.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::unistd::Pid;

use super::ENGINE_DIR;
use crate::lab::command::{output, run};
use crate::lab::ending::has_ended;
use crate::lab::netns::Netns;
use crate::lab::process::Process;
use crate::lab::topology::Lab;
use crate::lab::wait::wait_until;

/// How long the engine has to answer, also when it finds many containers.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it has to leave.
const LEAVES_WITHIN: Duration = Duration::from_secs(20);

/// The network of `docker0`, IPv4, as the bridge's own address in it.
const DOCKER0_V4: &str = "10.201.0.1/24";
/// The same, IPv6.
const DOCKER0_V6: &str = "fd00:201::/64";
/// What other networks are made of unless they say it themselves.
const POOL_V4: &str = "base=10.202.0.0/16,size=24";

/// Whether a namespace forwards.
const FORWARDING: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/// The engine: Debian's, Docker's.
const DAEMONS: [&str; 2] = ["/usr/sbin/dockerd", "/usr/bin/dockerd"];
/// The engine's own client. Another of that name on the path may speak only what this engine is too old for.
const CLIENT: &str = "/usr/bin/docker";

/// What an engine may be told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More arguments of `dockerd`.
    pub arguments: Vec<String>,
    /// Whether it may be of a swarm: such an engine ends its containers when it starts.
    pub swarm: bool,
}

/// A Docker engine in a namespace of the lab, with its default firewall rules for both families. Its containers outlive
/// it (`--live-restore`, unless it may be of a swarm), and go with the lab.
#[derive(Debug)]
pub struct Engine {
    netns: Netns,
    dir: PathBuf,
    arguments: Vec<String>,
    // Behind a lock, so that containers may be held while the engine is killed and started again.
    process: Mutex<Process>,
}

impl Engine {
    /// Starts it in `netns` and waits until it answers. One to a lab.
    pub fn start(lab: &Lab, netns: &Netns, options: &Options) -> Result<Self> {
        ensure!(
            Path::new(CLIENT).exists(),
            "there is no {CLIENT}: `cargo xtask setup` installs Debian's packages of the engine"
        );
        let dir = lab.dir().join(ENGINE_DIR);
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let id = lab.dir().file_name().context("a lab's directory has a name")?.to_string_lossy();
        let mut arguments: Vec<String> = [
            ("--data-root", dir.join("data").display().to_string()),
            ("--exec-root", dir.join("run").display().to_string()),
            ("--pidfile", dir.join("pid").display().to_string()),
            ("--host", format!("unix://{}", dir.join("docker.sock").display())),
            // What a lab's remains are known by.
            ("--cgroup-parent", format!("/{id}")),
            ("--exec-opt", "native.cgroupdriver=cgroupfs".to_owned()),
            ("--bip", DOCKER0_V4.to_owned()),
            ("--default-address-pool", POOL_V4.to_owned()),
            ("--fixed-cidr-v6", DOCKER0_V6.to_owned()),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value])
        .collect();
        // This engine has the IPv6 firewall, a copy of the IPv4 one, only as an experiment; later ones have it always.
        arguments.extend(["--ipv6", "--experimental", "--ip6tables"].map(str::to_owned));
        if !options.swarm {
            arguments.push("--live-restore".to_owned());
        }
        // No file of the machine's engine is read.
        arguments.extend(["--config-file".to_owned(), dir.join("daemon.json").display().to_string()]);
        std::fs::write(dir.join("daemon.json"), "{}").context("cannot write the engine's configuration")?;
        arguments.extend(options.arguments.iter().cloned());
        // The engine closes the firewall's FORWARD chain only where it is the one that has the host forward.
        for key in FORWARDING {
            netns.sysctl(key, "0")?;
        }
        let process = Mutex::new(spawn(lab, netns, &arguments)?);
        let engine = Self { netns: netns.clone(), dir, arguments, process };
        engine.await_ready()?;
        for key in FORWARDING {
            netns.sysctl(key, "1")?;
        }
        // Of IPv6 this engine leaves that to others; later ones close it too.
        netns.command("ip6tables", &["--policy", "FORWARD", "DROP"])?;
        Ok(engine)
    }

    /// Where its socket is.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    /// Its socket as `[registry.NAME]`'s `address` takes it.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The namespace that it is in.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The folder of everything that is the engine's.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// `docker ARGUMENTS…` at this engine: what it wrote, without the last line's end.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        run(&mut self.command(arguments)).map(|text| text.trim_end().to_owned())
    }

    /// The same, however it ends.
    pub fn cli_output(&self, arguments: &[&str]) -> Result<Output> {
        output(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(CLIENT);
        self.address(&mut command).args(arguments);
        command
    }

    /// Has a client of the engine speak to this one, with no settings of a person's.
    pub(super) fn address<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for variable in ["DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"] {
            command.env_remove(variable);
        }
        command.env("DOCKER_HOST", self.url()).env("DOCKER_CONFIG", self.dir.join("client"))
    }

    /// Has it make a swarm of itself alone, as the engine that may be of one. Services are to be created with
    /// `--endpoint-mode dnsrr`: what Swarm itself does for VIPs takes IPVS in the kernel.
    pub fn make_swarm(&self) -> Result<()> {
        let (own, _) = DOCKER0_V4.split_once('/').context("a bridge's address has a prefix")?;
        self.cli(&["swarm", "init", "--advertise-addr", own]).map(drop)
    }

    /// `docker inspect` of a container or a network.
    pub fn inspect(&self, name: &str) -> Result<serde_json::Value> {
        let text = self.cli(&["inspect", name])?;
        let mut list: Vec<serde_json::Value> =
            serde_json::from_str(&text).with_context(|| format!("`docker inspect {name}` wrote no list: {text}"))?;
        list.pop().with_context(|| format!("`docker inspect {name}` wrote an empty list"))
    }

    /// Removes every container, by force.
    pub fn remove_containers(&self) -> Result<()> {
        let all = self.cli(&["ps", "--all", "--quiet"])?;
        let all: Vec<&str> = all.split_whitespace().collect();
        if all.is_empty() { Ok(()) } else { self.cli(&[&["rm", "--force", "--volumes"], &all[..]].concat()).map(drop) }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.process().pid()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process().log()
    }

    /// SIGKILL: what a crash looks like. Its containers stay.
    pub fn kill(&self) -> Result<ExitStatus> {
        self.process().kill()
    }

    /// SIGTERM, and waits until it has left. Its containers stay.
    pub fn stop(&self) -> Result<ExitStatus> {
        self.process().stop(LEAVES_WITHIN)
    }

    /// Starts it again after [`Engine::kill`] or [`Engine::stop`], and waits until it answers.
    pub fn restart(&self, lab: &Lab) -> Result<()> {
        let mut process = self.process();
        ensure!(process.ended()?.is_some(), "the engine still runs as process {}", process.pid());
        self.forget_containerd()?;
        *process = spawn(lab, &self.netns, &self.arguments)?;
        drop(process);
        self.await_ready()
    }

    /// The engine's containerd dies with it. Where nobody reaps it (the first process of some sandboxes does not), the
    /// next engine would take it for alive, and wait for it.
    fn forget_containerd(&self) -> Result<()> {
        let file = self.dir.join("run/containerd/containerd.pid");
        let Ok(pid) = std::fs::read_to_string(&file) else { return Ok(()) };
        let pid = Pid::from_raw(pid.trim().parse().with_context(|| format!("{} has {pid:?}", file.display()))?);
        wait_until("containerd to end", LEAVES_WITHIN, || has_ended(pid).then_some(()))?;
        std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn await_ready(&self) -> Result<()> {
        let socket = self.socket();
        let ready = wait_until("the engine to answer", READY_WITHIN, || {
            match self.process().ended() {
                Ok(None) => {}
                Ok(Some(how)) => return Some(Err(anyhow!("the engine ended: {how}"))),
                Err(error) => return Some(Err(error)),
            }
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--fail", "--max-time", "5", "--unix-socket"])
                .arg(&socket)
                .arg("http://engine/_ping");
            output(&mut curl).is_ok_and(|answer| answer.status.success()).then_some(Ok(()))
        });
        ready.map_err(Into::into).flatten().with_context(|| format!("the engine's log:\n{}", self.log()))
    }
}

fn spawn(lab: &Lab, netns: &Netns, arguments: &[String]) -> Result<Process> {
    let daemon = DAEMONS.into_iter().find(|path| Path::new(path).exists()).with_context(|| {
        format!("there is neither of {}: `cargo xtask setup` installs an engine", DAEMONS.join(", "))
    })?;
    let mut command = Command::new(daemon);
    command.args(arguments);
    Process::start(lab, netns, "dockerd", &mut command)
}
