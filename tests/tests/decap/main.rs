//! Tables of whole packets through `weir decap`'s programs, on the host and in the kernel (`BPF_PROG_TEST_RUN`).
//!
//! What is expected is built from scratch, checksums and all, by the same builder that makes the input: never taken
//! from what Weir made.

mod congestion;
mod differential;
mod frame;
mod left_alone;
mod refused;
mod rig;
mod segments;
#[path = "../support/test_run.rs"]
mod test_run;
mod unwrapped;
mod verifier;
