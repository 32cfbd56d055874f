//! HTTP requests at a constant rate while something happens to those who answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::netns::Netns;
use super::wait::{WaitError, wait_until};

/// How long one may take: a SYN that is lost is sent again after one second, and then after two more.
const PATIENCE: Duration = Duration::from_secs(5);

/// One request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it was begun.
    pub begun: Instant,
    /// Whether its connection was ever there.
    pub connected: bool,
    /// Why nobody answered it.
    pub error: String,
}

/// What came of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SteadyReport {
    /// How many were answered, by who did.
    pub answers: BTreeMap<String, u64>,
    /// Those that failed.
    pub failed: Vec<Attempt>,
    /// How many were answered, but took over half a second: they lost a packet.
    pub slow: u64,
}

impl SteadyReport {
    /// How many were answered.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }
}

/// Requests, each on a TCP connection of its own, until [`SteadyLoad::finish`].
#[derive(Debug)]
pub struct SteadyLoad {
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicU64>,
    rate_per_s: u32,
    thread: std::thread::JoinHandle<SteadyReport>,
}

impl SteadyLoad {
    /// Starts them in a client's namespace: so many a second, to the targets in turn, each when it is due, whatever
    /// became of those before.
    pub fn start(netns: &Netns, targets: Vec<SocketAddr>, rate_per_s: u32) -> Self {
        let (netns, stop, begun) = (netns.clone(), Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted, rate_per_s) = (Arc::clone(&stop), Arc::clone(&begun), rate_per_s.max(1));
        let thread = std::thread::spawn(move || netns.block_on(|| send(targets, rate_per_s, &stopped, &counted)));
        Self { stop, begun, rate_per_s, thread }
    }

    /// How many were begun.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Waits until so many more were begun: traffic before what happens, or after it.
    ///
    /// # Errors
    /// When they were not within a few seconds more than they are due in.
    pub fn await_more(&self, requests: u32) -> Result<(), WaitError> {
        let enough = self.begun() + u64::from(requests);
        let due = Duration::from_secs(1) * requests / self.rate_per_s;
        wait_until(&format!("{requests} more requests"), due + PATIENCE, || (self.begun() >= enough).then_some(()))
    }

    /// Begins no more, and waits for the end of those that were begun.
    ///
    /// # Panics
    /// When the requests could not be sent at all.
    pub fn finish(self) -> SteadyReport {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

async fn send(targets: Vec<SocketAddr>, rate_per_s: u32, stopped: &AtomicBool, begun: &AtomicU64) -> SteadyReport {
    let report = Rc::<RefCell<SteadyReport>>::default();
    let mut running = tokio::task::JoinSet::new();
    let started = Instant::now();
    for number in 0.. {
        tokio::time::sleep_until((started + Duration::from_secs(1) * number / rate_per_s).into()).await;
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        begun.fetch_add(1, Ordering::Relaxed);
        let (report, target) = (Rc::clone(&report), targets[number as usize % targets.len()]);
        running.spawn_local(async move {
            let (begun, mut connected) = (Instant::now(), false);
            let outcome = match tokio::time::timeout(PATIENCE, ask(target, &mut connected)).await {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            };
            let mut report = report.borrow_mut();
            match outcome {
                Ok(name) => {
                    *report.answers.entry(name).or_default() += 1;
                    report.slow += u64::from(begun.elapsed() > Duration::from_millis(500));
                }
                Err(error) => report.failed.push(Attempt { begun, connected, error }),
            }
        });
        while running.try_join_next().is_some() {}
    }
    running.join_all().await;
    report.take()
}

async fn ask(target: SocketAddr, connected: &mut bool) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(target).await?;
    *connected = true;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.strip_prefix("HTTP/1.1 200 OK\r\n").and_then(|rest| rest.split_once("\r\n\r\n"));
    body.map(|(_, name)| name.to_owned()).ok_or_else(|| std::io::Error::other(format!("the answer is {answer:?}")))
}
