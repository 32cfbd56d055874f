//! One TCP connection that carries as much as it can, and how much that is.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};

use super::{kernel_counter, priority};
use crate::lab::netns::Netns;
use crate::lab::wait::wait_readable;
use crate::lab::worker::Worker;

/// How finely it is noted when bytes arrived.
const BIN: Duration = Duration::from_millis(10);
/// How long a read or a write waits before it is looked whether to stop.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long a connection may take to be there.
const CONNECTS_WITHIN: Duration = Duration::from_secs(5);

/// Bytes that arrived, by when.
type Arrivals = Arc<Mutex<Vec<(Instant, u64)>>>;

/// A server that reads what one client after the other sends, and forgets it.
#[derive(Debug)]
pub struct BulkServer {
    arrivals: Arrivals,
    _worker: Worker,
}

/// What came of an upload.
#[derive(Debug, Clone)]
pub struct BulkReport {
    /// Bytes that the server's program had read, by the end of each hundredth of a second since the connection was there.
    pub read: Vec<u64>,
    /// Segments that the sender's kernel sent again (RFC 4022, `tcpRetransSegs`).
    pub retransmitted: u64,
    /// How long it was sent for.
    pub sending: Duration,
}

impl BulkServer {
    /// Starts it, on IPv4 and IPv6; when this returns it listens.
    pub fn start(netns: &Netns, port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener =
            netns.run(|| TcpListener::bind(address)).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let arrivals = Arrivals::default();
        let noted = Arc::clone(&arrivals);
        let worker = Worker::start("bulk server", move |stop| {
            priority::raise();
            while !stop.load(Ordering::Relaxed) {
                if !wait_readable(&listener, PATIENCE).expect("a listener can be waited for") {
                    continue;
                }
                match listener.accept() {
                    Ok((stream, _)) => drain(stream, &noted, stop),
                    // Somebody is there no more.
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
                    Err(error) => panic!("the bulk server cannot accept a connection: {error}"),
                }
            }
        })?;
        Ok(Self { arrivals, _worker: worker })
    }

    /// Sends to it from a namespace as fast as TCP does, for so long, by way of `target`. `congestion` is how TCP finds out how
    /// fast that is: `cubic`, `reno`, `bbr`, where the kernel has it.
    pub fn upload(&self, from: &Netns, target: SocketAddr, congestion: &str, sending: Duration) -> Result<BulkReport> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let before = retransmitted(from)?;
        let started = from.run(|| send(target, congestion, sending))?;
        let retransmitted = retransmitted(from)? - before;
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let bins = sending.as_nanos() / BIN.as_nanos();
        let mut read = vec![0; usize::try_from(bins).context("too long")?];
        for (at, bytes) in arrivals.iter() {
            let bin = at.saturating_duration_since(started).as_nanos() / BIN.as_nanos();
            if let Some(bin) = usize::try_from(bin).ok().and_then(|bin| read.get_mut(bin)) {
                *bin += bytes;
            }
        }
        Ok(BulkReport { read, retransmitted, sending })
    }
}

impl BulkReport {
    /// What the server read, in bits a second, from this moment to the end.
    pub fn goodput(&self, from: Duration) -> f64 {
        let skipped = usize::try_from(from.as_nanos() / BIN.as_nanos()).unwrap_or(usize::MAX).min(self.read.len());
        let bytes: u64 = self.read[skipped..].iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let bits = 8.0 * bytes as f64;
        bits / self.sending.saturating_sub(from).as_secs_f64()
    }
}

/// Connects, sends until the time is over, and says when the connection was there. What is still in the socket's buffer then
/// is not waited for.
fn send(target: SocketAddr, congestion: &str, sending: Duration) -> Result<Instant> {
    priority::raise();
    let mut stream =
        TcpStream::connect_timeout(&target, CONNECTS_WITHIN).with_context(|| format!("cannot connect to {target}"))?;
    setsockopt(&stream, sockopt::TcpCongestion, &congestion.into())
        .with_context(|| format!("this kernel has no congestion control {congestion:?}"))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let started = Instant::now();
    let bytes = vec![b'.'; 65_536];
    while started.elapsed() < sending {
        match stream.write(&bytes) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("the connection broke"),
        }
    }
    Ok(started)
}

fn drain(mut stream: TcpStream, arrivals: &Arrivals, stop: &AtomicBool) {
    let mut buffer = vec![0; 262_144];
    // A socket that does not time out would keep the thread from stopping; one that cannot be told so is not read.
    if stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(PATIENCE))).is_err() {
        return;
    }
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => {
                let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
                arrivals.push((Instant::now(), bytes as u64));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // The client is gone: that it is seen by what is missing.
            Err(_) => return,
        }
    }
}

/// How many segments a namespace has sent again so far.
fn retransmitted(netns: &Netns) -> Result<u64> {
    kernel_counter(netns, "snmp", "Tcp", "RetransSegs")
}
