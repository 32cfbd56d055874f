//! A real Consul agent in development mode, with ports and a directory of its own.

use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use weir_tests::lab::consul_binary;

/// For an agent on a busy machine to come up, and for a source to notice.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The binary: `CONSUL_BINARY`, or the one that `cargo xtask setup` unpacked, or the one on the `PATH`.
fn consul() -> PathBuf {
    let binary = consul_binary();
    assert!(binary.is_file(), "there is no {}: run cargo xtask setup, or set CONSUL_BINARY", binary.display());
    binary
}

/// Ports nobody has, below those the kernel gives to clients (ip_local_port_range): what is free now is then still free
/// when the agent binds it. No two calls in this process give the same one, and processes begin at different places.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let candidate = || {
        let port = FIRST + (std::process::id() * 37 + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        u16::try_from(port).expect("below 65,536")
    };
    let free =
        |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok() && UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    [(); N].map(|()| (0..COUNT).map(|_| candidate()).find(free).expect("a free port"))
}

/// The token that may do everything where `agent.json` asks for tokens; agents that do not ask ignore it.
pub(crate) const MASTER: &str = "5ec7e7f0-0000-4000-8000-000000000001";

pub(crate) struct Agent {
    http: reqwest::Client,
    pub(crate) address: String,
    ports: [u16; 5],
    pub(crate) data: TempDir,
    child: Child,
}

impl Agent {
    pub(crate) async fn start() -> Self {
        Self::start_in(free_ports(), tempfile::tempdir().expect("a directory")).await
    }

    /// Starts an agent with what `agent.json` in `data` says besides.
    pub(crate) async fn start_in(ports: [u16; 5], data: TempDir) -> Self {
        // The tests of this process run at once, and the provider can be installed once.
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        let child = Self::spawn(ports, &data);
        let agent = Self { http, address: format!("http://127.0.0.1:{}", ports[0]), ports, data, child };
        agent.ready().await;
        agent
    }

    fn spawn([http, serf_lan, serf_wan, server, dns]: [u16; 5], data: &TempDir) -> Child {
        let log = std::fs::File::create(data.path().join("log")).expect("a log");
        Command::new(consul())
            .args(["agent", "-dev", "-client", "127.0.0.1", "-bind", "127.0.0.1", "-node", "test", "-grpc-port", "-1"])
            .args(data.path().join("agent.json").is_file().then_some("-config-file=agent.json"))
            .arg(format!("-http-port={http}"))
            .arg(format!("-serf-lan-port={serf_lan}"))
            .arg(format!("-serf-wan-port={serf_wan}"))
            .arg(format!("-server-port={server}"))
            .arg(format!("-dns-port={dns}"))
            .env_clear()
            .current_dir(data.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("consul starts")
    }

    /// Waits until there is a leader, and the agent has registered itself: before, writes fail.
    async fn ready(&self) {
        let begun = Instant::now();
        loop {
            let url = format!("{}/v1/catalog/service/consul", self.address);
            if let Ok(response) = self.http.get(url).header("X-Consul-Token", MASTER).send().await
                && response.status() == StatusCode::OK
                && response.json::<Vec<Value>>().await.is_ok_and(|nodes| !nodes.is_empty())
            {
                return;
            }
            let log = || std::fs::read_to_string(self.data.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < DEADLINE, "the agent is not ready:\n{}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("killed");
    }

    pub(crate) async fn restart(&mut self) {
        self.child = Self::spawn(self.ports, &self.data);
        self.ready().await;
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) {
        let url = format!("{}/v1/agent/{path}", self.address);
        let response = self
            .http
            .put(url)
            .header("X-Consul-Token", MASTER)
            .body(body.to_string())
            .send()
            .await
            .expect("the agent answers");
        let status = response.status();
        assert_eq!(status, StatusCode::OK, "{path}: {}", response.text().await.unwrap_or_default());
    }

    pub(crate) async fn register(&self, id: &str, address: &str, weight: u16, tags: &[&str]) {
        let service = json!({
            "ID": id, "Name": "web", "Address": address, "Port": 8080, "Tags": tags,
            "Weights": { "Passing": weight, "Warning": 3 },
            "Check": { "CheckID": format!("check-{id}"), "TTL": "1h", "Status": "passing" },
        });
        self.put("service/register", &service).await;
    }

    pub(crate) async fn check(&self, id: &str, status: &str) {
        self.put(&format!("check/update/check-{id}"), &json!({ "Status": status })).await;
    }
}

/// Runs `consul tls …` in `data`, which leaves PEM files there.
pub(crate) async fn consul_tls(data: &TempDir, arguments: &[&str]) {
    let output = Command::new(consul()).arg("tls").args(arguments).current_dir(data.path()).output().await;
    let output = output.expect("consul starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
