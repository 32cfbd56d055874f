//! Tables of whole packets, each run through the host build and the kernel (`BPF_PROG_TEST_RUN`).
//!
//! What is expected is built from scratch, checksums and all, by the same builder that makes the input: never taken
//! from what Weir made.

mod differential;
mod direct;
mod frame;
mod limits;
mod refused;
mod replies;
mod requests;
mod rig;
mod world;
