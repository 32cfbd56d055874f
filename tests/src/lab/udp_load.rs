//! UDP datagrams at an exact rate.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::net::UdpSocket;

use super::netns::Netns;

/// How long answers may stay away before all are taken to have come.
const QUIET: Duration = Duration::from_millis(200);

/// What to send.
#[derive(Debug, Clone)]
pub struct UdpLoad {
    /// Where to.
    pub target: SocketAddr,
    /// Datagrams a second.
    pub rate_per_s: u32,
    /// For how long.
    pub duration: Duration,
    /// From how many source ports, in turn.
    pub flows: usize,
    /// Bytes in a datagram, without headers.
    pub payload: usize,
}

/// What was sent and what came back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UdpReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams the kernel would not send.
    pub send_errors: u64,
    /// Answers, by the backend's name, which is their first word.
    pub answers: BTreeMap<String, u64>,
    /// From the first datagram sent to the last.
    pub sending: Duration,
    /// When each datagram was sent, after the first.
    #[serde(skip)]
    pub sent_at: Vec<Duration>,
}

impl UdpLoad {
    /// So many datagrams of 32 bytes a second, for so long, from 16 ports.
    pub fn new(target: SocketAddr, rate_per_s: u32, duration: Duration) -> Self {
        Self { target, rate_per_s, duration, flows: 16, payload: 32 }
    }

    /// How many datagrams that makes.
    pub fn datagrams(&self) -> u64 {
        let nanos = u128::from(self.rate_per_s) * self.duration.as_nanos();
        u64::try_from(nanos / 1_000_000_000).expect("fewer datagrams than 2^64")
    }

    /// Sends all of it from a namespace, and waits until no more answers come.
    pub fn run(&self, netns: &Netns) -> Result<UdpReport> {
        self.run_with(netns, |_| ())
    }

    /// Sends all of it, and shows the report as it grows, every millisecond or so.
    pub fn run_with(&self, netns: &Netns, progress: impl FnMut(&UdpReport) + Send) -> Result<UdpReport> {
        netns.block_on(|| self.exchange(progress))
    }

    async fn exchange(&self, mut progress: impl FnMut(&UdpReport)) -> Result<UdpReport> {
        let mut sockets = Vec::new();
        for _ in 0..self.flows.max(1) {
            let any: SocketAddr = if self.target.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
            let socket = UdpSocket::bind(any).await.context("cannot make a UDP socket")?;
            socket.connect(self.target).await.with_context(|| format!("no route to {}", self.target))?;
            sockets.push(socket);
        }
        let report = RefCell::new(UdpReport::default());
        let last_answer = RefCell::new(Instant::now());
        let receive = async {
            let mut receivers: FuturesUnordered<_> =
                sockets.iter().map(|socket| receive(socket, &report, &last_answer)).collect();
            while receivers.next().await.is_some() {}
        };
        let send = async {
            self.send(&sockets, &report, &mut progress).await;
            *last_answer.borrow_mut() = Instant::now();
            loop {
                let quiet_at = *last_answer.borrow() + QUIET;
                if Instant::now() >= quiet_at {
                    return;
                }
                tokio::time::sleep_until(quiet_at.into()).await;
            }
        };
        tokio::select! {
            () = receive => {}
            () = send => {}
        }
        progress(&report.borrow());
        Ok(report.into_inner())
    }

    /// Each tick sends what is due by then: a late tick sends more, so the rate holds whatever the timer does.
    async fn send(&self, sockets: &[UdpSocket], report: &RefCell<UdpReport>, progress: &mut impl FnMut(&UdpReport)) {
        let datagram = vec![b'.'; self.payload];
        let (total, started) = (self.datagrams(), Instant::now());
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut number = 0;
        while number < total {
            tick.tick().await;
            let due = u128::from(self.rate_per_s) * started.elapsed().as_nanos() / 1_000_000_000 + 1;
            let due = u64::try_from(due).unwrap_or(u64::MAX).min(total);
            for socket in sockets.iter().cycle().skip(usize::try_from(number).unwrap_or(0) % sockets.len()) {
                if number == due {
                    break;
                }
                number += 1;
                let sent = socket.send(&datagram).await;
                let mut report = report.borrow_mut();
                match sent {
                    Ok(_) => {
                        report.sent += 1;
                        report.sent_at.push(started.elapsed());
                    }
                    // An ICMP error about an earlier datagram is reported here too, instead of sending this one.
                    Err(_) => report.send_errors += 1,
                }
                report.sending = started.elapsed();
            }
            progress(&report.borrow());
        }
    }
}

async fn receive(socket: &UdpSocket, report: &RefCell<UdpReport>, last_answer: &RefCell<Instant>) {
    let mut buffer = vec![0; 65_536];
    loop {
        // Errors here are ICMP's about what was sent; the answer is missing and that is what counts.
        let Ok(length) = socket.recv(&mut buffer).await else { continue };
        let answer = String::from_utf8_lossy(&buffer[..length]);
        let backend = answer.split(' ').next().unwrap_or_default().to_owned();
        *report.borrow_mut().answers.entry(backend).or_default() += 1;
        *last_answer.borrow_mut() = Instant::now();
    }
}

impl UdpReport {
    /// How many of these datagrams a leaky bucket of this rate and burst lets through: the textbook's, which holds
    /// `burst` at most and leaks `rate` a second. However late a busy machine sent them, it is exact.
    pub fn within(&self, rate_per_s: f64, burst: f64) -> u64 {
        let (mut level, mut last, mut admitted) = (0.0_f64, Duration::ZERO, 0);
        for &at in &self.sent_at {
            level = (level - rate_per_s * (at.saturating_sub(last)).as_secs_f64()).max(0.0);
            last = at;
            // Times are rounded to nanoseconds.
            if level + 1.0 <= burst + 1e-6 {
                level += 1.0;
                admitted += 1;
            }
        }
        admitted
    }

    /// How many answers came.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }
}
