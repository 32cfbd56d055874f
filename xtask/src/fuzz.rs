//! `cargo xtask fuzz`: packets made up, through the host's build of the packet path and the kernel's.

use anyhow::Result;
use clap::Args;

use crate::{cargo, privileges, setup};

/// What `cargo test` sends 200,000 packets to.
const TEST: &str = "fuzzed::host_and_kernel_agree_on_packets_made_up";

/// How many packets, and which.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many packets to send
    #[arg(long, default_value_t = 1_000_000)]
    packets: u64,
    /// The first world's number; every 50,000 packets are sent to another one
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// `cargo xtask fuzz`.
pub(crate) fn run(options: &Options) -> Result<()> {
    privileges::require("fuzz")?;
    setup::ensure(setup::Scope::Lab)?;
    let variables = [("WEIR_FUZZ_PACKETS", options.packets.to_string()), ("WEIR_FUZZ_SEED", options.seed.to_string())];
    cargo::run_with(
        &["test", "--release", "--package", "weir-tests", "--test", "packets", "--", "--exact", TEST, "--nocapture"],
        &variables,
    )
}
