//! Keeps devices' queues as limits want them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Instant;

use lb_common::abi::Class;

use super::found::{Found, Queue, is_own, minor};
use super::wanted::{HEADER, Rate, Wanted};
use super::{CHECK, Exit};
use crate::netlink::message::Request;
use crate::netlink::socket::{Answer, Requests};
use crate::netlink::{ROUTE, htb, qdisc};

/// `EEXIST`, `ENODEV` (asm-generic/errno-base.h).
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;

/// Keeps the queues of the devices by which replies leave. Dropping it leaves them as they are; [`Self::remove`] takes Weir's
/// away.
#[derive(Debug, Default)]
pub struct Shaper {
    wanted: Wanted,
    /// The books' generation that this is from.
    generation: u64,
    exits: BTreeMap<u32, Exit>,
    queues: BTreeMap<u32, Queue>,
    /// By device; 0 is all of them.
    problems: BTreeMap<u32, String>,
    /// When it was looked at what is there.
    looked: Option<Instant>,
}

impl Shaper {
    /// Does what has to be done for what limits `want`, in this generation of the books, and for replies that leave by these
    /// devices, by index. Says whether packets wait elsewhere than before.
    pub fn follow(
        &mut self,
        (generation, want): (u64, impl FnOnce() -> Wanted),
        exits: BTreeMap<u32, Exit>,
        now: Instant,
    ) -> bool {
        let is_due = self.looked.is_none() || self.next_at().is_some_and(|at| at <= now);
        if self.generation == generation && self.exits == exits && !is_due {
            return false;
        }
        self.generation = generation;
        let wanted = want();
        if self.wanted == wanted && self.exits == exits && !is_due {
            return false;
        }
        let left: BTreeSet<u32> = self.exits.keys().copied().filter(|ifindex| !exits.contains_key(ifindex)).collect();
        (self.wanted, self.exits, self.looked) = (wanted, exits, Some(now));
        let before = std::mem::take(&mut self.queues);
        let known = std::mem::take(&mut self.problems);
        if let Err(error) = self.keep(&left) {
            // Nobody knows what is there: what is over a limit is dropped until the next look.
            let problem = format!("the kernel does not answer about queues, looking again within {CHECK:?}: {error}");
            self.problems.insert(0, problem);
        }
        for (ifindex, problem) in &self.problems {
            if known.get(ifindex) != Some(problem) {
                tracing::warn!(problem, "packets do not wait everywhere");
            }
        }
        self.queues != before
    }

    /// When to call [`Self::follow`] though nothing has changed.
    pub fn next_at(&self) -> Option<Instant> {
        self.looked.filter(|_| self.wanted.any).map(|at| at + CHECK)
    }

    /// How packets wait, by device; of those where they do.
    pub const fn queues(&self) -> &BTreeMap<u32, Queue> {
        &self.queues
    }

    /// Where packets do not wait though they are to, and why.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.problems.values().cloned()
    }

    /// Takes Weir's queues away from the devices that replies leave by, and says so in words.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(self) -> io::Result<Vec<String>> {
        if self.exits.is_empty() {
            return Ok(vec![]);
        }
        let mut requests = Requests::open(ROUTE)?;
        let all = list(&mut requests)?;
        remove_from(&mut requests, &all, |ifindex| self.exits.contains_key(&ifindex))
    }

    fn keep(&mut self, left: &BTreeSet<u32>) -> io::Result<()> {
        let Self { wanted, exits, queues, problems, .. } = self;
        let mut requests = Requests::open(ROUTE)?;
        let all = list(&mut requests)?;
        let is_over = |ifindex: u32| left.contains(&ifindex) || !wanted.any && exits.contains_key(&ifindex);
        let gone = remove_from(&mut requests, &all, is_over)?;
        gone.iter().for_each(|one| tracing::info!("took away {one}"));
        if !wanted.any {
            return Ok(());
        }
        for (&ifindex, exit) in exits.iter() {
            let outcome = keep_one(&mut requests, (ifindex, exit), Found::of(ifindex, &all), wanted);
            match outcome.unwrap_or_else(|error| Err(format!("{}: {error}", exit.name))) {
                Ok(queue) => {
                    if queue == Queue::Classed && !wanted.timed.is_empty() {
                        problems.insert(ifindex, without_fq(&exit.name, &wanted.timed));
                    }
                    queues.insert(ifindex, queue);
                }
                Err(problem) => drop(problems.insert(ifindex, problem)),
            }
        }
        Ok(())
    }
}

/// Has one device's queue as it is to be: how packets wait there then, or why they do not.
fn keep_one(
    requests: &mut Requests,
    (ifindex, exit): (u32, &Exit),
    found: Found,
    wanted: &Wanted,
) -> io::Result<Result<Queue, String>> {
    let Exit { name, mtu } = exit;
    let leaves = match found {
        Found::Timed => return Ok(Ok(Queue::Timed)),
        Found::Foreign(kind) => return Ok(Err(in_the_way(name, &kind))),
        Found::Default if wanted.classes.is_empty() && !wanted.timed.is_empty() => {
            return Ok(Err(without_fq(name, &wanted.timed)));
        }
        Found::Default => match requests.ask_one(qdisc::add_htb(ifindex, Class::QUEUE))? {
            Answer::Refused(EEXIST) => return Ok(Err(in_the_way(name, "that is new"))),
            Answer::Refused(number) => return Ok(Err(refused(name, "an htb queue", number))),
            Answer::Acknowledged | Answer::Message(_) => {
                tracing::info!(device = name, "made an htb queue");
                BTreeMap::new()
            }
        },
        Found::Own(leaves) => leaves,
    };
    let classes = requests.dump(&htb::list(ifindex))?;
    let classes = classes.iter().filter_map(|payload| htb::parse(payload));
    let rates = classes.filter_map(|class| Some((minor(class.handle)?, class.rate))).collect();
    let (orders, said): (Vec<Request>, Vec<String>) =
        orders((ifindex, *mtu), &wanted.classes, &rates, &leaves).into_iter().unzip();
    for (answer, said) in requests.ask(&orders)?.into_iter().zip(said) {
        if let Answer::Refused(number) = answer {
            return Ok(Err(refused(name, &said, number)));
        }
    }
    Ok(Ok(Queue::Classed))
}

/// What to do for a device's classes to be those that are wanted, and each in words.
fn orders(
    (ifindex, mtu): (u32, u32),
    wanted: &BTreeMap<u16, Rate>,
    rates: &BTreeMap<u16, u64>,
    leaves: &BTreeMap<u16, u32>,
) -> Vec<(Request, String)> {
    let mut all = Vec::new();
    let handle = |number: u16| Class::QUEUE | u32::from(number);
    for &number in rates.keys().filter(|number| !wanted.contains_key(number)) {
        all.push((htb::remove(ifindex, handle(number)), format!("that the class {number:x} goes")));
    }
    for (&number, rate) in wanted {
        let Rate { bytes_per_s: rate, queue } = rate.on_wire(mtu);
        let queue = u32::try_from(queue).unwrap_or(u32::MAX);
        let class = htb::Class { handle: handle(number), rate };
        if rates.get(&number) != Some(&rate) {
            let said = format!("a class {number:x} of {rate} bytes/s");
            all.push((htb::set(ifindex, class, mtu.saturating_add(HEADER)), said));
        }
        if leaves.get(&number) != Some(&queue) {
            let said = format!("a queue of {queue} bytes for the class {number:x}");
            all.push((qdisc::set_leaf(ifindex, class.handle, queue), said));
        }
    }
    all
}

fn in_the_way(device: &str, kind: &str) -> String {
    format!(
        "{device}: found a queue {kind}, which somebody has set up, expected fq or none: nothing waits there, and what is over a \
         limit is dropped; `tc qdisc replace dev {device} root fq` lets it wait, `tc qdisc del dev {device} root` lets Weir make a \
         queue of its own"
    )
}

fn without_fq(device: &str, vips: &BTreeSet<String>) -> String {
    let vips = vips.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    format!(
        "{device}: found no fq, which the limits of {vips} that let packets/s wait need: what is over them is dropped; write them \
         in bits/s or bytes/s, or have `tc qdisc replace dev {device} root fq`"
    )
}

fn refused(device: &str, what: &str, number: i32) -> String {
    let error = io::Error::from_raw_os_error(number);
    format!(
        "{device}: the kernel refuses {what}: {error}; nothing waits there, and what is over a limit is dropped; see that the \
         kernel has sch_htb and sch_fifo"
    )
}

/// Takes Weir's queue away wherever it is in this network namespace: for whoever takes away what a run has left.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_all() -> io::Result<Vec<String>> {
    let mut requests = Requests::open(ROUTE)?;
    let all = list(&mut requests)?;
    remove_from(&mut requests, &all, |_| true)
}

fn list(requests: &mut Requests) -> io::Result<Vec<qdisc::Qdisc>> {
    Ok(requests.dump(&qdisc::list())?.iter().filter_map(|payload| qdisc::parse(payload)).collect())
}

/// Takes Weir's queue away from devices: the kernel gives them a default one.
fn remove_from(
    requests: &mut Requests,
    all: &[qdisc::Qdisc],
    is_meant: impl Fn(u32) -> bool,
) -> io::Result<Vec<String>> {
    let mut said = Vec::new();
    for qdisc in all.iter().filter(|qdisc| is_own(qdisc) && is_meant(qdisc.ifindex)) {
        match requests.ask_one(qdisc::remove(qdisc.ifindex, qdisc.handle))? {
            Answer::Refused(ENODEV) => {}
            Answer::Refused(number) => return Err(io::Error::from_raw_os_error(number)),
            Answer::Acknowledged | Answer::Message(_) => {
                said.push(format!("the htb queue of the device with index {}", qdisc.ifindex));
            }
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_it_is_to_be_is_left_alone() {
        let rate = Rate { bytes_per_s: 6_250_000, queue: 312_500 };
        let wire = rate.on_wire(1500);
        let queue = u32::try_from(wire.queue).unwrap();
        let wanted = [(0x102, rate)].into();
        let orders = |rates: &[(u16, u64)], leaves: &[(u16, u32)]| {
            let (rates, leaves) = (rates.iter().copied().collect(), leaves.iter().copied().collect());
            orders((7, 1500), &wanted, &rates, &leaves).len()
        };
        let is = (0x102, wire.bytes_per_s);
        assert_eq!(orders(&[is], &[(0x102, queue)]), 0);
        assert_eq!(orders(&[], &[]), 2);
        assert_eq!(orders(&[(0x102, 1)], &[(0x102, queue)]), 1, "another rate");
        assert_eq!(orders(&[is], &[(0x102, 1)]), 1, "another queue");
        assert_eq!(orders(&[is, (0x4001, 5)], &[(0x102, queue)]), 1, "one too many");
    }
}
