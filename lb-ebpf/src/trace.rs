//! Verdicts in the log, for debugging alone.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::info;
use lb_common::Verdict;

/// Set by the loader. The map it lies in is frozen, so the verifier knows the value and removes what it forbids.
#[unsafe(no_mangle)]
static TRACE: u8 = 0;

/// Logs a verdict when tracing is on.
#[inline(always)]
pub fn verdict(ctx: *mut xdp_md, verdict: Verdict) {
    // SAFETY: a static of this program; volatile, so that the compiler does not take its initial value for the last.
    if unsafe { core::ptr::read_volatile(&raw const TRACE) } == 0 {
        return;
    }
    let ctx = &XdpContext::new(ctx);
    match verdict {
        Verdict::Transmit { ifindex, redirect: _ } => info!(ctx, "transmit {}", ifindex),
        Verdict::Hand { ifindex, delivery: _ } => info!(ctx, "hand to {}", ifindex),
        Verdict::Stack => info!(ctx, "stack"),
        Verdict::Refused(refusal) => info!(ctx, "refused {}", refusal as u32),
    }
}
