//! The program in the lab's containers: a server that leaves gracefully, and a client for where there is no other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use hyper::Method;
use tokio::net::UdpSocket;

use super::graceful::serve;
use crate::lab::http_client::ask;
use crate::lab::http_server::HTTP_PORT;
use crate::lab::udp_echo::{UDP_PORT, UdpEcho};

/// A server and a client for containers.
#[derive(Debug, Parser)]
#[command(name = "lab-server")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serves HTTP and echoes UDP, as its host's name, on every address of both families, until SIGTERM
    Serve(Serve),
    /// Asks, each time on a TCP connection of its own, and writes who answered
    Get {
        /// `http://ADDRESS:PORT/PATH`, the address a number
        url: String,
        #[command(flatten)]
        times: Times,
    },
    /// Sends datagrams, each from a socket of its own, and writes who answered
    Udp {
        /// `ADDRESS:PORT`
        server: SocketAddr,
        #[command(flatten)]
        times: Times,
    },
    /// Succeeds unless there is a file `/tmp/sick`: a health check
    Check,
}

#[derive(Debug, Args)]
struct Serve {
    /// The TCP port
    #[arg(long, default_value_t = HTTP_PORT)]
    http: u16,
    /// The UDP port
    #[arg(long, default_value_t = UDP_PORT)]
    udp: u16,
    /// For how long it goes on as before after SIGTERM, in milliseconds
    #[arg(long, default_value_t = 1_000)]
    linger_ms: u64,
}

#[derive(Debug, Args)]
struct Times {
    /// How often
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// How long one may take, in milliseconds
    #[arg(long, default_value_t = 2_000)]
    timeout_ms: u64,
}

/// Does what was asked.
///
/// # Errors
/// When it cannot serve, when a request was not answered, or when the host is ill.
pub fn run(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    match arguments.verb {
        Verb::Serve(Serve { http, udp, linger_ms }) => {
            let name = host_name()?;
            let echo = name.clone();
            // Its thread ends with the process.
            std::thread::Builder::new().name("udp".to_owned()).spawn(move || UdpEcho::serve_forever(&echo, udp))?;
            local.block_on(&runtime, serve(name, http, Duration::from_millis(linger_ms)))
        }
        Verb::Get { url, times } => {
            let (server, path) = parse_url(&url)?;
            local.block_on(
                &runtime,
                times.each(&url, async || {
                    let answer = ask(Method::GET, server, path, hyper::body::Bytes::new(), None).await?;
                    ensure!(answer.status.is_success(), "status {}", answer.status);
                    Ok(answer.backend)
                }),
            )
        }
        Verb::Udp { server, times } => {
            local.block_on(&runtime, times.each(&server.to_string(), async || datagram(server).await))
        }
        Verb::Check => {
            ensure!(!Path::new("/tmp/sick").exists(), "there is a file /tmp/sick");
            Ok(())
        }
    }
}

impl Times {
    /// Asks so often, and writes each answer as it comes.
    async fn each(&self, whom: &str, ask: impl AsyncFn() -> Result<String>) -> Result<()> {
        let deadline = Duration::from_millis(self.timeout_ms);
        for number in 1..=self.count {
            let what = || format!("request {number} of {} to {whom}", self.count);
            match tokio::time::timeout(deadline, ask()).await {
                Ok(answer) => println!("{}", answer.with_context(what)?),
                Err(_) => bail!("{}: no answer within {} ms", what(), self.timeout_ms),
            }
        }
        Ok(())
    }
}

/// One datagram, and who answered it: the first word.
async fn datagram(server: SocketAddr) -> Result<String> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any).await.context("cannot make a UDP socket")?;
    socket.connect(server).await.context("no route")?;
    socket.send(b"ping").await?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    let name = text.strip_suffix(" ping").with_context(|| format!("the answer is {text:?}"))?;
    Ok(name.to_owned())
}

fn parse_url(url: &str) -> Result<(SocketAddr, &str)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url:?} does not begin with http://"))?;
    let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let server = server.parse().with_context(|| format!("{server:?} is not ADDRESS:PORT"))?;
    Ok((server, if path.is_empty() { "/" } else { path }))
}

fn host_name() -> Result<String> {
    let file = PathBuf::from("/proc/sys/kernel/hostname");
    let name = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_url;

    #[test]
    fn a_url_is_an_address_and_a_path() {
        assert_eq!(parse_url("http://192.0.2.1:80/x").unwrap(), ("192.0.2.1:80".parse().unwrap(), "/x"));
        assert_eq!(parse_url("http://[2001:db8::1]:80").unwrap(), ("[2001:db8::1]:80".parse().unwrap(), "/"));
        assert!(parse_url("192.0.2.1:80").is_err() && parse_url("http://web/").is_err());
    }
}
