//! nginx with its stream module.

use std::net::SocketAddrV4;

use anyhow::Result;
use weir_tests::lab::{Lab, Process};

use super::super::processor::processors;
use super::super::server::BACKLOG;
use super::{Kind, lines, write};

/// Where Debian's package libnginx-mod-stream has the module.
pub(super) const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Starts it: a worker for each processor, each with a listening socket of its own, nothing logged.
pub(super) fn start(lab: &Lab, kind: Kind, servers: &[SocketAddrV4]) -> Result<Process> {
    let servers = lines(servers, |_, server| format!("    server {server} max_fails=0;"));
    let dir = lab.dir();
    let config = format!(
        "load_module {MODULE};\nworker_processes {};\ndaemon off;\npid {};\n\
         error_log stderr crit;\nevents {{\n  worker_connections 8192;\n  use epoll;\n  multi_accept on;\n}}\n\
         stream {{\n  access_log off;\n  tcp_nodelay on;\n  proxy_connect_timeout 5s;\n  proxy_timeout 60s;\n  \
         upstream web {{\n    zone web 64k;\n{servers}  }}\n  server {{\n    listen {} reuseport backlog={BACKLOG};\n    proxy_pass web;\n  }}\n}}\n",
        processors(),
        dir.join("nginx.pid").display(),
        kind.vip(),
    );
    let path = write(lab, "nginx.conf", &config)?;
    let mut command = kind.command()?;
    Process::start(lab, &lab.weir, "nginx", command.arg("-p").arg(dir).args(["-e", "stderr", "-c"]).arg(path))
}
