//! `cargo xtask bench`: how fast Weir is, beside others and in the same run.
//!
//! The measuring is done by weir-tests' bench (tests/benches/speed), which xtask cannot be itself: it has lb-userspace in
//! it, and xtask has to build before the BPF toolchain is there.

mod peers;

use anyhow::{Context, Result};
use weir_tests::bench::Arguments;

use crate::{cargo, ci, privileges, setup};

/// Puts the harness into the BPF object (lb-userspace/build.rs).
const HARNESS: (&str, &str) = ("WEIR_BPF_BENCH", "1");
/// Builds with the harness are kept apart, so that it and the programs themselves do not take turns in being built.
const APART: (&str, &str) = ("CARGO_TARGET_DIR", "target/bench");
/// The parts that start `weir`, and the one that starts others, too.
const STARTS_WEIR: [&str; 3] = ["frames", "connections", "control"];
const STARTS_PEERS: &str = "connections";

/// `cargo xtask bench`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let wanted = |part: &str| {
        !arguments.gate
            && (arguments.only.is_empty() || arguments.only.iter().any(|only| only == part || only == "growth"))
    };
    // Curves have no peers.
    let peers =
        !arguments.gate && (arguments.only.is_empty() || arguments.only.iter().any(|only| only == STARTS_PEERS));
    let privileged = privileges::require("bench");
    if arguments.gate {
        // A gate that measures nothing holds nothing.
        privileged?;
        setup::ensure(setup::Scope::Lab)?;
        return measure(arguments, &[]);
    }
    if let Err(error) = &privileged {
        eprintln!("bench: what needs privileges is left out: {error:#}");
    }
    if let Err(error) = setup::ensure(setup::Scope::Lab) {
        eprintln!("bench: going on without what setup would bring: {error:#}");
    }
    let mut arguments = arguments.clone();
    let mut variables = vec![];
    if privileged.is_ok() {
        if STARTS_WEIR.into_iter().any(wanted) && std::env::var_os("WEIR_BINARY").is_none() {
            let weir = cargo::build_release("lb-userspace", "weir")?;
            variables.push(("WEIR_BINARY", weir.to_str().context("the workspace's path is not UTF-8")?.to_owned()));
        }
        if peers {
            arguments.left_out.extend(peers::install());
        }
    }
    measure(&arguments, &variables)
}

/// The gate, built like the tests and after them: what they have compiled is there, and the harness measures in the
/// kernel, whose program is optimised in any case.
pub(crate) fn gate() -> Result<()> {
    let words = [&["bench", "--profile", "dev"], &ci::PACKAGES[..], &["--bench", "speed", "--", "--gate"]].concat();
    cargo::run_with(&words, &[(HARNESS.0, HARNESS.1.to_owned())])
}

fn measure(arguments: &Arguments, variables: &[(&str, String)]) -> Result<()> {
    let mut arguments = arguments.clone();
    // Cargo starts benches in their package's directory.
    let here = std::env::current_dir().context("cannot tell the working directory")?;
    arguments.directory = Some(arguments.directory.map_or_else(|| here.clone(), |directory| here.join(directory)));
    let words = arguments.words();
    let words = words.iter().map(|word| word.to_str().with_context(|| format!("{} is not UTF-8", word.display())));
    let words = words.collect::<Result<Vec<_>>>()?;
    let bench = ["bench", "--package", "weir-tests", "--bench", "speed", "--"];
    let own = [HARNESS, APART].map(|(name, value)| (name, value.to_owned()));
    cargo::run_with(&[&bench[..], &words].concat(), &[&own[..], variables].concat())
}
