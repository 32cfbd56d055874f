//! Fleets of connections, TCP and UDP: how their members behave, who they are with, and what they are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::histogram::Histogram;
use super::keystream::Keystream;
use super::ledger::Ledger;
use super::priority;
use crate::lab::netns::{Netns, Task};

/// Between one member's first connection and the next one's.
const STAGGER: Duration = Duration::from_micros(800);

/// How long the connections of a fleet live before they are closed in good order and opened anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lives {
    /// Until the fleet is told to end.
    Forever,
    /// One in `one_in` lives a random time up to `longest`, the others for ever.
    Some {
        /// Every how manieth.
        one_in: usize,
        /// How long at most.
        longest: Duration,
    },
}

/// How the members of a fleet behave.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Where to; member *i* goes to target *i* modulo their number. Not empty.
    pub targets: Vec<SocketAddr>,
    /// How many connections.
    pub connections: usize,
    /// The longest pause between an answer and the next question; the shortest is a third of it.
    pub pause: Duration,
    /// How long connections live.
    pub lives: Lives,
    /// What the random choices come from.
    pub seed: u64,
}

impl Manners {
    /// So many connections to these targets, which speak at least every `pause` and live for ever.
    pub fn new(targets: Vec<SocketAddr>, connections: usize, pause: Duration) -> Self {
        Self { targets, connections, pause, lives: Lives::Forever, seed: 0 }
    }

    /// The choices of one member.
    pub(super) fn choices(&self, member: usize) -> Keystream {
        Keystream::new(self.seed ^ (member as u64).rotate_left(32))
    }

    pub(super) fn target(&self, member: usize) -> SocketAddr {
        self.targets[member % self.targets.len()]
    }

    /// The next pause.
    pub(super) fn next_pause(&self, choices: &mut Keystream) -> Duration {
        let shortest = self.pause / 3;
        shortest + within(self.pause - shortest, choices)
    }

    /// How long the next connection of a member lives.
    pub(super) fn next_life(&self, member: usize, choices: &mut Keystream) -> Option<Duration> {
        match self.lives {
            Lives::Some { one_in, longest } if (member / self.targets.len()).is_multiple_of(one_in.max(1)) => {
                Some(within(longest, choices))
            }
            Lives::Forever | Lives::Some { .. } => None,
        }
    }
}

/// A random time up to this.
fn within(longest: Duration, choices: &mut Keystream) -> Duration {
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(choices.below(nanos))
}

/// A fleet at work until it is dropped.
#[derive(Debug)]
pub struct Fleet {
    roll: Arc<Roll>,
    orders: watch::Sender<Order>,
    _task: Task,
}

impl Fleet {
    /// Starts one of long-lived TCP connections in a client's namespace. What breaks goes into the ledger.
    pub fn tcp(netns: &Netns, manners: Manners, ledger: &Ledger) -> Self {
        Self::start("tcp fleet", netns, manners, ledger, Member::live_tcp)
    }

    /// Starts one of UDP "connections", one socket each. What breaks goes into the ledger.
    pub fn udp(netns: &Netns, manners: Manners, ledger: &Ledger) -> Self {
        Self::start("udp fleet", netns, manners, ledger, Member::live_udp)
    }

    fn start<Life: Future<Output = ()> + 'static>(
        name: &str,
        netns: &Netns,
        manners: Manners,
        ledger: &Ledger,
        live: fn(Member, watch::Receiver<Order>) -> Life,
    ) -> Self {
        let (orders, told) = watch::channel(Order::Run);
        let roll = Arc::<Roll>::default();
        let first = Member { manners: Arc::new(manners), number: 0, roll: Arc::clone(&roll), ledger: ledger.clone() };
        let task = netns.spawn(name, move || async move {
            priority::raise();
            let mut members = tokio::task::JoinSet::new();
            for number in 0..first.manners.connections {
                let (member, told) = (Member { number, ..first.clone() }, told.clone());
                members.spawn_local(async move {
                    let roll = Arc::clone(&member.roll);
                    roll.members.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(STAGGER * u32::try_from(number).unwrap_or(u32::MAX)).await;
                    live(member, told).await;
                    roll.members.fetch_sub(1, Ordering::Relaxed);
                });
            }
            members.join_all().await;
        });
        Self { roll, orders, _task: task }
    }

    /// How many connections are open and have been answered.
    pub fn open(&self) -> usize {
        self.roll.with().values().sum()
    }

    /// How many connections each backend has.
    pub fn by_backend(&self) -> BTreeMap<String, usize> {
        self.roll.with()
    }

    /// How many questions were answered rightly.
    pub fn exchanges(&self) -> u64 {
        self.roll.exchanges.load(Ordering::Relaxed)
    }

    /// How many bytes of answers were checked.
    pub fn bytes(&self) -> u64 {
        self.roll.bytes.load(Ordering::Relaxed)
    }

    /// UDP: how many questions were not answered in time and were sent again.
    pub fn lost(&self) -> u64 {
        self.roll.lost.load(Ordering::Relaxed)
    }

    /// How long answers took, from the question.
    pub fn latency(&self) -> Histogram {
        self.roll.latency()
    }

    /// Closes all connections in good order but those with this backend, and opens no more.
    pub fn keep_only(&self, backend: &str) {
        self.orders.send_replace(Order::Only(backend.to_owned()));
    }

    /// Closes all connections in good order, and opens no more: UDP falls silent. [`Fleet::ended`] says when.
    pub fn end(&self) {
        self.orders.send_replace(Order::End);
    }

    /// Whether all members have closed, and none will open again.
    pub fn ended(&self) -> bool {
        *self.orders.borrow() != Order::Run && self.roll.members.load(Ordering::Relaxed) == 0
    }
}

/// One of a fleet.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) manners: Arc<Manners>,
    pub(super) number: usize,
    pub(super) roll: Arc<Roll>,
    pub(super) ledger: Ledger,
}

/// What the members of a fleet are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Be there: open, speak, open anew what has ended.
    Run,
    /// Those that are with this backend go on; the others close, and stay closed.
    Only(String),
    /// Close in good order, and stay closed.
    End,
}

impl Order {
    /// Whether a connection with this backend goes on.
    pub(super) fn keeps(&self, backend: &str) -> bool {
        match self {
            Self::Run => true,
            Self::Only(one) => one == backend,
            Self::End => false,
        }
    }
}

/// What a fleet knows of itself.
#[derive(Debug, Default)]
pub(super) struct Roll {
    with: Mutex<BTreeMap<String, usize>>,
    latency: Mutex<Histogram>,
    pub(super) exchanges: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) members: AtomicUsize,
}

impl Roll {
    /// Enters a connection with a backend until the return is dropped.
    pub(super) fn present(self: &Arc<Self>, backend: &str) -> Present {
        *self.with.lock().unwrap_or_else(PoisonError::into_inner).entry(backend.to_owned()).or_default() += 1;
        Present { roll: Arc::clone(self), backend: backend.to_owned() }
    }

    /// Counts an answered question.
    pub(super) fn exchanged(&self, bytes: usize, took: Duration) {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).record(took);
    }

    pub(super) fn with(&self) -> BTreeMap<String, usize> {
        self.with.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn latency(&self) -> Histogram {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Present {
    roll: Arc<Roll>,
    backend: String,
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut with = self.roll.with.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = with.get_mut(&self.backend) {
            *count -= 1;
        }
        with.retain(|_, count| *count > 0);
    }
}

/// Sleeps, unless the order changes to one that does not keep this backend. Returns whether the connection goes on.
pub(super) async fn pause(time: Duration, backend: &str, orders: &mut watch::Receiver<Order>) -> bool {
    let unwanted = async {
        // An error means that nobody is left to give orders: the fleet is being dropped.
        drop(orders.wait_for(|order| !order.keeps(backend)).await);
    };
    tokio::time::timeout(time, unwanted).await.is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_of_each_target_ends_in_time() {
        let targets = vec![SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2))];
        let longest = Duration::from_secs(9);
        let lives = Lives::Some { one_in: 4, longest };
        let manners = Manners { lives, ..Manners::new(targets, 80, Duration::from_secs(3)) };
        let life = |member| manners.next_life(member, &mut manners.choices(member));
        let mortal: Vec<usize> = (0..80).filter(|member| life(*member).is_some()).collect();
        assert_eq!(mortal.len(), 20);
        assert_eq!(mortal.iter().filter(|member| *member % 2 == 0).count(), 10);
        assert!((0..80).filter_map(life).all(|life| life <= longest));
        let pauses = (0..80).map(|member| manners.next_pause(&mut manners.choices(member)));
        assert!(pauses.into_iter().all(|pause| pause >= Duration::from_secs(1) && pause <= Duration::from_secs(3)));
    }
}
