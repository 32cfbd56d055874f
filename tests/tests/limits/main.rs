//! The kernel's limiters at full speed, by `BPF_PROG_TEST_RUN`: whether they are exact, on one processor and on several, and what a
//! flood of sources does to them.

mod exact;
mod flood;
mod frame;
mod model;
mod processor;
mod record;
mod rig;
mod shared;
