//! Envoy with its filter `tcp_proxy`.

use std::net::SocketAddrV4;

use anyhow::Result;
use weir_tests::lab::{Lab, Process};

use super::super::processor::processors;
use super::super::server::BACKLOG;
use super::{Kind, lines, write};

/// Circuit breakers that never trip.
const PLENTY: u32 = 1_000_000;

/// Starts it: a worker for each processor, each with a listening socket of its own, no admin interface, no access log.
pub(super) fn start(lab: &Lab, kind: Kind, servers: &[SocketAddrV4]) -> Result<Process> {
    let endpoints = lines(servers, |_, server| {
        format!(
            "        - endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}",
            server.ip(),
            server.port()
        )
    });
    let vip = kind.vip();
    let config = format!(
        "static_resources:
  listeners:
  - name: web
    address: {{socket_address: {{address: {}, port_value: {}}}}}
    enable_reuse_port: true
    tcp_backlog_size: {BACKLOG}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: web
          cluster: web
  clusters:
  - name: web
    type: STATIC
    lb_policy: ROUND_ROBIN
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {{max_connections: {PLENTY}, max_pending_requests: {PLENTY}, max_requests: {PLENTY}}}
    load_assignment:
      cluster_name: web
      endpoints:
      - lb_endpoints:
{endpoints}",
        vip.ip(),
        vip.port(),
    );
    let path = write(lab, "envoy.yaml", &config)?;
    let mut command = kind.command()?;
    command.args(["--concurrency", &processors().to_string(), "--disable-hot-restart", "--log-level", "error", "-c"]);
    Process::start(lab, &lab.weir, "envoy", command.arg(path))
}
