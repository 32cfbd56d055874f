//! `cargo xtask test` and `cargo xtask ci`.

use anyhow::Result;

use crate::{bench, cargo, privileges, setup};

/// Every package that is built for the host. lb-ebpf is built for BPF, by lb-userspace's build script.
pub(crate) const PACKAGES: [&str; 3] = ["--workspace", "--exclude", "lb-ebpf"];

/// What has the programs note what limits answer (lb-userspace/build.rs).
const RECORD: (&str, &str) = ("WEIR_BPF_RECORD", "1");

/// `cargo xtask test`.
pub(crate) fn test(filters: &[String]) -> Result<()> {
    tests(filters)?;
    // Beside the first build, so that neither is to be made anew the next time.
    if filters.is_empty() { exact(&["--target-dir", "target/record"]) } else { Ok(()) }
}

/// `cargo xtask ci`.
pub(crate) fn all() -> Result<()> {
    tests(&[])?;
    run("clippy", &["--all-targets", "--", "-D", "warnings"])?;
    cargo::run(&["fmt", "--all", "--check"])?;
    // Last: they build lb-userspace once more each, with another BPF object, over what the tests have compiled.
    exact(&[])?;
    bench::gate()
}

fn tests(filters: &[String]) -> Result<()> {
    privileges::require("test")?;
    setup::ensure(setup::Scope::Everything)?;
    // Tests of one package run the binary of another, which `cargo test` alone does not promise to build.
    run("build", &["--bins", "--tests"])?;
    let named = std::iter::once("--").chain(filters.iter().map(String::as_str));
    run("test", &named.collect::<Vec<_>>())
}

/// Answers of limits can be compared with a model's where the programs note them, which is another build.
fn exact(options: &[&str]) -> Result<()> {
    let test = ["test", "--package", "weir-tests", "--test", "limits"];
    cargo::run_with(&[&test[..], options, &["exact"]].concat(), &[(RECORD.0, RECORD.1.to_owned())])
}

fn run(verb: &str, arguments: &[&str]) -> Result<()> {
    cargo::run(&[&[verb], &PACKAGES[..], arguments].concat())
}
