//! Follows the kernel: what has to be done, and when.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::watch;

use super::kernel::{Heard, Kernel};
use super::{MAX_FOLLOWED, NextHops};

/// How long changes gather before they are acted on: routing daemons and container runtimes change things in bursts.
const GATHER: Duration = Duration::from_millis(10);

/// The same for neighbours: somebody may be waiting for a resolution, and telling it asks nothing of the kernel.
const GATHER_NEIGHBOURS: Duration = Duration::from_millis(2);

/// How often it is looked whether neighbours want resolving or confirming.
const TICK: Duration = Duration::from_millis(250);

/// How often everything is asked anew, whatever was heard.
const RESYNC: Duration = Duration::from_secs(30);

/// How long to wait after the kernel failed to answer.
const RETRY: Duration = Duration::from_secs(1);

/// After acting on changes, as many times as long is spent idle: a storm of events costs a fifth of a CPU at most.
const IDLE_SHARE: u32 = 4;

/// Follows the kernel for a set of addresses, on a thread of its own, until dropped.
pub struct Follower {
    followed: watch::Sender<BTreeSet<IpAddr>>,
    changes: watch::Receiver<Arc<NextHops>>,
    requests: Arc<AtomicU64>,
}

impl Follower {
    /// Starts following, in the calling thread's network namespace. The devices are known when this returns.
    ///
    /// It needs `CAP_NET_ADMIN` to have neighbours resolved. The thread is its own because the kernel makes whoever
    /// talks routing wait for its locks, which no other task should have to.
    ///
    /// # Errors
    /// When the netlink sockets cannot be opened, the devices not be listed, or the thread not be started.
    pub fn start() -> anyhow::Result<Self> {
        let requests = Arc::new(AtomicU64::new(0));
        let (followed, follow) = watch::channel(BTreeSet::new());
        let (publish, changes) = watch::channel(Arc::default());
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let counter = Arc::clone(&requests);
        // A new thread is in the network namespace of the one that made it.
        std::thread::Builder::new()
            .name("weir-nexthop".to_owned())
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(error) => return report(&started, Err(error)),
                };
                runtime.block_on(async {
                    // The sockets want the runtime's reactor, hence only now.
                    match Kernel::open(&counter).and_then(|mut kernel| kernel.resync().map(|()| kernel)) {
                        Ok(kernel) => {
                            publish.send_replace(Arc::new(kernel.table.next_hops(&NextHops::default())));
                            report(&started, Ok(()));
                            run(kernel, follow, publish).await;
                        }
                        Err(error) => report(&started, Err(error)),
                    }
                });
            })
            .context("cannot start the thread that follows the kernel's routes")?;
        start.recv()?.context("cannot follow the kernel's routes over netlink")?;
        Ok(Self { followed, changes, requests })
    }

    /// Replaces the addresses that are followed.
    ///
    /// # Errors
    /// With more than [`MAX_FOLLOWED`]; those before stay.
    pub fn follow(&self, addresses: BTreeSet<IpAddr>) -> anyhow::Result<()> {
        let count = addresses.len();
        anyhow::ensure!(count <= MAX_FOLLOWED, "{count} backend addresses, where {MAX_FOLLOWED} can be followed");
        self.followed.send_if_modified(|followed| {
            let changed = *followed != addresses;
            *followed = addresses;
            changed
        });
        Ok(())
    }

    /// The whole picture, anew whenever it changed. An address just followed appears at once, as
    /// [`Unresolved`](super::StackReason::Unresolved) if the kernel has to find its neighbour first.
    pub fn changes(&self) -> watch::Receiver<Arc<NextHops>> {
        self.changes.clone()
    }

    /// How many requests the kernel was asked so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Tells the thread that waits how the start went. It does wait, so the channel is open.
fn report(started: &std::sync::mpsc::SyncSender<io::Result<()>>, outcome: io::Result<()>) {
    if started.send(outcome).is_err() {
        tracing::debug!("nobody waits for the follower of routes to start");
    }
}

/// When there is something to do.
struct Schedule {
    /// Look up what is outdated.
    act: Option<Instant>,
    /// Say what is known.
    tell: Option<Instant>,
    /// Neither before this, or the follower takes more than its share.
    act_rested: Instant,
    tell_rested: Instant,
    /// Look after neighbours.
    tick: Instant,
    /// Ask everything anew.
    resync: Instant,
}

impl Schedule {
    fn new(now: Instant) -> Self {
        Self { act: None, tell: None, act_rested: now, tell_rested: now, tick: now + TICK, resync: now + RESYNC }
    }

    fn heard(&mut self, heard: Heard, now: Instant) {
        if heard.routes {
            self.act = earlier(self.act, (now + GATHER).max(self.act_rested));
        }
        if heard.neighbours {
            self.tell = earlier(self.tell, (now + GATHER_NEIGHBOURS).max(self.tell_rested));
        }
        if heard.overrun {
            self.resync = self.resync.min(now.max(self.act_rested));
        }
    }

    fn next(&self) -> Instant {
        [self.act, self.tell].into_iter().flatten().fold(self.tick.min(self.resync), Instant::min)
    }
}

fn earlier(planned: Option<Instant>, wanted: Instant) -> Option<Instant> {
    Some(planned.map_or(wanted, |planned| planned.min(wanted)))
}

/// What ended a wait.
enum Woken {
    Followed,
    Events,
    DeviceEvents,
    Clock,
}

async fn run(mut kernel: Kernel, mut follow: watch::Receiver<BTreeSet<IpAddr>>, publish: watch::Sender<Arc<NextHops>>) {
    let mut schedule = Schedule::new(Instant::now());
    let mut failing = false;
    loop {
        let woken = tokio::select! {
            changed = follow.changed() => match changed {
                Ok(()) => Ok(Woken::Followed),
                Err(_) => return, // The follower was dropped.
            },
            ready = kernel.events.readable() => ready.map(|()| Woken::Events),
            ready = kernel.device_events.readable() => ready.map(|()| Woken::DeviceEvents),
            () = tokio::time::sleep_until(schedule.next().into()) => Ok(Woken::Clock),
        };
        let outcome = woken.and_then(|woken| {
            match woken {
                Woken::Followed => {
                    kernel.table.follow(&follow.borrow_and_update());
                    // Somebody waits for these: at once.
                    schedule.act = Some(Instant::now());
                }
                Woken::Events => schedule.heard(kernel.hear()?, Instant::now()),
                Woken::DeviceEvents => schedule.heard(kernel.hear_devices()?, Instant::now()),
                Woken::Clock => {}
            }
            keep(&mut kernel, &mut schedule, &publish)
        });
        match outcome {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("the kernel answers about routes and neighbours again");
            }
            Ok(()) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the kernel does not answer about routes and neighbours; the last known stand");
                }
                // Whatever fails must not spin, and what was missed meanwhile is asked anew.
                tokio::time::sleep(RETRY).await;
                schedule = Schedule { resync: Instant::now(), ..Schedule::new(Instant::now()) };
            }
        }
    }
}

/// Does what is due.
fn keep(kernel: &mut Kernel, schedule: &mut Schedule, publish: &watch::Sender<Arc<NextHops>>) -> io::Result<()> {
    let now = Instant::now();
    if now >= schedule.resync {
        kernel.resync()?;
        schedule.resync = now + RESYNC;
        schedule.act = Some(now);
    }
    if schedule.act.is_some_and(|act| act <= now) {
        kernel.look_up()?;
        // That may have taken long, and who was found meanwhile is not to be searched for.
        let heard = kernel.hear()?;
        kernel.use_neighbours(now)?;
        schedule.act = None;
        schedule.act_rested = Instant::now() + now.elapsed() * IDLE_SHARE;
        schedule.tell = Some(now);
        schedule.heard(heard, Instant::now());
    }
    if now >= schedule.tick {
        kernel.use_neighbours(now)?;
        schedule.tick = now + TICK;
    }
    if schedule.tell.is_some_and(|tell| tell <= now) {
        let began = Instant::now();
        let next = kernel.table.next_hops(&publish.borrow());
        publish.send_if_modified(|told| {
            let changed = **told != next;
            if changed {
                *told = Arc::new(next);
            }
            changed
        });
        schedule.tell = None;
        schedule.tell_rested = Instant::now() + began.elapsed() * IDLE_SHARE;
    }
    Ok(())
}
