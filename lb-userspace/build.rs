//! Compiles lb-ebpf for the BPF target; the object is then embedded in the library.
//!
//! Two toolchains can do it: `weir-bpf`, a name that `cargo xtask setup` gives to a distribution's Rust which ships
//! `core` for BPF, and rustup's nightly with `rust-src`, which compiles `core` itself. The first is taken when it is
//! there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

/// What `cargo xtask setup` calls the distribution's toolchain.
const LINKED: &str = "weir-bpf";
/// Set in the environment it makes another program of the same sources, for tests that replace one by another.
const ANOTHER: &str = "WEIR_BPF_ANOTHER";
/// Set in the environment it puts the bench's harness into the object, beside the programs.
const BENCH: &str = "WEIR_BPF_BENCH";
/// Set in the environment it has the programs note every answer of a limit's, for tests that compare them with a model's.
const RECORD: &str = "WEIR_BPF_RECORD";

#[expect(unsafe_code, reason = "aya-build takes its settings from the environment, and setting that is unsafe")]
fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in the workspace")?;
    println!("cargo:rerun-if-changed={}", root.join("lb-common/src").display());
    println!("cargo:rerun-if-changed={}", root.join("lb-ebpf").display());
    println!("cargo:rerun-if-env-changed=RUSTUP_TOOLCHAIN");
    println!("cargo:rerun-if-env-changed={ANOTHER}");
    println!("cargo:rerun-if-env-changed={BENCH}");
    println!("cargo:rerun-if-env-changed={RECORD}");

    let linked = Command::new("rustup")
        .args(["run", LINKED, "rustc", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let toolchain = if linked {
        // SAFETY: a build script is one thread until it starts others; the variables are for the cargo it calls.
        unsafe {
            // The crates that use unstable features; named, so that aya-build does not ask for build-std.
            std::env::set_var("RUSTC_BOOTSTRAP", "aya_ebpf,weir_bpf,weir_decap_bpf");
            std::env::set_var("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", "bpf-linker");
            std::env::set_var("CARGO_TARGET_BPFEB_UNKNOWN_NONE_LINKER", "bpf-linker");
        }
        Toolchain::Custom(LINKED)
    } else {
        Toolchain::default()
    };
    println!("cargo:rustc-env=WEIR_BPF_TOOLCHAIN={}", if linked { LINKED } else { "nightly" });
    // What the inner cargo says is shown as warnings, each time anew: only what is wrong is worth that.
    // SAFETY: as above.
    unsafe { std::env::set_var("CARGO_TERM_QUIET", "true") };
    let features: Vec<&str> = [(ANOTHER, "another"), (BENCH, "bench"), (RECORD, "record")]
        .into_iter()
        .filter_map(|(variable, feature)| std::env::var_os(variable).map(|_| feature))
        .collect();
    let ebpf = root.join("lb-ebpf");
    let root_dir = ebpf.to_str().context("the path of the workspace is not UTF-8: move it to one that is")?;
    aya_build::build_ebpf([Package { name: "lb-ebpf", root_dir, features: &features, ..Package::default() }], toolchain)
        .context(
            "compiling lb-ebpf for the BPF target failed; `cargo xtask setup` installs what is needed and says what",
        )
}
