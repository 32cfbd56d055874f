//! A UDP server that says which backend it is.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::net::UdpSocket;

use super::netns::{Netns, Task};

/// Where backends echo UDP.
pub const UDP_PORT: u16 = 9000;

/// A UDP echo on IPv4 and IPv6: a datagram comes back with the backend's name and a space before it. It runs until it
/// is dropped.
#[derive(Debug)]
pub struct UdpEcho {
    received: Arc<AtomicU64>,
    _task: Task,
}

impl UdpEcho {
    /// Starts it; when this returns it listens.
    pub fn start(netns: &Netns, name: &str, port: u16) -> Result<Self> {
        Self::start_at(netns, name, (Ipv6Addr::UNSPECIFIED, port).into())
    }

    /// The same at one address only: what a server does whose answers have to come from there, whatever address the
    /// host would choose.
    pub fn start_at(netns: &Netns, name: &str, address: SocketAddr) -> Result<Self> {
        let socket = netns.run(|| bind(address)).with_context(|| format!("in {}", netns.name()))?;
        let received = Arc::<AtomicU64>::default();
        let (theirs, name) = (Arc::clone(&received), name.to_owned());
        let task = netns.spawn(&format!("udp {name}"), move || echo(socket, name, theirs));
        Ok(Self { received, _task: task })
    }

    /// How many datagrams have arrived.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Serves on this thread, in the namespace it is in, for ever: for a server that is a process of its own.
    pub fn serve_forever(name: &str, port: u16) -> Result<()> {
        let socket = bind((Ipv6Addr::UNSPECIFIED, port).into())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(echo(socket, name.to_owned(), Arc::default()));
        Ok(())
    }
}

fn bind(address: SocketAddr) -> Result<std::net::UdpSocket> {
    let bound = std::net::UdpSocket::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    bound.with_context(|| format!("cannot listen on UDP {address}"))
}

async fn echo(socket: std::net::UdpSocket, name: String, received: Arc<AtomicU64>) {
    let socket = UdpSocket::from_std(socket).expect("a socket that does not block");
    let mut buffer = vec![0; 65_536];
    let prefix = name.len() + 1;
    buffer[..prefix].copy_from_slice(format!("{name} ").as_bytes());
    loop {
        // An ICMP error about an earlier answer is reported here; the next datagram is as good as any.
        let Ok((length, from)) = socket.recv_from(&mut buffer[prefix..]).await else { continue };
        received.fetch_add(1, Ordering::Relaxed);
        // A client that is gone, or one whose answer is too long by the name, gets none and counts it as lost.
        drop(socket.send_to(&buffer[..prefix + length], from).await);
    }
}
