//! How processes are ended that nobody waits for.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::wait_until;

/// How long a process has to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks processes to end, wakes those that are stopped, and kills those that have not ended in time. Does not reap.
pub(super) fn end_processes(pids: &[Pid]) {
    for pid in pids {
        signal_if_there(*pid, Signal::SIGTERM);
        signal_if_there(*pid, Signal::SIGCONT);
    }
    let ended = wait_until("processes to end", PATIENCE, || pids.iter().all(|pid| has_ended(*pid)).then_some(()));
    if ended.is_err() {
        pids.iter().for_each(|pid| signal_if_there(*pid, Signal::SIGKILL));
    }
}

/// Sends a signal to a process, which may be gone.
pub(super) fn signal_if_there(pid: Pid, signal: Signal) {
    match kill(pid, signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(error) => eprintln!("lab: cannot send {signal} to process {pid}: {error}"),
    }
}

/// Whether a process is gone or waits only to be reaped.
pub(super) fn has_ended(pid: Pid) -> bool {
    // The name, in brackets, may have anything in it: the state is the first field after the last bracket.
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}
