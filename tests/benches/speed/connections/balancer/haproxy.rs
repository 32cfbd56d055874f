//! HAProxy in mode tcp.

use std::net::SocketAddrV4;

use anyhow::Result;
use weir_tests::lab::{Lab, Process};

use super::super::processor::processors;
use super::super::server::BACKLOG;
use super::{Kind, lines, write};

/// Starts it: a thread for each processor, bytes spliced in the kernel, nothing logged, nothing checked.
pub(super) fn start(lab: &Lab, kind: Kind, servers: &[SocketAddrV4]) -> Result<Process> {
    let servers = lines(servers, |number, server| format!("  server s{number} {server}"));
    let config = format!(
        "global\n  nbthread {}\n  maxconn 6000\n  stats maxconn 1\n\n\
         defaults\n  mode tcp\n  balance roundrobin\n  option splice-auto\n  option tcp-smart-accept\n  \
         option tcp-smart-connect\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\n\
         listen web\n  bind {} backlog {BACKLOG}\n  maxconn 6000\n{servers}",
        processors(),
        kind.vip(),
    );
    let path = write(lab, "haproxy.cfg", &config)?;
    Process::start(lab, &lab.weir, "haproxy", kind.command()?.args(["-db", "-f"]).arg(path))
}
