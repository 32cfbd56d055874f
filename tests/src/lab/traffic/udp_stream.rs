//! A constant stream of numbered UDP datagrams, to count what is lost of it on the way there and back.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};

use super::answerer::{STREAMED, take_apart};
use super::priority;
use crate::lab::netns::Netns;
use crate::lab::worker::Worker;

/// How often datagrams that are due are sent and answers that came are read.
const TICK: Duration = Duration::from_millis(1);
/// How many are sent at once, at most, when a tick was late: a veth's queue has 256 places.
const AT_ONCE: usize = 40;
/// How long after the last datagram an answer may still come.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes of a datagram.
const LENGTH: usize = 64;
/// Room for answers while the thread does not run: a second of 10,000, each of which the kernel counts as up to a page.
const ROOM: usize = 64 << 20;

/// What came of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that the sender's kernel would not send.
    pub refused: u64,
    /// Datagrams that were answered, each once.
    pub answered: u64,
    /// Answers beyond the first to a datagram.
    pub twice: u64,
    /// Answers with wrong bytes.
    pub wrong: u64,
    /// Answers by another backend than the one that the flow's first datagram was answered by.
    pub moved: u64,
    /// When datagrams were sent that have had no answer, after the first, in tenths of a second, and how many.
    pub gaps: Vec<(u64, u64)>,
    /// From the first datagram sent to the last.
    pub sending: Duration,
}

impl StreamReport {
    /// How many were lost, one way or the other.
    pub fn lost(&self) -> u64 {
        self.sent - self.answered
    }
}

/// A stream until it is stopped.
#[derive(Debug)]
pub struct UdpStream {
    sent: Arc<AtomicU64>,
    worker: Worker<StreamReport>,
}

impl UdpStream {
    /// Starts it in a client's namespace: so many datagrams a second, from so many ports in turn, to the targets in
    /// turn.
    pub fn start(netns: &Netns, targets: &[SocketAddr], rate_per_s: u32, flows: usize) -> Result<Self> {
        let open = |flow: usize| -> Result<UdpSocket> {
            let target = targets[flow % targets.len()];
            let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
            let socket = UdpSocket::bind(any).context("cannot make a UDP socket")?;
            setsockopt(&socket, sockopt::RcvBufForce, &ROOM).context("cannot give a UDP socket room")?;
            socket.connect(target).with_context(|| format!("no route to {target}"))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let sockets = netns.run(|| (0..flows.max(1)).map(open).collect::<Result<Vec<_>>>())?;
        let sent = Arc::<AtomicU64>::default();
        let mut stream = Stream::new(sockets, rate_per_s, Arc::clone(&sent));
        // Sockets stay in the namespace that they were made in.
        let worker = Worker::start("udp stream", move |stop| {
            priority::raise();
            stream.run(stop)
        })?;
        Ok(Self { sent, worker })
    }

    /// How many were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops sending, waits for the last answers and says what came of it.
    ///
    /// # Panics
    /// With the thread's own panic.
    pub fn stop(self) -> StreamReport {
        self.worker.finish()
    }
}

struct Stream {
    sockets: Vec<UdpSocket>,
    rate_per_s: u32,
    progress: Arc<AtomicU64>,
    /// When each datagram was sent, after the first; `None` once it was answered.
    open: Vec<Option<Duration>>,
    backends: Vec<Option<String>>,
    report: StreamReport,
}

impl Stream {
    fn new(sockets: Vec<UdpSocket>, rate_per_s: u32, progress: Arc<AtomicU64>) -> Self {
        let backends = vec![None; sockets.len()];
        Self { sockets, rate_per_s, progress, open: vec![], backends, report: StreamReport::default() }
    }

    /// Each tick sends what is due by then: after a late tick several send more, so the rate holds whatever the timer
    /// does.
    fn run(&mut self, stop: &AtomicBool) -> StreamReport {
        let started = Instant::now();
        let mut tick = started;
        while !stop.load(Ordering::Relaxed) {
            let due = u128::from(self.rate_per_s) * started.elapsed().as_nanos() / 1_000_000_000 + 1;
            let most = self.open.len() + AT_ONCE;
            while (self.open.len() as u128) < due && self.open.len() < most {
                self.send(started);
            }
            self.progress.store(self.report.sent, Ordering::Relaxed);
            self.read();
            tick += TICK;
            std::thread::sleep(tick.saturating_duration_since(Instant::now()));
        }
        let last = Instant::now();
        while last.elapsed() < LINGER && self.report.answered < self.report.sent {
            self.read();
            std::thread::sleep(TICK);
        }
        let tenth = |at: &Duration| u64::try_from(at.as_millis() / 100).unwrap_or(u64::MAX);
        for tenth in self.open.iter().flatten().map(tenth) {
            match self.report.gaps.last_mut() {
                Some((last, count)) if *last == tenth => *count += 1,
                _ => self.report.gaps.push((tenth, 1)),
            }
        }
        self.report.clone()
    }

    fn send(&mut self, started: Instant) {
        let number = self.open.len();
        let mut datagram = [b'.'; LENGTH];
        datagram[0] = STREAMED;
        datagram[1..9].copy_from_slice(&(number as u64).to_be_bytes());
        let at = started.elapsed();
        // One of many was not even sent: no packet was lost on the way.
        let sent = self.sockets[number % self.sockets.len()].send(&datagram).is_ok();
        self.open.push(sent.then_some(at));
        if sent {
            self.report.sent += 1;
            self.report.sending = at;
        } else {
            self.report.refused += 1;
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 512];
        for flow in 0..self.sockets.len() {
            // An error is an answer that is not there, or ICMP's about one that will not be.
            while let Ok(length) = self.sockets[flow].recv(&mut buffer) {
                self.judge(flow, &buffer[..length]);
            }
        }
    }

    fn judge(&mut self, flow: usize, answer: &[u8]) {
        let report = &mut self.report;
        let Ok((name, asked)) = take_apart(answer) else {
            report.wrong += 1;
            return;
        };
        let number = asked.get(1..9).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let number = number.and_then(|number| usize::try_from(number).ok());
        let Some(open) = number.and_then(|number| self.open.get_mut(number)).filter(|_| asked.len() == LENGTH) else {
            report.wrong += 1;
            return;
        };
        match open.take() {
            Some(_) => report.answered += 1,
            None => report.twice += 1,
        }
        match &self.backends[flow] {
            Some(known) => report.moved += u64::from(known != name),
            None => self.backends[flow] = Some(name.to_owned()),
        }
    }
}
