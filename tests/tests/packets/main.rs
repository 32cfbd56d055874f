//! Tables of whole packets, each run through the host build and the kernel (`BPF_PROG_TEST_RUN`).
//!
//! What is expected is built from scratch, checksums and all, by the same builder that makes the input: never taken
//! from what Weir made.

mod agreed;
mod both;
mod clock;
mod differential;
mod direct;
mod flows;
mod found;
mod fuzzed;
mod host;
mod limits;
mod noted;
mod refused;
mod replies;
mod requests;
mod rig;
mod stage;
mod stage_world;
mod tables;
#[path = "../support/test_run.rs"]
mod test_run;
mod witness;
mod world;

use weir_tests::frame;
