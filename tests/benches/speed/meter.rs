//! How much of the processors' time something takes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// Whose time is taken: this process (clients, servers, sources of frames), a balancer's processes, and the kernel's threads that carry
/// packets when there are more than whoever sends them should be kept by.
///
/// What the kernel does for a packet it does in the time of the process that sent it (`__local_bh_enable_ip` of
/// kernel/softirq.c), or in these threads'; so nothing is left out but what interrupts an idle processor. Other processes on
/// the machine are not in it. The scheduler counts in nanoseconds.
#[derive(Debug)]
pub(crate) struct Meter {
    clocks: Vec<ClockId>,
}

impl Meter {
    /// For this process, and a balancer's with its children.
    ///
    /// # Errors
    /// When one of them has ended.
    pub(crate) fn new(balancer: Option<Pid>) -> Result<Self> {
        let family = balancer.into_iter().flat_map(|pid| std::iter::once(pid).chain(children(pid)));
        let clocks = family.chain(carriers()).map(clock_getcpuclockid);
        let clocks = clocks.collect::<Result<Vec<_>, _>>().context("asking for a process's clock")?;
        Ok(Self { clocks: [vec![ClockId::CLOCK_PROCESS_CPUTIME_ID], clocks].concat() })
    }

    /// How much they have taken since they were started.
    ///
    /// # Errors
    /// When one of them has ended.
    pub(crate) fn spent(&self) -> Result<Duration> {
        let times = self.clocks.iter().map(|clock| Ok(Duration::from(clock.now()?)));
        times.sum::<Result<Duration>>().context("reading a process's clock")
    }
}

fn children(pid: Pid) -> Vec<Pid> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// `ksoftirqd/N`, one for each processor: children of the first kernel thread.
fn carriers() -> Vec<Pid> {
    let is_one = |pid: &Pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("ksoftirqd/"))
    };
    children(Pid::from_raw(2)).into_iter().filter(is_one).collect()
}
