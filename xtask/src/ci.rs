//! `cargo xtask test` and `cargo xtask ci`.

use anyhow::Result;

use crate::{bench, cargo, privileges, setup};

/// Every package that is built for the host. lb-ebpf is built for BPF, by lb-userspace's build script.
pub(crate) const PACKAGES: [&str; 3] = ["--workspace", "--exclude", "lb-ebpf"];

/// What has the programs note what limits answer (lb-userspace/build.rs).
const RECORD: (&str, &str) = ("WEIR_BPF_RECORD", "1");

/// `cargo xtask test`.
pub(crate) fn test(filters: &[String]) -> Result<()> {
    privileges::require("test")?;
    setup::ensure(setup::Scope::Everything)?;
    // Tests of one package run the binary of another, which `cargo test` alone does not promise to build.
    run("build", &["--bins", "--tests"])?;
    let named = std::iter::once("--").chain(filters.iter().map(String::as_str));
    run("test", &named.collect::<Vec<_>>())?;
    if !filters.is_empty() {
        return Ok(());
    }
    // Answers of limits can be compared with a model's where the programs note them: another build, beside the first.
    let exact = ["test", "--package", "weir-tests", "--test", "limits", "--target-dir", "target/record", "exact"];
    cargo::run_with(&exact, &[(RECORD.0, RECORD.1.to_owned())])
}

/// `cargo xtask ci`.
pub(crate) fn all() -> Result<()> {
    test(&[])?;
    run("clippy", &["--all-targets", "--", "-D", "warnings"])?;
    cargo::run(&["fmt", "--all", "--check"])?;
    // Last: it builds lb-userspace once more, with the bench's harness in the BPF object.
    bench::gate()
}

fn run(verb: &str, arguments: &[&str]) -> Result<()> {
    cargo::run(&[&[verb], &PACKAGES[..], arguments].concat())
}
