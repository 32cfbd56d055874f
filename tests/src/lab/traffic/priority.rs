//! Clients and backends come before Weir on this machine's processors.

use nix::libc;

/// What a thread of the traffic has; others, and the processes that they start, have 0.
const NICENESS: libc::c_int = -10;

/// Raises this thread's priority. Clients and backends stand for machines of their own: how long Weir's controller keeps a
/// processor busy is seen by packets that it has to carry, not by a client that waits for the processor.
#[expect(unsafe_code, reason = "nix has no setpriority")]
pub(in crate::lab) fn raise() {
    // SAFETY: takes numbers; 0 names the calling thread (setpriority(2), "C library/kernel differences").
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        eprintln!("lab: cannot raise the priority of the traffic: {error}; it competes with Weir for the processors");
    }
}
