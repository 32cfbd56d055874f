//! Who stands between clients and servers, and how each is started in Weir's host.

mod envoy;
mod haproxy;
mod nftables;
mod nginx;
mod weir;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::unistd::Pid;
use weir_tests::lab::{Lab, Process, WeirProcess, envoy_binary, vip_v4, wait_until};

use super::stage::PORT;

/// How long a balancer has until it serves.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// Who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody: Weir's host is a router, and clients take turns with the servers themselves.
    Direct,
    Weir,
    Haproxy,
    Nginx,
    Envoy,
    Nftables,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Direct, Self::Weir, Self::Haproxy, Self::Nginx, Self::Envoy, Self::Nftables];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Weir => "Weir",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
            Self::Nftables => "nftables",
        }
    }

    /// The program it takes, where packages put it.
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Direct | Self::Weir => None,
            Self::Haproxy => Some("/usr/sbin/haproxy".into()),
            Self::Nginx => Some("/usr/sbin/nginx".into()),
            Self::Envoy => Some(envoy_binary()),
            Self::Nftables => Some("/usr/sbin/nft".into()),
        }
    }

    /// Why it cannot be measured here, if it cannot.
    pub(super) fn missing(self) -> Option<String> {
        let module = (self == Self::Nginx).then(|| PathBuf::from(nginx::MODULE));
        let absent = self.program().into_iter().chain(module).find(|file| !file.is_file())?;
        let absent = absent.display();
        Some(format!("{}: there is no {absent}; `cargo xtask bench` installs it where it can", self.name()))
    }

    fn command(self) -> Result<Command> {
        let program = self.program().with_context(|| format!("{} is no program", self.name()))?;
        Ok(Command::new(program))
    }

    /// The address of its service, which no other has. A proxy's is an address of its host.
    pub(super) fn vip(self) -> SocketAddrV4 {
        let number = Self::ALL.iter().position(|kind| *kind == self).unwrap_or_default();
        let IpAddr::V4(address) = vip_v4(10 + u8::try_from(number).unwrap_or_default()) else {
            unreachable!("an IPv4 address is one")
        };
        SocketAddrV4::new(address, PORT)
    }

    /// The address that clients come from, which no other has, if it is not the lab's. A server that has closed a
    /// connection takes a new one from the same port only if its sequence number or time stamp is larger (RFC 6191), and
    /// where those begin depends on both addresses as the client knows them: Weir's and nftables' clients would stumble over
    /// what direct ones have left.
    pub(super) fn client(self) -> Option<Ipv4Addr> {
        let number = Self::ALL.iter().position(|kind| *kind == self).unwrap_or_default();
        let host = 200 + u8::try_from(number).unwrap_or_default();
        (self != Self::Direct).then(|| Ipv4Addr::new(198, 51, 100, host))
    }

    /// The addresses that proxies listen on.
    pub(super) fn proxies() -> impl Iterator<Item = SocketAddrV4> {
        [Self::Haproxy, Self::Nginx, Self::Envoy].into_iter().map(Self::vip)
    }

    /// Which version it is, as it says itself.
    pub(super) fn version(self) -> Option<String> {
        let flag = match self {
            Self::Haproxy | Self::Nginx => "-v",
            Self::Envoy | Self::Nftables => "--version",
            Self::Direct | Self::Weir => return None,
        };
        let output = self.command().ok()?.arg(flag).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).split(|c: char| c == '/' || c.is_whitespace()).find_map(|word| {
            let word = word.trim_start_matches('v');
            word.starts_with(|c: char| c.is_ascii_digit()).then(|| word.split('-').next().unwrap_or(word).to_owned())
        })
    }
}

/// One that works until it is dropped.
pub(super) struct Balancer {
    /// Where clients connect to.
    pub(super) targets: Vec<SocketAddrV4>,
    work: Work,
}

/// What it takes.
enum Work {
    Nothing,
    Weir(WeirProcess),
    Process(Process),
    Rules(#[expect(dead_code, reason = "they are there to be dropped")] nftables::Rules),
}

impl Balancer {
    /// Starts it in Weir's host, for all the lab's backends, and waits until it serves.
    pub(super) fn start(kind: Kind, lab: &Lab) -> Result<Self> {
        let servers: Vec<SocketAddrV4> =
            lab.backends.iter().map(|backend| SocketAddrV4::new(backend.v4, PORT)).collect();
        let start = || {
            Ok(match kind {
                Kind::Direct => Work::Nothing,
                Kind::Weir => Work::Weir(weir::start(lab, kind.vip())?),
                Kind::Haproxy => Work::Process(haproxy::start(lab, kind, &servers)?),
                Kind::Nginx => Work::Process(nginx::start(lab, kind, &servers)?),
                Kind::Envoy => Work::Process(envoy::start(lab, kind, &servers)?),
                Kind::Nftables => Work::Rules(nftables::start(lab, kind, &servers)?),
            })
        };
        let work: Result<Work> = start();
        let mut work = work.with_context(|| format!("starting {}", kind.name()))?;
        let targets = if kind == Kind::Direct { servers } else { vec![kind.vip()] };
        await_service(lab, &targets, &mut work).with_context(|| format!("starting {}", kind.name()))?;
        Ok(Self { targets, work })
    }

    /// Its process, if it is one.
    pub(super) fn pid(&self) -> Option<Pid> {
        match &self.work {
            Work::Nothing | Work::Rules(_) => None,
            Work::Weir(weir) => Some(weir.pid()),
            Work::Process(process) => Some(process.pid()),
        }
    }
}

/// Waits until a client is answered.
fn await_service(lab: &Lab, targets: &[SocketAddrV4], work: &mut Work) -> Result<()> {
    let served = wait_until("a connection", READY_WITHIN, || {
        if let Work::Process(process) = &mut *work
            && let Ok(Some(status)) = process.ended()
        {
            return Some(Err(anyhow::anyhow!("it ended ({status}): {}", process.log())));
        }
        let open =
            |target: &SocketAddrV4| TcpStream::connect_timeout(&(*target).into(), Duration::from_secs(1)).is_ok();
        lab.clients[0].netns.run(|| targets.iter().all(open)).then_some(Ok(()))
    });
    match (served, work) {
        (Ok(result), _) => result,
        (Err(error), Work::Process(process)) => bail!("{error}; it wrote: {}", process.log()),
        (Err(error), _) => Err(error.into()),
    }
}

/// Writes a configuration into the lab's directory, and says where.
fn write(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let path = lab.dir().join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A line for each server.
fn lines(servers: &[SocketAddrV4], line: impl Fn(usize, &SocketAddrV4) -> String) -> String {
    servers.iter().enumerate().fold(String::new(), |mut text, (number, server)| {
        writeln!(text, "{}", line(number + 1, server)).expect("a String takes everything");
        text
    })
}
