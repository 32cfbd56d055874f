//! Short TCP connections at a constant rate: open, ask, check the answer, close.
//!
//! Each is begun when it is due, whatever became of those before, and its latency counts from when it was due. So a time
//! in which nothing answers is seen by all connections that fall into it, not by the first alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::answerer::{SHORT, SHORT_ASK, key_of};
use super::histogram::Histogram;
use super::keystream::Keystream;
use super::ledger::{Break, Cause, Ledger, Traffic};
use super::priority;
use crate::lab::netns::{Netns, Task};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of the connections that ended since the last report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShortReport {
    /// From when each was due until the server had closed it; those that failed are not in it.
    pub latency: Histogram,
    /// How many were answered rightly, by backend.
    pub answers: BTreeMap<String, u64>,
    /// How many failed. Why is in the ledger.
    pub failed: u64,
}

/// Short connections until it is dropped.
#[derive(Debug)]
pub struct ShortLoad {
    report: Arc<Mutex<ShortReport>>,
    _task: Task,
}

impl ShortLoad {
    /// Starts it in a client's namespace: so many connections a second, to the targets in turn. Failures go into the
    /// ledger.
    pub fn start(netns: &Netns, targets: Vec<SocketAddr>, rate_per_s: u32, ledger: &Ledger) -> Self {
        let report = Arc::<Mutex<ShortReport>>::default();
        let (theirs, ledger) = (Arc::clone(&report), ledger.clone());
        let task = netns.spawn("short tcp", move || async move {
            priority::raise();
            if let Err(error) = send(targets, rate_per_s, &theirs, &ledger).await {
                panic!("short connections cannot be sent: {error}");
            }
        });
        Self { report, _task: task }
    }

    /// What ended since this was last called.
    pub fn take(&self) -> ShortReport {
        std::mem::take(&mut *self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn send(
    targets: Vec<SocketAddr>,
    rate_per_s: u32,
    report: &Arc<Mutex<ShortReport>>,
    ledger: &Ledger,
) -> std::io::Result<()> {
    let interval = Duration::from_secs(1) / rate_per_s.max(1);
    let started = Instant::now();
    let mut dues = metronome(started, interval)?;
    while let Some(number) = dues.recv().await {
        let due = started + interval * number;
        let target = targets[number as usize % targets.len()];
        let (report, ledger, seed) = (Arc::clone(report), ledger.clone(), u64::from(number));
        tokio::task::spawn_local(async move {
            let (begun, mut backend) = (Instant::now(), None);
            let failure = match tokio::time::timeout(PATIENCE, one(target, seed, &mut backend)).await {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure),
                Err(_) => Some((Cause::Silence, format!("not done within {} s", PATIENCE.as_secs()))),
            };
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((cause, detail)) = failure else {
                report.latency.record(due.elapsed());
                *report.answers.entry(backend.unwrap_or_default()).or_default() += 1;
                return;
            };
            report.failed += 1;
            let (traffic, v6, seen) = (Traffic::ShortTcp, target.is_ipv6(), Instant::now());
            ledger.enter(Break { traffic, v6, opened: begun, since: begun, seen, backend, cause, detail });
        });
    }
    Ok(())
}

async fn one(target: SocketAddr, seed: u64, backend: &mut Option<String>) -> Result<(), (Cause, String)> {
    let mut stream = TcpStream::connect(target).await.map_err(|error| (Cause::NotOpened, error.to_string()))?;
    let mut expected = vec![0; SHORT_ASK];
    Keystream::new(seed).apply(&mut expected);
    let exchange = async {
        stream.set_nodelay(true)?;
        stream.write_all(&[&[SHORT], &expected[..]].concat()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = exchange.await.map_err(|error| (Cause::Reset, error.to_string()))?;
    let named = answer.split_first().and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)));
    let (name, echoed) = named.ok_or_else(|| (Cause::Closed, format!("closed after {} bytes", answer.len())))?;
    let name = String::from_utf8_lossy(name).into_owned();
    Keystream::new(key_of(&name)).apply(&mut expected);
    *backend = Some(name);
    match echoed {
        bytes if bytes == expected => Ok(()),
        bytes if expected.starts_with(bytes) => Err((Cause::Closed, format!("closed after {} bytes", answer.len()))),
        _ => Err((Cause::WrongBytes, "the answer is not to what was asked".to_owned())),
    }
}

/// Says the number of each connection when it is due, from a thread of its own: the runtime's timer wakes at whole
/// milliseconds, which would be in every latency.
fn metronome(started: Instant, interval: Duration) -> std::io::Result<mpsc::UnboundedReceiver<u32>> {
    let (tell, due) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("short tcp pace".to_owned()).spawn(move || {
        priority::raise();
        for number in 1.. {
            std::thread::sleep((started + interval * number).saturating_duration_since(Instant::now()));
            if tell.send(number).is_err() {
                return;
            }
        }
    })?;
    Ok(due)
}
